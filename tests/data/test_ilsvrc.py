"""ILSVRC's validation folder: flat images, and every form in which what is on them is published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from enxuto.data import open_dataset
from enxuto.errors import DataError, EnxutoError

SYNSETS = ("n01440764", "n01443537", "n02123045")
ON_IMAGES = (1, 0, 2, 1)
"""The synsets of images 1 to 4, in the order of names."""
DEVKIT = {3: SYNSETS[0], 1: SYNSETS[1], 2: SYNSETS[2]}
NUMBERS = {name: number for number, name in DEVKIT.items()}
NAMES = [f"ILSVRC2012_val_{number:08}" for number in range(1, 5)]


def images(folder: Path, numbers: range = range(1, 5)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        pixels = np.full((4, 4, 3), number * 20, np.uint8)
        Image.fromarray(pixels).save(folder / f"ILSVRC2012_val_{number:08}.JPEG", format="PNG")
    return folder


def lines(*texts: str) -> str:
    return "\n".join(texts) + "\n"


TRUTH = lines(*(str(NUMBERS[SYNSETS[place]]) for place in ON_IMAGES))
MAP = lines(*(f"{name} {number} word" for number, name in DEVKIT.items()))
FORMS: dict[str, Mapping[str, str]] = {
    "Caffe's numbers": {"val.txt": lines(*(f"{n}.JPEG {p}" for n, p in zip(NAMES, ON_IMAGES, strict=True)))},
    "numbers alone": {"val.txt": lines(*map(str, ON_IMAGES))},
    "numbers alone, of more images": {"labels.txt": lines(*map(str, ON_IMAGES), "7", "999")},
    "numbers with a folder's name": {
        "val.txt": lines(*(f"val/{n}.jpg {p}" for n, p in zip(NAMES, ON_IMAGES, strict=True)))
    },
    "names and synsets": {
        "answers.txt": lines(*(f"{n}.JPEG {SYNSETS[p]}" for n, p in zip(NAMES, ON_IMAGES, strict=True)))
    },
    "Kaggle's table": {
        "LOC_val_solution.csv": lines(
            "ImageId,PredictionString",
            *(
                f"{n},{SYNSETS[p]} 85 1 499 272"
                for n, p in reversed(list(zip(NAMES, ON_IMAGES, strict=True)))
            ),
        )
    },
    "synsets in order": {
        "imagenet_2012_validation_synset_labels.txt": lines(*(SYNSETS[p] for p in ON_IMAGES))
    },
    "the devkit's numbers": {
        "ILSVRC2012_validation_ground_truth.txt": TRUTH,
        "map_clsloc.txt": MAP,
    },
    "the devkit's folder": {
        "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt": TRUTH,
        "ILSVRC2012_devkit_t12/data/map_clsloc.txt": MAP,
    },
}


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize("inside", ["", "val"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_list(form: str, inside: str, tmp_path: Path) -> None:
    images(tmp_path / inside)
    write(tmp_path, {**FORMS[form], "readme.txt": "not a list\n"})
    data = open_dataset(tmp_path)
    assert data.format == "ilsvrc"
    assert data.labels.tolist() == list(ON_IMAGES)
    assert data.classes == (None if "numbers" in form and "devkit" not in form else SYNSETS)
    assert int(data.image(2)[0, 0, 0]) == 60


def test_the_devkits_own_map(tmp_path: Path) -> None:
    images(tmp_path)
    write(tmp_path, {"ILSVRC2012_validation_ground_truth.txt": TRUTH})
    with pytest.raises(DataError, match="counts classes in the devkit's own order"):
        open_dataset(tmp_path)
    assert not open_dataset(tmp_path, require_labels=False).labelled
    records = np.array(list(DEVKIT.items()), dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O")])
    savemat(tmp_path / "meta.mat", {"synsets": records})
    assert open_dataset(tmp_path).labels.tolist() == list(ON_IMAGES)


def test_some_of_the_images_and_a_networks_own_order(tmp_path: Path) -> None:
    images(tmp_path, range(2, 4))
    write(tmp_path, FORMS["synsets in order"])
    assert open_dataset(tmp_path).labels.tolist() == [0, 2]
    names = [f"{name} a thing" for name in reversed(SYNSETS)]
    assert open_dataset(tmp_path, names=names, outputs=3).labels.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"val.txt": lines(f"{NAMES[0]}.JPEG 1")}, "says nothing of 3 images"),
        ({"val.txt": lines(*(f"{n}.JPEG {c}" for n, c in zip(NAMES, ["1", "2", "n01440764", "1"], strict=True)))},
         "both synsets and numbers"),
        ({"ILSVRC2012_validation_ground_truth.txt": lines("1", "2", "9", "1"), "map_clsloc.txt": MAP}, "class 9"),
        ({"ILSVRC2012_validation_ground_truth.txt": TRUTH, "map_clsloc.txt": "\x00\n"}, "line 1 is no synset"),
        ({"ILSVRC2012_validation_ground_truth.txt": TRUTH, "map_clsloc.txt": MAP + "n01440764 one\n"}, "is no synset"),
        ({"ILSVRC2012_validation_ground_truth.txt": TRUTH, "meta.mat": "nothing"}, "."),
        ({}, "without labels"),
        ({"val.txt": lines("0", "1")}, "says nothing of 2 images"),
        ({"val.txt": lines("1", "2", "3", "2")}, "may count from 1, or in the devkit's own order"),
        ({"val.txt": lines("5", "700", "3", "2")}, "may count from 1"),
        ({"val.txt": lines(*(f"{n}.JPEG {c}" for n, c in zip(NAMES, ["7", "1000", "9", "1"], strict=True)))},
         "may count from 1"),
        ({"val.txt": lines(*(f"{n}.JPEG {c}" for n, c in zip(NAMES, ["1", "2", "3", "1"], strict=True)))},
         "may count from 1"),
        ({"a.txt": lines("0", "1", "2", "1"), "b.txt": lines("0", "1", "2", "0")}, "several lists of numbers"),
    ],
    ids=["too short", "mixed", "unknown class", "damaged map", "no number", "damaged meta.mat", "no list",
         "numbers too few", "from 1", "without 0", "names from 1", "names, none left out", "two lists"],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(files: Mapping[str, str], says: str, tmp_path: Path) -> None:
    images(tmp_path)
    write(tmp_path, files)
    with pytest.raises(EnxutoError, match=says) as caught:
        open_dataset(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("inside", ["", "val"])
def test_a_flat_folder_without_a_list_says_which_lists_there_are(inside: str, tmp_path: Path) -> None:
    images(tmp_path / inside)
    with pytest.raises(DataError, match="no list of what is on them") as refused:
        open_dataset(tmp_path)
    for name in ("val.txt", "LOC_val_solution.csv", "ILSVRC2012_validation_ground_truth.txt", "meta.mat"):
        assert name in str(refused.value)
    with pytest.raises(DataError, match=r"no list of what is on the images; put there val\.txt"):
        open_dataset(tmp_path, format="ilsvrc")
    assert len(open_dataset(tmp_path, require_labels=False)) == 4


def test_of_a_cut_list_with_names_caffes_counting_is_taken(tmp_path: Path) -> None:
    images(tmp_path)
    write(
        tmp_path,
        {"val.txt": lines(*(f"{n}.JPEG {c}" for n, c in zip(NAMES, [65, 970, 230, 65], strict=True)))},
    )
    assert open_dataset(tmp_path).labels.tolist() == [65, 970, 230, 65]


@pytest.mark.parametrize("ending", ["jpg", "jpeg", "png"])
def test_images_that_were_written_anew_have_other_endings(ending: str, tmp_path: Path) -> None:
    for file in images(tmp_path).iterdir():
        file.rename(file.with_suffix(f".{ending}"))
    write(tmp_path, FORMS["Caffe's numbers"])
    assert open_dataset(tmp_path).labels.tolist() == list(ON_IMAGES)


def test_the_surest_list_counts_and_numbers_of_something_else_do_not(tmp_path: Path) -> None:
    images(tmp_path)
    write(tmp_path, {**FORMS["synsets in order"], "counts.txt": lines("4", "1", "0")})
    assert open_dataset(tmp_path).labels.tolist() == list(ON_IMAGES)


@pytest.mark.parametrize("classes", [SYNSETS[:1], SYNSETS[:2]])
def test_folders_of_classes_are_not_taken_for_a_flat_one(classes: tuple[str, ...], tmp_path: Path) -> None:
    """A list may lie beside them: all classes are read, and not the images of the first by it."""
    for place, name in enumerate(classes):
        images(tmp_path / name, range(1 + 2 * place, 3 + 2 * place))
    write(tmp_path, FORMS["Caffe's numbers"])
    data = open_dataset(tmp_path)
    assert (data.format, data.classes, len(data)) == ("folder", classes, 2 * len(classes))
