"""Labels of the images that studies train and test on: the test part counts the training part's classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from enxuto.errors import DataError
from enxuto.studies.images import ImageSelection, open_images


def parts(root: Path, train: list[str], test: list[str]) -> Path:
    """A class folder for each name in both parts, its images as grey as the name's letter."""
    for part, names in (("train", train), ("test", test)):
        for name in names:
            (root / part / name).mkdir(parents=True)
            for number in range(2):
                Image.new("L", (4, 4), ord(name[0].lower())).save(root / part / name / f"{number}.png")
    return root


def letters(data: Any) -> list[tuple[int, str]]:
    return sorted(
        {
            (int(label), chr(int(image[0, 0, 0])))
            for image, label in zip(data.images, data.labels, strict=True)
        }
    )


@pytest.mark.parametrize(
    ("train", "test", "labels", "expected", "told"),
    [
        (["a", "b", "c"], ["a", "b", "c"], None, [(0, "a"), (1, "b"), (2, "c")], 0),
        (["a", "b", "c"], ["a", "c"], None, [(0, "a"), (2, "c")], 1),
        (["a", "b", "c"], ["A", "c"], None, [(0, "a"), (2, "c")], 1),
        (["a", "b", "c"], ["a", "c"], ("c", "b", "a"), [(0, "c"), (2, "a")], 2),
        (["a", "c"], ["c"], ("a", "b", "c"), [(2, "c")], 2),
        (["a", "b"], ["b"], (("x", "b"), "a"), [(0, "b")], 2),
    ],
)
def test_the_test_part_counts_the_training_parts_classes(
    tmp_path: Path, train: Any, test: Any, labels: Any, expected: Any, told: Any
) -> None:
    images = open_images(ImageSelection(labels=labels), str(parts(tmp_path, train, test)))
    assert letters(images.test) == expected
    assert set(expected) <= set(letters(images.train)) or labels is None
    assert images.train.classes == images.test.classes == len(labels or train)
    assert len(images.label_notes) == told


def test_a_class_that_was_not_trained_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'d'"):
        open_images(ImageSelection(), str(parts(tmp_path, ["a", "b", "c"], ["a", "d"])))


def test_what_is_asked_says_labels_only_where_there_are_any() -> None:
    """Points of earlier studies are known by settings without them."""
    assert "labels" not in ImageSelection().to_dict()
    asked = ImageSelection(labels=("a", ("b", "c")))
    assert ImageSelection.from_dict(json.loads(json.dumps(asked.to_dict()))).to_dict() == asked.to_dict()
