"""Class folders, Parquet and `.npz`, each made here; and what `open_dataset` says of everything else."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from enxuto.data import Preprocess, open_dataset
from enxuto.data.readers import parquet
from enxuto.errors import DataError, EnxutoError, FormatError, UsageError


def png(value: int, mode: str = "RGB", size: tuple[int, int] = (3, 2)) -> bytes:
    """A PNG of one colour, 3 wide and 2 high."""
    stream = io.BytesIO()
    colour: object = value if mode in ("L", "I;16", "P") else (value,) * len(mode)
    Image.new(mode, size, colour).save(stream, "PNG")
    return stream.getvalue()


# --- class folders


@pytest.mark.parametrize("name", ["labels.csv", "labels.TSV"])
def test_a_table_beside_one_folder_of_images_is_pointed_at(name: str, tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "a.png").write_bytes(png(1))
    (tmp_path / name).write_text("file,label\nimg/a.png,cat\n")
    with pytest.raises(DataError, match=f"name it: .*{name}"):
        open_dataset(tmp_path)
    assert open_dataset(tmp_path / name).classes == ("cat",)
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "b.png").write_bytes(png(2))
    (note,) = open_dataset(tmp_path).notes
    assert name in note


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    for name, value in (("dog/b.png", 3), ("dog/a.PNG", 2), ("cat/deep/x.png", 1)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(value))
    return tmp_path


def test_folder_classes_are_sorted_names_and_files_sorted_within(animals: Path) -> None:
    data = open_dataset(animals)
    assert (data.format, data.classes, data.notes) == ("folder", ("cat", "dog"), ())
    assert data.labels.tolist() == [0, 1, 1]
    assert [int(data.image(i)[0, 0, 0]) for i in range(3)] == [1, 2, 3]
    assert data.image(0).shape == (2, 3, 3)
    assert data.name(0) == "sample 0 (cat/deep/x.png)"


def test_folder_reports_what_it_leaves_out(animals: Path) -> None:
    (animals / "cat/readme.txt").write_text("x")
    (animals / "empty").mkdir()
    data = open_dataset(animals)
    assert data.classes == ("cat", "dog", "empty")
    assert data.notes == (
        "1 files are not images and were left out, first cat/readme.txt",
        "1 class folders hold no images, first empty",
    )


def test_folder_parts(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "val")):
        (tmp_path / part / "cat").mkdir(parents=True)
        (tmp_path / part / "cat" / "x.png").write_bytes(png(number))
    assert int(open_dataset(tmp_path, split="val").image(0)[0, 0, 0]) == 1
    with pytest.raises(DataError, match="has the parts train, val; name one with split"):
        open_dataset(tmp_path)


def test_folder_names_that_are_numbers_are_the_labels(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "x.png").write_bytes(png(number))
    data = open_dataset(tmp_path)
    assert data.labels.tolist() == [1, 10, 2]
    assert [int(data.image(i)[0, 0, 0]) for i in range(3)] == [1, 10, 2]
    assert data.classes == tuple(str(number) for number in range(11))


def test_folder_corrupt_and_vanished_files_are_named(animals: Path) -> None:
    (animals / "dog/b.png").write_bytes(png(3)[:40])
    data = open_dataset(animals)
    with pytest.raises(DataError, match=r"sample 2 \(dog/b\.png\) is not an image that can be read"):
        list(data.batches(2, Preprocess()))
    (animals / "dog/a.PNG").unlink()
    with pytest.raises(DataError, match=r"sample 1 \(dog/a\.PNG\) cannot be read"):
        data.image(1)


@pytest.mark.slow
def test_every_truncation_and_change_of_an_image_is_one_error_or_an_image(animals: Path) -> None:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(noise).save(stream, "JPEG")
    for whole in (stream.getvalue(), png(9)):
        target = animals / "dog/b.png"
        for position in range(len(whole)):
            for damaged in (
                whole[:position],
                whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :],
            ):
                target.write_bytes(damaged)
                try:
                    image = open_dataset(animals).image(2)
                except DataError:
                    continue
                assert image.dtype == np.uint8


@pytest.mark.parametrize(
    ("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 3), ("LA", 1), ("P", 3), ("I;16", 1)]
)
def test_all_usual_modes_become_grey_or_rgb(animals: Path, mode: str, channels: int) -> None:
    (animals / "dog/b.png").write_bytes(png(0x40, mode))
    assert open_dataset(animals).image(2).shape == (2, 3, channels)


def test_palette_with_transparency_does_not_warn(animals: Path) -> None:
    image = Image.new("P", (3, 2), 1)
    image.save(animals / "dog/b.png", transparency=bytes([0, 255]))
    assert open_dataset(animals).image(2).shape == (2, 3, 3)


def test_an_image_that_would_fill_the_memory_is_refused(
    animals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
    with pytest.raises(DataError, match="E041"):
        open_dataset(animals).image(0)


# --- Parquet


def table(
    values: list[int], label: str = "label", column: str = "img", names: list[str] | None = None
) -> pa.Table:
    """Images of one colour each, with label = value mod 3."""
    images = pa.array(
        [{"bytes": png(value), "path": None} for value in values],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    made = pa.table({column: images, label: pa.array([value % 3 for value in values], pa.int64())})
    if names is None:
        return made
    features = {label: {"names": names, "_type": "ClassLabel"}}
    return made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def colours(data: Any) -> list[int]:
    return [int(data.image(i)[0, 0, 0]) for i in range(len(data))]


def test_parquet_structs_over_row_groups_with_class_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_CACHE_BYTES", 1)
    pq.write_table(table(list(range(10)), names=["a", "b", "c"]), tmp_path / "d.parquet", row_group_size=3)
    data = open_dataset(tmp_path / "d.parquet")
    assert (data.format, data.classes, data.part) == ("parquet", ("a", "b", "c"), None)
    assert colours(data) == list(range(10))
    assert colours(data.subset([9, 0, 5])) == [9, 0, 5]
    assert data.labels.tolist() == [value % 3 for value in range(10)]
    values = np.concatenate([batch[:, 0, 0, 0] for batch, _ in data.batches(4, Preprocess(divide_by=1))])
    assert values.tolist() == list(range(10))


def test_parquet_plain_binary_and_named_columns(tmp_path: Path) -> None:
    columns = {
        "photo": pa.array([png(5)], pa.large_binary()),
        "mask": pa.array([png(6)], pa.binary()),
        "fine": pa.array([3], pa.uint8()),
        "coarse": pa.array([1], pa.int32()),
    }
    pq.write_table(pa.table(columns), tmp_path / "d.parquet")
    with pytest.raises(DataError, match=r"several columns could hold the images.*image_column.*photo, mask"):
        open_dataset(tmp_path / "d.parquet")
    with pytest.raises(DataError, match=r"several columns could hold the labels.*fine, coarse"):
        open_dataset(tmp_path / "d.parquet", image_column="mask")
    data = open_dataset(tmp_path / "d.parquet", image_column="mask", label_column="coarse")
    assert (colours(data), data.labels.tolist()) == ([6], [1])
    with pytest.raises(DataError, match="no column 'fine' with images; the columns are photo"):
        open_dataset(tmp_path / "d.parquet", image_column="fine", label_column="coarse")


def test_parquet_shards_of_a_part(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name, values in (
        ("train-00000-of-00002", [0, 1]),
        ("train-00001-of-00002", [2]),
        ("test-00000-of-00001", [7]),
    ):
        pq.write_table(table(values), tmp_path / "data" / f"{name}.parquet")
    assert colours(open_dataset(tmp_path)) == [7]
    train = open_dataset(tmp_path, split="train")
    assert (colours(train), train.part) == ([0, 1, 2], "train")
    with pytest.raises(DataError, match="parts test, train; there is no 'val'"):
        open_dataset(tmp_path, split="val")
    with pytest.raises(DataError, match="E024"):
        open_dataset(tmp_path / "data/test-00000-of-00001.parquet", split="test")
    pq.write_table(table([1], label="other"), tmp_path / "data/train-00002.parquet")
    with pytest.raises(DataError, match="has other columns"):
        open_dataset(tmp_path, split="train")


def test_parquet_holes_and_bad_labels_are_named(tmp_path: Path) -> None:
    images = pa.array([{"bytes": png(1)}, {"bytes": None}, {"bytes": b"junk"}])
    pq.write_table(pa.table({"image": images, "label": [0, 1, 2]}), tmp_path / "d.parquet")
    data = open_dataset(tmp_path / "d.parquet")
    with pytest.raises(DataError, match=r"d\.parquet: sample 1 has no image bytes"):
        data.image(1)
    with pytest.raises(DataError, match=r"d\.parquet: sample 2 is not an image"):
        list(data.subset([0, 2]).batches(2, Preprocess()))
    pq.write_table(pa.table({"image": images, "label": [0, None, 2]}), tmp_path / "d.parquet")
    with pytest.raises(DataError, match="E042"):
        open_dataset(tmp_path / "d.parquet")
    pq.write_table(table([0, 1, 2], names=["a", "b"]), tmp_path / "e.parquet")
    with pytest.raises(DataError, match="label 2 at sample 2 is out of range"):
        open_dataset(tmp_path / "e.parquet")


def test_parquet_truncated_or_changed_is_an_error_of_ours(tmp_path: Path) -> None:
    target = tmp_path / "d.parquet"
    pq.write_table(table(list(range(5))), target)
    whole = target.read_bytes()
    for length in range(0, len(whole), 37):
        target.write_bytes(whole[:length])
        with pytest.raises(EnxutoError, match=r"d\.parquet"):
            open_dataset(target)


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(table([1]), tmp_path / "d.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install '\.\[parquet\]'"):
        open_dataset(tmp_path / "d.parquet")


# --- .npz


def test_npz_grey_and_colour_with_classes(tmp_path: Path) -> None:
    grey = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    np.savez_compressed(
        tmp_path / "a.npz", images=grey, labels=np.array([0, 1, 1, 0], np.uint8), classes=["x", "y"]
    )
    data = open_dataset(tmp_path / "a.npz")
    assert (data.format, data.image_shape, data.classes) == ("npz", (2, 3, 1), ("x", "y"))
    np.testing.assert_array_equal(data.image(2)[:, :, 0], grey[2])
    assert data.labels.dtype == np.int64
    np.savez(tmp_path / "b.npz", images=np.zeros((4, 2, 3, 3), np.uint8), labels=np.zeros(4, int))
    assert open_dataset(tmp_path / "b.npz").image_shape == (2, 3, 3)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": np.zeros((2, 2, 2), np.uint8)}, "has no array labels; it has images"),
        ({"images": np.zeros((2, 2, 2)), "labels": [0, 1]}, "images is float64"),
        ({"images": np.zeros((2, 2, 2), np.uint8), "labels": [0]}, r"labels is int64 \(1,\)"),
        ({"images": np.zeros((2, 2, 2), np.uint8), "labels": [0.0, 1.0]}, "labels is float64"),
        ({"images": np.zeros((2, 2, 2), np.uint8), "labels": [0, 1], "classes": [1, 2]}, "classes is int64"),
        ({"images": np.zeros((0, 2, 2), np.uint8), "labels": np.zeros(0, int)}, "holds no samples"),
    ],
)
def test_npz_arrays_that_do_not_fit(tmp_path: Path, arrays: dict[str, object], words: str) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(DataError, match=words):
        open_dataset(tmp_path / "d.npz")


def test_npz_with_objects_is_not_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=np.array([{}], object), labels=[0])
    with pytest.raises(FormatError, match="Python objects, which are not read"):
        open_dataset(tmp_path / "d.npz")


def test_npz_header_that_claims_terabytes_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=np.zeros((1, 2, 2), np.uint8), labels=[0])
    with zipfile.ZipFile(tmp_path / "d.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    lie = members["images.npy"].replace(b"(1, 2, 2), }          ", b"(1099511627776, 2, 2)}")
    assert len(lie) == len(members["images.npy"])
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("images.npy", lie)
        archive.writestr("labels.npy", members["labels.npy"])
    with pytest.raises(FormatError, match=r"claims shape \(1099511627776, 2, 2\)"):
        open_dataset(tmp_path / "d.npz")


@pytest.mark.slow
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_every_truncation_and_change_is_an_error_or_the_same_data(tmp_path: Path, save: Any) -> None:
    target = tmp_path / "d.npz"
    save(target, images=np.arange(8, dtype=np.uint8).reshape(2, 2, 2), labels=[3, 4])
    whole = target.read_bytes()
    for position in range(len(whole)):
        changed = whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :]
        for damaged in (whole[:position], changed):
            target.write_bytes(damaged)
            try:
                data = open_dataset(target)
            except EnxutoError:
                continue
            assert data.labels.tolist() == [3, 4]
            assert data.image(1).ravel().tolist() == [4, 5, 6, 7]


# --- what is none of these


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"limit": 0}, UsageError, "limit is 0"),
        ({"seed": -1}, UsageError, "seed is -1"),
        ({"format": "tfds"}, UsageError, "parquet, folder, idx, cifar, npz"),
        ({"split": "test"}, DataError, "without parts"),
        ({"label_column": "y"}, UsageError, "one label only"),
        ({"image_column": "x"}, UsageError, "no columns"),
        ({"format": "folder"}, DataError, "is a file; name the folder"),
        ({"format": "parquet"}, FormatError, "is not a whole Parquet file"),
        ({"format": "cifar"}, FormatError, "not a whole number"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, options: dict[str, object], error: type, words: str) -> None:
    np.savez(tmp_path / "d.npz", images=np.zeros((1, 2, 2), np.uint8), labels=[0])
    with pytest.raises(error, match=words):
        open_dataset(tmp_path / "d.npz", **options)


def test_paths_that_hold_no_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="E010"):
        open_dataset(tmp_path / "missing")
    with pytest.raises(DataError, match="no data set of a known format"):
        open_dataset(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(DataError, match="no data set of a known format; those are Parquet"):
            open_dataset(path)
    for kind in ("parquet", "folder", "idx", "cifar", "npz"):
        with pytest.raises(EnxutoError, match=str(tmp_path)):
            open_dataset(tmp_path, format=kind)
