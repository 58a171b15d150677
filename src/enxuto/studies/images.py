"""The images of studies that train: those to train on and score filters with, and those accuracies are measured on.

What is opened, and how, is a mapping of JSON values, so that it is part of what a point is known by and any process
can open the same images again. They are decoded once a process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from enxuto.data import Dataset, Preprocess, open_dataset
from enxuto.data.labels import Label
from enxuto.data.selection import spread_over_classes
from enxuto.errors import DataError
from enxuto.study.identity import content_hash
from enxuto.study.point import Task
from enxuto.train.batches import TrainingData, evaluation_batches

__all__ = [
    "ImageSelection",
    "Images",
    "check_channels",
    "open_images",
    "open_point_images",
    "scoring_batches",
]

_BATCH = 64


@dataclass(frozen=True)
class ImageSelection:
    """Which images a study trains and tests on, and how they are read.

    Attributes:
        train, test: how many, drawn by the seed; None for all.
        seed: of the draw.
        size: (height, width) in pixels to resize to, None for no resizing.
        channels: `RGB` or `L`, None as they are.
        format, image_column, label_column: as in `open_dataset`.
        mean, std: of the training that a trained network comes from, None for those of the training images.
        labels: the classes in the order of the network's outputs, None for the training images' own order.
        split: the part to train on, None for `train`.
        preprocess: of a trained network, where it crops or resizes in another way than to `size`; None for others.
    """

    train: int | None = None
    test: int | None = None
    seed: int = 0
    size: tuple[int, int] | None = None
    channels: str | None = None
    format: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: tuple[Label, ...] | None = None
    split: str | None = None
    preprocess: Preprocess | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values; labels, split and preprocess only where there are any, as points were known without."""
        later = ("labels", "split", "preprocess")
        values = {key: value for key, value in vars(self).items() if key not in later or value is not None}
        if self.preprocess is not None:
            values["preprocess"] = self.preprocess.to_dict()
        return json.loads(json.dumps(values))  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImageSelection:
        """What `to_dict` gave."""
        given: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        if "preprocess" in given:
            given["preprocess"] = Preprocess.from_dict(given["preprocess"])
        return cls(**given)


@dataclass(frozen=True)
class Images:
    """Training and test images, with the training's mean and std.

    labels: the classes by number. label_notes: how labels were matched, a line each, where that was not plain.
    """

    train: TrainingData
    test: TrainingData
    labels: tuple[str, ...] | None
    label_notes: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """Identifies both, with all that networks and their files have of them."""
        return content_hash({
            "train": self.train.hash, "test": self.test.hash, "mean": self.train.mean, "std": self.train.std,
            "classes": self.train.classes, "labels": self.labels,
        })  # fmt: skip


def open_images(selection: ImageSelection, data: str, test: str | None = None) -> Images:
    """Open and decode both, at most once a process for the same places.

    data: a folder with the parts `train` and `test`, or a published set's name; or, with `test`, the training images.
    Raises `DataError` where the parts cannot be told from each other.
    """
    return _open_once(json.dumps(selection.to_dict()), data, test)


def open_point_images(task: Task) -> Images:
    """The images that a point asks for in its settings, at its paths `data` and, where there is one, `test`.

    Raises `DataError` where these are not the images that the point is known by.
    """
    images = open_images(
        ImageSelection.from_dict(task.settings["images"]), task.paths["data"], task.paths.get("test")
    )
    if images.hash != task.data_hash:
        raise DataError(
            f"{task.paths['data']} does not hold the images that this study began with; use another folder for it",
            code="E080",
        )
    return images


def scoring_batches(images: Images, count: int | None, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Batches of training images to score filters on: `count` of them, spread evenly over the classes, None for all."""
    train = images.train
    if count is not None and count < len(train):
        train = train.subset(spread_over_classes(train.labels.numpy(), seed)[:count])
    return [(pixels, labels) for pixels, labels in evaluation_batches(train, _BATCH)]


@lru_cache(maxsize=2)
def _open_once(selection_json: str, data: str, test: str | None) -> Images:
    selection = ImageSelection.from_dict(json.loads(selection_json))
    part = selection.split or "train"
    if test is None:
        first = _open_part(data, part, selection, selection.train)
        second = _open_part(data, "test", selection, selection.test)
        if first.part is None or first.part == second.part:
            raise DataError(f"{data} has no parts train and test; name the test images by test=", code="E023")
    else:
        first = _open_part(data, part, selection, selection.train)
        second = _open_part(test, "test", selection, selection.test)
    label_notes: list[str] = []
    if selection.labels is not None:
        first, found = first.match_classes(selection.labels)
        label_notes += [*found.warnings, *found.remarks]
    classes = _count_classes(first, data, selection)
    second, found = second.match_classes(selection.labels or first.classes, classes)
    label_notes += [*found.warnings, *found.remarks]
    train = replace(_load(first, selection, None), classes=classes)
    if selection.mean is not None and selection.std is not None:
        check_channels(train, selection.mean, data)
        train = replace(train, mean=selection.mean, std=selection.std)
    colour = "L" if train.images.shape[1] == 1 else "RGB"
    return Images(train, _load(second, selection, colour).like(train), first.classes, tuple(label_notes))


def check_channels(images: TrainingData, mean: Sequence[float], data: str) -> None:
    """Raise `DataError` where images have more or fewer channels than those that a network was trained on."""
    count = images.images.shape[1]
    if count != len(mean):
        raise DataError(
            f"{data} holds images of {count} channels, and the network takes {len(mean)}; convert them",
            code="E044",
        )


def _open_part(path: str, part: str, selection: ImageSelection, limit: int | None) -> Dataset:
    """The part of that name, or the only one there is."""

    def open_named(name: str | None) -> Dataset:
        return open_dataset(
            path, split=name, limit=limit, seed=selection.seed, format=selection.format,
            image_column=selection.image_column, label_column=selection.label_column,
        )  # fmt: skip

    try:
        return open_named(part)
    except DataError as error:
        if not Path(path).exists():
            raise
        try:
            return open_named(None)
        except DataError as other:
            # Of data without parts, the second says what is wrong with them; the first only that there are no parts.
            raise (other if error.code == "E024" and selection.split is None else error) from None


def _count_classes(first: Dataset, data: str, selection: ImageSelection) -> int:
    """How many the whole training set has, of which a draw may have missed some."""
    if first.classes is not None:
        return len(first.classes)
    whole = (
        first if selection.train is None else _open_part(data, selection.split or "train", selection, None)
    )
    return int(whole.labels.max()) + 1


def _load(dataset: Dataset, selection: ImageSelection, colour: str | None) -> TrainingData:
    if selection.preprocess is not None:
        return TrainingData.from_dataset(dataset, preprocess=selection.preprocess)
    shape = dataset.image_shape
    size = None if shape is not None and shape[:2] == selection.size else selection.size
    wanted = selection.channels or colour
    # Said only where it differs, as it becomes a part of what identifies the data.
    same = shape is not None and wanted == ("L" if shape[2] == 1 else "RGB")
    return TrainingData.from_dataset(dataset, size, channels=None if same else wanted)
