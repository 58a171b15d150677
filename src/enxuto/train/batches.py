"""A training set in memory, and its epochs: shuffled, augmented, normalised batches.

Images are decoded once and kept as bytes (CIFAR-10: 154 MB); a batch is a gather, a few changes and one
normalisation. Several processes share an epoch: all shuffle and draw alike, each prepares its part of every
batch, so the images of a step are those that one process would have seen. Not here: sets larger than memory.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from enxuto.data import Dataset, Preprocess
from enxuto.data.selection import spread_over_classes
from enxuto.errors import DataError, UsageError
from enxuto.train.augment import Augment, normalise
from enxuto.train.preparation import pixel_scale, without_scale

__all__ = ["TrainingData", "evaluation_batches", "training_batches"]

_DECODED_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Labelled images in memory.

    images: uint8 (N, C, H, W). labels: int64 (N,), in 0 … classes − 1. mean, std: a value a channel, of pixels
    scaled to 0…1; those of the training set, wherever the images come from. hash: identifies the samples and
    their size. prepared: the preprocessing whose colour, resizing and crop gave the images, None where they were
    resized to their size, or not at all. Raises `DataError` when these do not fit together.
    """

    images: Tensor
    labels: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: int
    hash: str
    prepared: Preprocess | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or 0 in self.images.shape:
            found = f"{self.images.dtype} {tuple(self.images.shape)}"
            raise DataError(f"training images are {found}; uint8 (N, C, H, W) with N from 1 on is needed")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            found = f"{self.labels.dtype} {tuple(self.labels.shape)}"
            raise DataError(f"labels are {found}; int64 ({len(self.images)},) is needed")
        if not len(self.mean) == len(self.std) == self.images.shape[1] or min(self.std) <= 0:
            raise DataError(f"mean {self.mean} and std {self.std} must be {self.images.shape[1]} values each")
        if int(self.labels.min()) < 0 or int(self.labels.max()) >= self.classes:
            low, high = int(self.labels.min()), int(self.labels.max())
            raise DataError(
                f"labels are {low}…{high}, which does not fit {self.classes} classes", code="E042"
            )

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def from_dataset(
        cls,
        dataset: Dataset,
        size: tuple[int, int] | None = None,
        *,
        channels: str | None = None,
        preprocess: Preprocess | None = None,
    ) -> TrainingData:
        """Decode a data set once, in threads; mean and std are its own.

        size: (height, width) to resize to, without regard to aspect; None where all images have one size.
        channels: `RGB` or `L` (grey); without it what the images are, and RGB where they differ.
        preprocess: whose colour, resizing and crop are taken instead of both; it has to leave one size.
        Raises `DataError` naming the sample that is damaged or of another size.
        """
        shape = dataset.image_shape
        colour = channels or ("L" if shape is not None and shape[2] == 1 else "RGB")
        shaping = Preprocess(resize=size, divide_by=1.0, channels=colour)
        if preprocess is not None:
            shaping = without_scale(preprocess)
        pixels = _decode_all(dataset, shaping)
        images = torch.from_numpy(pixels)
        mean, std = channel_statistics(images)
        labels = torch.from_numpy(dataset.labels.copy())
        classes = len(dataset.classes) if dataset.classes is not None else int(labels.max()) + 1
        stored = None if size is None and channels is None else f"{size} {colour}"
        if preprocess is not None:
            stored = shaping.describe()
        identity = dataset.hash if stored is None else _short_hash(f"{dataset.hash} {stored}".encode())
        return cls(images, labels, mean, std, classes, identity, preprocess)

    def split(self, share: float, seed: int) -> tuple[TrainingData, TrainingData]:
        """Hold out a validation part: (training part, validation part), every class in both in proportion.

        share: of all samples, above 0 and below 1. mean and std of both are the training part's, so that
        nothing of the held-out images reaches the training. Raises `UsageError` for another share,
        `DataError` when a part would be empty.
        """
        if not 0 < share < 1:
            raise UsageError(f"the validation share is {share}; it must be above 0 and below 1")
        held_out = round(share * len(self))
        if held_out in (0, len(self)):
            raise DataError(
                f"{len(self)} samples are too few to hold out {share:g} of them for validation", code="E043"
            )
        order = spread_over_classes(self.labels.cpu().numpy(), seed)
        training = self.subset(np.sort(order[held_out:]))
        mean, std = channel_statistics(training.images)
        training = replace(training, mean=mean, std=std)
        return training, self.subset(np.sort(order[:held_out])).like(training)

    def subset(self, indices: np.ndarray) -> TrainingData:
        """The samples at these positions, int64, in this order; mean and std stay as they are."""
        chosen = torch.from_numpy(np.asarray(indices, np.int64)).to(self.images.device)
        identity = _short_hash(self.hash.encode() + np.asarray(indices, "<i8").tobytes())
        return replace(self, images=self.images[chosen], labels=self.labels[chosen], hash=identity)

    def like(self, training: TrainingData) -> TrainingData:
        """These samples with the mean, std and number of classes of `training`: for validation and test.

        Raises `DataError` when channels or labels do not fit.
        """
        if self.images.shape[1:] != training.images.shape[1:]:
            own, others = tuple(self.images.shape[1:]), tuple(training.images.shape[1:])
            raise DataError(
                f"the images are {own} (C, H, W), those of the training set {others}", code="E044"
            )
        return replace(self, mean=training.mean, std=training.std, classes=training.classes)

    def to(self, device: torch.device | str) -> TrainingData:
        """The same on another device, where batches are then made."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def preprocess(self) -> Preprocess:
        """The preprocessing that gives a network what these batches give it; to travel with its ONNX file.

        Raises `UsageError` for images that are neither grey nor RGB.
        """
        channels, height, width = self.images.shape[1:]
        if channels not in (1, 3):
            raise UsageError(
                f"images of {channels} channels have no preprocessing; 1 or 3 are needed", code="E046"
            )
        if self.prepared is not None:
            own = replace(self.prepared, layout="NCHW")
            if pixel_scale(own, channels) == (self.mean, self.std):
                return own  # in the very numbers that it was given in
            return replace(own, divide_by=255.0, mean=self.mean, std=self.std)
        colour = "L" if channels == 1 else "RGB"
        return Preprocess(resize=(height, width), mean=self.mean, std=self.std, channels=colour)


def training_batches(
    data: TrainingData,
    batch_size: int,
    *,
    generator: torch.Generator,
    augment: Augment,
    drop_last: bool = False,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch in a random order, on the device of the data.

    Args:
        data: the training set.
        batch_size: images of a step over all `world_size` processes. This process, `rank`, gets its even share; a last
            batch with fewer images than processes is left out.
        generator: on the CPU. It is drawn from once, when the epoch starts, and decides all of it: the same state
            gives the same batches, however far an epoch was followed.
        augment: the random changes.
        drop_last: leave out any smaller last batch.
        rank, world_size: this process's number, from 0, and how many there are.

    Returns:
        An iterator of (images float32 (n, C, H, W), normalised; labels int64 (n,)).

    Raises:
        UsageError: the batch size is below `world_size`.
    """
    _check_processes(batch_size, rank, world_size)
    seed = int(torch.randint(2**62, (), generator=generator))
    return _epoch_batches(data, batch_size, seed, augment, drop_last, rank, world_size)


def _epoch_batches(
    data: TrainingData,
    batch_size: int,
    seed: int,
    augment: Augment,
    drop_last: bool,
    rank: int,
    world_size: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data), generator=generator)
    mean, std = torch.tensor(data.mean), torch.tensor(data.std)
    height, width = data.images.shape[2:]
    for start in range(0, len(data), batch_size):
        whole = order[start : start + batch_size]
        if len(whole) < (batch_size if drop_last else world_size):
            return
        draw = augment.draw(len(whole), height, width, generator)  # for all ranks, so that they stay in step
        low, high = _process_range(len(whole), rank, world_size)
        chosen = whole[low:high].to(data.images.device)
        images = augment.apply(data.images.index_select(0, chosen), draw.rows(low, high), mean, std)
        yield images, data.labels[chosen]


def evaluation_batches(
    data: TrainingData, batch_size: int, *, rank: int = 0, world_size: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """All samples once, in order, unchanged but for normalisation; each process gets its share of the whole.

    A process may get nothing of a set smaller than `world_size`.
    """
    _check_processes(batch_size * world_size, rank, world_size)
    mean, std = torch.tensor(data.mean), torch.tensor(data.std)
    low, high = _process_range(len(data), rank, world_size)
    for start in range(low, high, batch_size):
        stop = min(start + batch_size, high)
        yield normalise(data.images[start:stop], mean, std), data.labels[start:stop]


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 (N, C, H, W), of pixels scaled to 0…1.

    Computed in whole numbers from counts of the 256 values and rounded at the end, so that the last digits, which
    studies know their images by, are the same on every processor. A channel of one value gets the std 1.
    """
    means, stds = [], []
    for channel in range(images.shape[1]):
        counts = torch.zeros(256, dtype=torch.int64)
        for part in torch.split(images[:, channel], 4096):  # bincount makes int64 of what it counts
            counts += torch.bincount(part.reshape(-1).long(), minlength=256).cpu()
        numbers: list[int] = counts.tolist()
        count = sum(numbers)
        total = sum(value * number for value, number in enumerate(numbers))
        squares = sum(value * value * number for value, number in enumerate(numbers))
        variance = Fraction(count * squares - total * total, (255 * count) ** 2)
        means.append(total / (255 * count))
        stds.append(math.sqrt(variance) if variance else 1.0)
    return tuple(means), tuple(stds)


def _decode_all(dataset: Dataset, preprocess: Preprocess) -> np.ndarray:
    """All samples as uint8 (N, C, H, W)."""
    pixels: np.ndarray | None = None
    done = 0
    for batch, _ in dataset.batches(_DECODED_AT_ONCE, preprocess):
        if pixels is None:
            pixels = np.empty((len(dataset), *batch.shape[1:]), np.uint8)
        pixels[done : done + len(batch)] = batch  # whole numbers 0…255, so nothing is lost
        done += len(batch)
    assert pixels is not None
    return pixels


def _process_range(count: int, rank: int, world_size: int) -> tuple[int, int]:
    """Where the part of a process begins and ends; parts differ by one image at most."""
    return count * rank // world_size, count * (rank + 1) // world_size


def _check_processes(batch_size: int, rank: int, world_size: int) -> None:
    if not 0 <= rank < world_size:
        raise UsageError(f"process {rank} of {world_size} does not exist; ranks count from 0")
    if batch_size < world_size:
        raise UsageError(
            f"batch size {batch_size} is too small for {world_size} processes; give each an image",
            code="E022",
        )


def _short_hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
