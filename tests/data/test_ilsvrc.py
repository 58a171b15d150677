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
    ],
    ids=["too short", "mixed", "unknown class", "damaged map", "no number", "damaged meta.mat", "no list"],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(files: Mapping[str, str], says: str, tmp_path: Path) -> None:
    images(tmp_path)
    write(tmp_path, files)
    with pytest.raises(EnxutoError, match=says) as caught:
        open_dataset(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
