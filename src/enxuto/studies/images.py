"""The images of studies that train: those to train on and score filters with, and those accuracies are measured on.

What is opened, and how, is a mapping of JSON values, so that it is part of what a point is known by and any process
can open the same images again. They are decoded once a process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from enxuto.data import Dataset, open_dataset
from enxuto.data.labels import Label
from enxuto.data.selection import spread_over_classes
from enxuto.errors import DataError
from enxuto.study.identity import content_hash
from enxuto.study.point import Task
from enxuto.train.batches import TrainingData, evaluation_batches

__all__ = ["Asked", "Images", "images_of", "open_images", "scoring_batches"]

_BATCH = 64


@dataclass(frozen=True)
class Asked:
    """Which images. train, test: how many, drawn by the seed; None for all. size: (height, width) to resize to.

    channels: `RGB` or `L`, None as they are. labels: the classes in the order of the network's outputs, None for the
    training images' own order. mean, std: of the training that a given network comes from; None: those
    of the training images. split: the part to train on, `train` by default.
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

    def to_dict(self) -> dict[str, Any]:
        """JSON values; labels and split only where there are any, as points were known without."""
        later = ("labels", "split")
        values = {key: value for key, value in vars(self).items() if key not in later or value is not None}
        return json.loads(json.dumps(values))  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Asked:
        """What `to_dict` gave."""
        given: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**given)


@dataclass(frozen=True)
class Images:
    """Training and test images, with the training's mean and std.

    labels: the classes by number. told: how labels were matched, a line each, where that was not plain.
    """

    train: TrainingData
    test: TrainingData
    labels: tuple[str, ...] | None
    told: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """Identifies both, with all that networks and their files have of them."""
        return content_hash({
            "train": self.train.hash, "test": self.test.hash, "mean": self.train.mean, "std": self.train.std,
            "classes": self.train.classes, "labels": self.labels,
        })  # fmt: skip


def open_images(asked: Asked, data: str, test: str | None = None) -> Images:
    """Open and decode both, at most once a process for the same places.

    data: a folder with the parts `train` and `test`, or a published set's name; or, with `test`, the training images.
    Raises `DataError` where the parts cannot be told from each other.
    """
    return _opened(json.dumps(asked.to_dict()), data, test)


def images_of(task: Task) -> Images:
    """The images that a point asks for in its settings, at its paths `data` and, where there is one, `test`.

    Raises `DataError` where these are not the images that the point is known by.
    """
    images = open_images(Asked.from_dict(task.settings["images"]), task.paths["data"], task.paths.get("test"))
    if images.hash != task.data_hash:
        raise DataError(
            f"{task.paths['data']} does not hold the images that this study began with; use another folder for it"
        )
    return images


def scoring_batches(images: Images, count: int | None, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Batches of training images to score filters on: `count` of them, spread evenly over the classes, None for all."""
    train = images.train
    if count is not None and count < len(train):
        train = train.subset(spread_over_classes(train.labels.numpy(), seed)[:count])
    return [(pixels, labels) for pixels, labels in evaluation_batches(train, _BATCH)]


@lru_cache(maxsize=2)
def _opened(asked_json: str, data: str, test: str | None) -> Images:
    asked = Asked.from_dict(json.loads(asked_json))
    part = asked.split or "train"
    if test is None:
        first, second = _part(data, part, asked, asked.train), _part(data, "test", asked, asked.test)
        if first.part is None or first.part == second.part:
            raise DataError(f"{data} has no parts train and test; name the test images by test=")
    else:
        first, second = _part(data, part, asked, asked.train), _part(test, "test", asked, asked.test)
    told: list[str] = []
    if asked.labels is not None:
        first, found = first.match_classes(asked.labels)
        told += [*found.warnings, *found.remarks]
    classes = _classes(first, data, asked)
    second, found = second.match_classes(asked.labels or first.classes, classes)
    told += [*found.warnings, *found.remarks]
    train = replace(_loaded(first, asked, None), classes=classes)
    if asked.mean is not None and asked.std is not None:
        train = replace(train, mean=asked.mean, std=asked.std)
    colour = "L" if train.images.shape[1] == 1 else "RGB"
    return Images(train, _loaded(second, asked, colour).like(train), first.classes, tuple(told))


def _part(place: str, wanted: str, asked: Asked, limit: int | None) -> Dataset:
    """The part of that name, or the only one there is."""

    def opened(name: str | None) -> Dataset:
        return open_dataset(
            place, split=name, limit=limit, seed=asked.seed, format=asked.format,
            image_column=asked.image_column, label_column=asked.label_column,
        )  # fmt: skip

    try:
        return opened(wanted)
    except DataError as error:
        if not Path(place).exists():
            raise
        try:
            return opened(None)
        except DataError:
            raise error from None


def _classes(first: Dataset, data: str, asked: Asked) -> int:
    """How many the whole training set has, of which a draw may have missed some."""
    if first.classes is not None:
        return len(first.classes)
    whole = first if asked.train is None else _part(data, asked.split or "train", asked, None)
    return int(whole.labels.max()) + 1


def _loaded(dataset: Dataset, asked: Asked, colour: str | None) -> TrainingData:
    shape = dataset.image_shape
    size = None if shape is not None and shape[:2] == asked.size else asked.size
    wanted = asked.channels or colour
    # Said only where it differs, as it becomes a part of what identifies the data.
    same = shape is not None and wanted == ("L" if shape[2] == 1 else "RGB")
    return TrainingData.from_dataset(dataset, size, channels=None if same else wanted)
