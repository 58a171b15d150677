"""Training sets in memory and their epochs: what is seen, in which order, by which process."""

from __future__ import annotations

import math
import statistics
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from enxuto.data import open_dataset
from enxuto.errors import DataError, UsageError
from enxuto.train.augment import AUGMENTS, Augment
from enxuto.train.batches import TrainingData, channel_statistics, evaluation_batches, training_batches

NONE = Augment()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(count: int = 50, classes: int = 5) -> TrainingData:
    """Images whose every pixel is their number, so that a batch tells which images are in it."""
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, 3, 4, 4).clone()
    labels = torch.arange(count) % classes
    return TrainingData(images, labels, (0.0,) * 3, (1.0,) * 3, classes, "numbered")


def numbers(images: torch.Tensor) -> list[int]:
    return (images[:, 0, 0, 0] * 255).round().int().tolist()


def archive(folder: Path, images: np.ndarray, labels: np.ndarray, **more: np.ndarray) -> Path:
    np.savez(folder / "set.npz", images=images, labels=labels, **more)
    return folder / "set.npz"


def test_an_epoch_shows_every_image_once_with_its_label() -> None:
    data = numbered()
    seen: list[int] = []
    for images, labels in training_batches(data, 8, generator=generator(), augment=AUGMENTS["flip"]):
        assert images.shape[1:] == (3, 4, 4)
        assert [number % 5 for number in numbers(images)] == labels.tolist()
        seen += numbers(images)
    assert sorted(seen) == list(range(50))
    assert seen != list(range(50))


def test_the_last_batch_is_smaller_or_left_out() -> None:
    sizes = [
        len(labels) for _, labels in training_batches(numbered(), 8, generator=generator(), augment=NONE)
    ]
    assert sizes == [8] * 6 + [2]
    kept = training_batches(numbered(), 8, generator=generator(), augment=NONE, drop_last=True)
    assert [len(labels) for _, labels in kept] == [8] * 6


@pytest.mark.parametrize("name", list(AUGMENTS))
def test_the_same_state_gives_the_same_epoch_and_the_next_another(name: str) -> None:
    random = generator(7)
    runs = [
        list(training_batches(numbered(), 16, generator=random, augment=AUGMENTS[name])) for _ in range(2)
    ]
    again = list(training_batches(numbered(), 16, generator=generator(7), augment=AUGMENTS[name]))
    for (images, labels), (same_images, same_labels) in zip(runs[0], again, strict=True):
        assert torch.equal(images, same_images)
        assert torch.equal(labels, same_labels)
    assert not all(torch.equal(a[1], b[1]) for a, b in zip(*runs, strict=True))


def test_an_epoch_left_early_leaves_the_generator_where_a_whole_one_does() -> None:
    left, whole = generator(), generator()
    next(iter(training_batches(numbered(), 8, generator=left, augment=NONE)))
    list(training_batches(numbered(), 8, generator=whole, augment=NONE))
    assert torch.equal(left.get_state(), whole.get_state())


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("name", ["none", "crop-flip", "imagenet"])
def test_processes_together_see_what_one_would(processes: int, name: str) -> None:
    def epoch(rank: int, world_size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return list(
            training_batches(
                numbered(48),
                12,
                generator=generator(),
                augment=AUGMENTS[name],
                rank=rank,
                world_size=world_size,
            )
        )

    alone = epoch(0, 1)
    parts = [epoch(rank, processes) for rank in range(processes)]
    for step, (images, labels) in enumerate(alone):
        torch.testing.assert_close(torch.cat([part[step][0] for part in parts]), images, atol=0.004, rtol=0)
        assert torch.equal(torch.cat([part[step][1] for part in parts]), labels)


def test_no_process_goes_without_an_image() -> None:
    data = numbered(17)  # 8 + 8 + 1: the last cannot be shared by two
    steps = [
        list(training_batches(data, 8, generator=generator(), augment=NONE, rank=rank, world_size=2))
        for rank in (0, 1)
    ]
    assert [[len(labels) for _, labels in part] for part in steps] == [[4, 4], [4, 4]]


def test_evaluation_goes_in_order_and_is_shared_without_gaps() -> None:
    data = numbered()
    assert [numbers(images) for images, _ in evaluation_batches(data, 20)] == [
        list(range(20)), list(range(20, 40)), list(range(40, 50))
    ]  # fmt: skip
    shares = [
        number
        for rank in range(3)
        for images, _ in evaluation_batches(data, 7, rank=rank, world_size=3)
        for number in numbers(images)
    ]
    assert shares == list(range(50))


def test_senseless_sharing_is_refused() -> None:
    with pytest.raises(UsageError, match="process 2 of 2"):
        training_batches(numbered(), 8, generator=generator(), augment=NONE, rank=2, world_size=2)
    with pytest.raises(UsageError, match="batch size 1"):
        training_batches(numbered(), 1, generator=generator(), augment=NONE, world_size=2)
    with pytest.raises(UsageError, match="batch size 0"):
        list(evaluation_batches(numbered(), 0))


def test_split_is_stratified_disjoint_and_seeded() -> None:
    data = numbered(100)
    training, validation = data.split(0.2, seed=3)
    assert (len(training), len(validation)) == (80, 20)
    assert torch.bincount(validation.labels).tolist() == [4] * 5
    held_out = set(validation.images[:, 0, 0, 0].tolist())
    assert held_out.isdisjoint(training.images[:, 0, 0, 0].tolist())
    assert len(held_out) == 20
    again, other = data.split(0.2, seed=3)[1], data.split(0.2, seed=4)[1]
    assert torch.equal(again.images, validation.images)
    assert again.hash == validation.hash
    assert other.hash != validation.hash
    assert len({data.hash, training.hash, validation.hash}) == 3


def test_statistics_after_a_split_are_the_training_parts_alone() -> None:
    images = torch.randint(0, 256, (60, 3, 4, 4), dtype=torch.uint8, generator=generator())
    data = TrainingData(images, torch.arange(60) % 3, (0.1,) * 3, (0.2,) * 3, 3, "x")
    training, validation = data.split(0.5, seed=0)
    scaled = training.images.double() / 255
    np.testing.assert_allclose(training.mean, scaled.mean(dim=(0, 2, 3)), atol=1e-12)
    np.testing.assert_allclose(training.std, scaled.std(dim=(0, 2, 3), correction=0), atol=1e-12)
    assert (validation.mean, validation.std) == (training.mean, training.std)


@pytest.mark.parametrize("count", [3, 1000])
def test_statistics_are_rounded_once_so_that_every_processor_has_the_same(count: int) -> None:
    """Sums in float64 depend on their order, which BLAS chooses by the processor; studies know images by the digits."""
    images = torch.randint(0, 256, (count, 2, 7, 5), dtype=torch.uint8, generator=generator())
    means, stds = channel_statistics(images)
    for channel in range(2):
        pixels = [Fraction(value, 255) for value in images[:, channel].flatten().tolist()]
        assert means[channel] == float(statistics.mean(pixels))
        assert stds[channel] == math.sqrt(statistics.pvariance(pixels))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_senseless_shares_are_refused(share: float) -> None:
    with pytest.raises(UsageError, match="validation share"):
        numbered().split(share, seed=0)


def test_a_split_of_too_few_is_refused() -> None:
    with pytest.raises(DataError, match="E043"):
        numbered(5).split(0.05, seed=0)


def test_from_dataset_keeps_pixels_and_gives_the_statistics_and_the_hash(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (600, 6, 5, 3), np.uint8)
    labels = np.arange(600) % 4
    dataset = open_dataset(archive(tmp_path, pixels, labels, classes=np.array(list("abcdef"))))
    data = TrainingData.from_dataset(dataset)
    assert torch.equal(data.images, torch.from_numpy(pixels.transpose(0, 3, 1, 2)))
    assert data.labels.tolist() == labels.tolist()
    assert data.classes == 6
    assert data.hash == dataset.hash
    np.testing.assert_allclose(data.mean, (pixels / 255).mean(axis=(0, 1, 2)), atol=1e-12)
    np.testing.assert_allclose(data.std, (pixels / 255).std(axis=(0, 1, 2)), atol=1e-12)


def test_grey_images_and_sizes(tmp_path: Path) -> None:
    pixels = np.full((8, 6, 5), 77, np.uint8)
    dataset = open_dataset(archive(tmp_path, pixels, np.zeros(8, np.int64)))
    grey = TrainingData.from_dataset(dataset)
    assert grey.images.shape == (8, 1, 6, 5)
    assert grey.std == (1.0,)  # of one value; dividing by 0 would give NaN
    large = TrainingData.from_dataset(dataset, (10, 12), channels="RGB")
    assert large.images.shape == (8, 3, 10, 12)
    assert large.images.eq(77).all()
    assert large.hash != grey.hash


@pytest.mark.parametrize("channels", [None, "RGB"])
def test_preprocess_gives_what_the_batches_give(tmp_path: Path, channels: str | None) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 6, 6), np.uint8)
    dataset = open_dataset(archive(tmp_path, pixels, np.zeros(9, np.int64)))
    data = TrainingData.from_dataset(dataset, channels=channels)
    (expected, _), (found, _) = (
        next(iter(dataset.batches(9, data.preprocess()))),
        next(evaluation_batches(data, 9)),
    )
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)


def test_like_takes_the_training_sets_statistics_and_refuses_strangers() -> None:
    test = TrainingData(numbered(4).images, torch.tensor([0, 1, 0, 1]), (0.5,) * 3, (0.5,) * 3, 2, "test")
    same = test.like(numbered())
    assert (same.mean, same.std, same.classes) == ((0.0,) * 3, (1.0,) * 3, 5)
    with pytest.raises(DataError, match="E042"):
        numbered().like(test)
    with pytest.raises(DataError, match="E044"):
        TrainingData(test.images[:, :1], test.labels, (0.5,), (0.5,), 2, "x").like(test)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(4, 3, 2, 2)}, "uint8"),
        ({"images": torch.zeros(0, 3, 2, 2, dtype=torch.uint8)}, "from 1 on"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, "int64"),
        ({"labels": torch.full((4,), 2)}, "does not fit 2 classes"),
        ({"mean": (0.5,)}, "3 values"),
        ({"std": (0.5, 0.0, 0.5)}, "3 values"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    values: dict[str, object] = {
        "images": torch.zeros(4, 3, 2, 2, dtype=torch.uint8),
        "labels": torch.zeros(4, dtype=torch.int64),
        "mean": (0.5,) * 3,
        "std": (0.5,) * 3,
        "classes": 2,
        "hash": "x",
    }
    with pytest.raises(DataError, match=message):
        TrainingData(**(values | change))
