"""The images of `enxuto train`: opened, matched with class names, decoded as the network takes them, and parted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from enxuto.cli.shared.data_options import say_matching
from enxuto.cli.shared.starting_networks import StartingPoint
from enxuto.cli.shared.terminal import note
from enxuto.cli.shared.training_options import TrainingDataOptions
from enxuto.errors import DataError, UsageError

if TYPE_CHECKING:
    from enxuto.data import Dataset
    from enxuto.data.labels import Label
    from enxuto.train import TrainConfig, TrainingData

__all__ = ["TrainingParts", "is_reporting", "load_parts"]


@dataclass(frozen=True)
class TrainingParts:
    """The images by what they are for; hash: of all that are trained on or held out; classes: their names."""

    train: TrainingData
    validation: TrainingData | None
    test: TrainingData | None
    hash: str
    classes: tuple[str, ...] | None


def load_parts(
    start: StartingPoint,
    data: Path,
    image_options: TrainingDataOptions,
    size: tuple[int, int] | None,
    config: TrainConfig,
) -> TrainingParts:
    """Open and decode all images; `size` is (height, width), None for the network's own."""
    dataset = _open(
        data,
        replace(image_options, split=image_options.split or "train"),
        fall_back=image_options.split is None,
    )
    names = image_options.class_order()
    if names is not None:
        dataset = _match(dataset, names, None)
    test_set = None
    if image_options.test is not None:
        seed = image_options.seed if image_options.test_limit is not None else 0
        options = replace(image_options, split="test", limit=image_options.test_limit, seed=seed)
        test_set = _open(Path(image_options.test), options, fall_back=True)
        test_set = _match(test_set, names or dataset.classes, _count_classes(dataset))
    whole = start.normalise(_decode(dataset, start, size))
    train, validation = whole, None
    if config.validation > 0:
        train, validation = map(start.normalise, whole.split(config.validation, config.seed))
    test = None if test_set is None else _decode_test(test_set, train)
    return TrainingParts(train, validation, test, whole.hash, dataset.classes)


def _open(path: Path, image_options: TrainingDataOptions, *, fall_back: bool) -> Dataset:
    """The part of the data that --split names.

    fall_back: take the only part there is instead, unless that is a test part.
    """
    from enxuto.data import open_dataset

    try:
        return open_dataset(path, **image_options.arguments())
    except DataError as error:
        if not fall_back:
            raise
        try:
            only = open_dataset(path, **replace(image_options, split=None).arguments())
        except DataError as other:
            raise (other if error.code == "E024" else error) from None  # E024: there are no parts at all
        if image_options.split == "train" and only.part == "test":
            raise UsageError(
                f"{path} has a test part and no train part; say --split to train on it", code="E040"
            ) from error
        return only


def _count_classes(dataset: Dataset) -> int:
    return len(dataset.classes) if dataset.classes is not None else int(dataset.labels.max()) + 1


def _match(dataset: Dataset, names: Sequence[Label] | None, outputs: int | None) -> Dataset:
    """The data set with labels in the order of these names; say on stderr where that is another order."""
    matched, matching = dataset.match_classes(names, outputs)
    if is_reporting():
        say_matching(matching)
    return matched


def _size_for(start: StartingPoint, dataset: Dataset) -> tuple[int, int] | None:
    """The size to resize to: the network's, where the images have another; None for networks of others."""
    if start.size is None:
        return None
    height, width = start.size
    shape = dataset.image_shape
    if shape is not None and shape[:2] == (height, width):
        return None
    actual = "of several sizes" if shape is None else f"{shape[0]}×{shape[1]}"
    if is_reporting():
        note(f"images are {actual} and are resized to {height}×{width}, the size of {start.network}")
    return height, width


def _decode(dataset: Dataset, start: StartingPoint, size: tuple[int, int] | None) -> TrainingData:
    """The images as the network takes them; `size` is (height, width), None for the network's own."""
    from enxuto.train import TrainingData

    for remark in dataset.notes if is_reporting() else ():
        note(remark)
    if start.preprocess is not None:
        if is_reporting():
            note(f"images are prepared as {start.network} takes them: {start.preprocess.describe()}")
        return TrainingData.from_dataset(dataset, preprocess=start.preprocess)
    return TrainingData.from_dataset(dataset, size or _size_for(start, dataset))


def _decode_test(dataset: Dataset, train: TrainingData) -> TrainingData:
    from enxuto.train import TrainingData

    if train.prepared is not None:
        return TrainingData.from_dataset(dataset, preprocess=train.prepared).like(train)
    channels, height, width = train.images.shape[1:]
    shape = dataset.image_shape
    size = None if shape is not None and shape[:2] == (height, width) else (height, width)
    # Said only where it differs: it becomes a part of what identifies the data.
    wanted = None if shape is not None and shape[2] == channels else ("L" if channels == 1 else "RGB")
    return TrainingData.from_dataset(dataset, size, channels=wanted).like(train)


def is_reporting() -> bool:
    """Whether this process reports: the only one, or the first that torchrun started."""
    return os.environ.get("RANK", "0") in ("", "0")
