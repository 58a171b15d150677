"""Tables of image files and labels: any CSV, and the folds of Adience."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from enxuto.data import Preprocess, open_dataset
from enxuto.data.readers.table import ADIENCE_AGES
from enxuto.errors import DataError, FormatError, UsageError

HEADING = "user_id\toriginal_image\tface_id\tage\tgender\tx\ty\tdx\tdy\ttilt_ang\tfiducial_yaw_angle\tfiducial_score"


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (2, 2), value).save(stream, "PNG")
    return stream.getvalue()


def table(folder: Path, text: str, name: str = "faces.csv", images: int = 4) -> Path:
    (folder / "pictures").mkdir(exist_ok=True)
    for number in range(images):
        (folder / "pictures" / f"{number}.png").write_bytes(png(10 * number))
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def fold(folder: Path, number: int, rows: list[tuple[str, str]]) -> None:
    """A fold of Adience with one image for each (age, gender)."""
    lines = [HEADING]
    for index, (age, gender) in enumerate(rows):
        user = f"{number}00@N0{index}"
        lines.append(f"{user}\timage_{index}.jpg\t{index + 5}\t{age}\t{gender}" + "\t0" * 7)
        (folder / "aligned" / user).mkdir(parents=True)
        (folder / "aligned" / user / f"landmark_aligned_face.{index + 5}.image_{index}.jpg").write_bytes(
            png(10 * number + index)
        )
    (folder / f"fold_{number}_data.txt").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_words_become_classes_in_sorted_order(tmp_path: Path, separator: str) -> None:
    rows = [
        ("file", "label"),
        ("pictures/0.png", "old"),
        ("pictures/1.png", "adult, not old"),
        ("pictures/2.png", "old"),
    ]
    text = "\n".join(separator.join(f'"{field}"' for field in row) for row in rows)
    data = open_dataset(table(tmp_path, text))
    assert (data.format, data.classes, data.labels.tolist()) == (
        "table",
        ("adult, not old", "old"),
        [1, 0, 1],
    )
    assert data.image(2)[0, 0, 0] == 20
    assert data.name(2) == "sample 2 (pictures/2.png)"
    assert len(data.hash) == 16
    ((batch, _),) = data.batches(8, Preprocess(channels="L"))
    np.testing.assert_allclose(batch[:, 0, 0, 0], np.array([0, 10, 20]) / 255, atol=1e-7)


def test_numbers_stay_labels_and_columns_can_be_named(tmp_path: Path) -> None:
    text = "\ufeffwhere,age,other\npictures/0.png,3,x\npictures/1.png, 0 ,x\n"
    data = open_dataset(table(tmp_path, text), image_column="where", label_column="age")
    assert data.classes is None
    assert data.labels.tolist() == [3, 0]
    with pytest.raises(DataError, match="image_column: where, age, other"):
        open_dataset(tmp_path / "faces.csv", label_column="age")
    with pytest.raises(DataError, match="label_column: where, age, other"):
        open_dataset(tmp_path / "faces.csv", image_column="where", label_column="sex")


def test_numbers_too_long_to_count_are_words(tmp_path: Path) -> None:
    data = open_dataset(table(tmp_path, "file,label\npictures/0.png," + "9" * 30 + "\n"))
    assert (data.classes, data.labels.tolist()) == (("9" * 30,), [0])


def test_a_column_split_makes_parts_with_the_same_classes(tmp_path: Path) -> None:
    text = "file,label,split\npictures/0.png,a,train\npictures/1.png,b,test\npictures/2.png,c,train\n"
    path = table(tmp_path, text, "faces.tsv")
    train, test = open_dataset(path, split="train"), open_dataset(path)
    assert (train.part, train.labels.tolist()) == ("train", [0, 2])
    assert (test.part, test.labels.tolist()) == ("test", [1])
    with pytest.raises(DataError, match="train"):
        open_dataset(path, split="val")


def test_rows_without_a_label_are_counted(tmp_path: Path) -> None:
    data = open_dataset(table(tmp_path, "file,label\npictures/0.png,1\npictures/1.png,\npictures/2.png,0\n"))
    assert data.labels.tolist() == [1, 0]
    assert data.notes == ("1 rows without a usable label were left out ('')",)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("file,label\n", DataError, "no rows"),
        ("", DataError, "no rows"),
        ("file,label\npictures/0.png\n", FormatError, "row 1 has 1 fields, the heading 2"),
        ("file,file\na,b\n", FormatError, "a column twice"),
        ("file,label\npictures/0.png,1\nnowhere.png,1\n", DataError, "1 of 2 images that are not there"),
        ("file,label\npictures/0.png,-1\n", DataError, "out of range"),
        ("file,label\npictures/0.png,\n", DataError, "holds no samples"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(
    tmp_path: Path, text: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        open_dataset(table(tmp_path, text))


def test_bytes_that_are_no_text_and_parts_that_are_not_there(tmp_path: Path) -> None:
    path = table(tmp_path, "file,label\npictures/0.png,1\n")
    with pytest.raises(DataError, match="E024"):
        open_dataset(path, split="train")
    path.write_bytes(b"file,label\n\xff\xfe,1\n")
    with pytest.raises(FormatError, match="UTF-8"):
        open_dataset(path)


def test_an_image_that_vanishes_later_is_a_data_error(tmp_path: Path) -> None:
    data = open_dataset(table(tmp_path, "file,label\npictures/0.png,1\n"))
    (tmp_path / "pictures" / "0.png").unlink()
    with pytest.raises(DataError, match=r"sample 0 \(pictures/0.png\) cannot be read"):
        data.image(0)


@pytest.fixture
def adience(tmp_path: Path) -> Path:
    fold(tmp_path, 0, [("(0, 2)", "f"), ("(8, 13)", "m"), ("None", "u"), ("35", "m")])
    for number in range(1, 5):
        fold(tmp_path, number, [("(60, 100)", "m"), ("(38, 42)", "")])
    return tmp_path


def test_adience_ages_are_the_eight_groups(adience: Path) -> None:
    data = open_dataset(adience, split="fold_0")
    assert data.classes == ADIENCE_AGES
    assert len(ADIENCE_AGES) == 8
    assert data.labels.tolist() == [0, 2]
    assert data.notes == ("2 rows without a usable label were left out ('35', 'None')",)
    assert data.image(1)[0, 0, 0] == 1


def test_adience_genders(adience: Path) -> None:
    data = open_dataset(adience, split="fold_0", label_column="gender")
    assert data.classes == ("male", "female")  # as the published network has its outputs
    assert data.labels.tolist() == [1, 0, 0]
    assert [int(data.image(i)[0, 0, 0]) for i in range(3)] == [0, 1, 3]
    # A network with names of its own has its own order.
    for names in (["Female", "Male"], ["f", "m"], ["F", "M"], ["Woman", "Man"], ["Mulher", "Homem"]):
        found = open_dataset(adience, split="fold_0", label_column="gender", names=names)
        assert found.labels.tolist() == [0, 1, 1]
        assert open_dataset(
            adience, split="fold_0", label_column="gender", names=names[::-1]
        ).labels.tolist() == [1, 0, 0]
    with pytest.raises(DataError, match="their order is not known; name the model's classes in its order"):
        open_dataset(adience, split="fold_0", label_column="gender", names=["LABEL_0", "LABEL_1"])


def test_adience_parts_are_folds_and_train_and_test(adience: Path) -> None:
    train, test = open_dataset(adience, split="train"), open_dataset(adience)
    assert (len(every := open_dataset(adience, split="all")), every.part) == (10, "all")
    assert (len(train), train.part) == (8, "train")
    assert (len(test), test.part) == (2, "test")
    # What measures never takes silently what `train` may have been trained on; it says which images it takes.
    assert (
        test.notes[-1]
        == "fold 4 is taken, which the part train leaves out; split=all takes all five folds as one set"
    )
    assert all("split=all" not in note for part in ("train", "test", "all", "fold_4")
               for note in open_dataset(adience, split=part).notes)  # fmt: skip
    assert test.labels.tolist() == [7, 5]
    with pytest.raises(DataError, match="all, fold_0, fold_1, fold_2, fold_3, fold_4, test, train"):
        open_dataset(adience, split="fold_5")


def test_one_fold_is_known_by_its_columns(adience: Path) -> None:
    data = open_dataset(adience / "fold_1_data.txt")
    assert data.labels.tolist() == [7, 5]
    with pytest.raises(DataError, match="E024"):
        open_dataset(adience / "fold_1_data.txt", split="train")
    with pytest.raises(DataError, match="age or gender, not 'x'"):
        open_dataset(adience / "fold_1_data.txt", label_column="x")
    (adience / "aligned").rename(adience / "elsewhere")
    with pytest.raises(DataError, match="E010"):
        open_dataset(adience / "fold_1_data.txt")


def test_a_folder_without_folds_asked_to_be_a_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"fold_0_data\.txt"):
        open_dataset(tmp_path, format="table")


def test_columns_of_formats_without_columns_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=np.zeros((1, 2, 2), np.uint8), labels=np.zeros(1, np.int64))
    with pytest.raises(UsageError, match="E024"):
        open_dataset(tmp_path / "x.npz", image_column="file")
