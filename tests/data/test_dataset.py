"""Dataset: order, laziness, identity, selection. The archive made here is read by the `.npz` reader."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enxuto.data import Dataset, Preprocess, open_dataset
from enxuto.data.selection import spread_over_classes
from enxuto.data.source import Source
from enxuto.errors import DataError, UsageError

RAW = Preprocess(divide_by=1, channels="L")


def numbered(total: int, kinds: int = 3, **changes: Any) -> Dataset:
    """A data set whose image i is 2×2 pixels of value i mod 256 and has label i mod kinds."""
    settings = {
        "path": "numbers",
        "format": "npz",
        "part": None,
        "labels": np.arange(total, dtype=np.int64) % kinds,
        "classes": None,
        "fetch": lambda index: np.full((2, 2, 1), index % 256, np.uint8),
        "name": lambda index: f"sample {index}",
    }
    return Dataset(Source(**{**settings, **changes}))


@pytest.mark.parametrize("batch_size", [1, 7, 16, 40, 100, 1000])
def test_batches_keep_the_order_whatever_their_size(batch_size: int) -> None:
    data = numbered(100)
    batches = list(data.batches(batch_size, RAW))
    assert [len(batch) for batch, _ in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert all(batch.dtype == np.float32 and labels.dtype == np.int64 for batch, labels in batches)
    np.testing.assert_array_equal(np.concatenate([b[:, 0, 0, 0] for b, _ in batches]), np.arange(100))
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), data.labels)


def test_a_slow_consumer_holds_back_decoding_and_threads_end() -> None:
    fetched = []

    def fetch(index: int) -> np.ndarray:
        fetched.append(index)
        return np.zeros((2, 2, 1), np.uint8)

    before = threading.active_count()
    batches = numbered(100_000, fetch=fetch).batches(64, RAW)
    next(batches)
    batches.close()
    assert len(fetched) < 64 + 16 * 16 + 64
    assert threading.active_count() == before


def test_errors_name_the_data_set_and_the_sample() -> None:
    data = numbered(40, fetch=lambda i: b"no image" if i == 33 else np.zeros((2, 2, 1), np.uint8))
    with pytest.raises(DataError, match="numbers: sample 33 is not an image"):
        list(data.batches(8, RAW))
    odd = numbered(40, fetch=lambda i: np.zeros((2, 3 if i == 35 else 2, 1), np.uint8))
    for batch_size in (1, 64):
        with pytest.raises(
            DataError, match=r"sample 35 has shape \(2, 3, 1\)|sample 35 has shape \(1, 2, 3\)"
        ):
            list(odd.batches(batch_size, RAW))
    with pytest.raises(DataError, match="numbers: sample 0 is 2×2, smaller than the crop"):
        list(numbered(3).batches(1, Preprocess(crop=4)))


def test_batch_size_is_checked_at_the_call() -> None:
    with pytest.raises(UsageError, match="batch size is 0"):
        numbered(3).batches(0, RAW)


def test_labels_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        numbered(3).labels[0] = 1


@pytest.mark.parametrize(
    ("labels", "classes", "words"),
    [
        ([0, 1, 2], ("a", "b"), "label 2 at sample 2 is out of range .0…1"),
        ([0, -1], None, "label -1 at sample 1"),
        ([], None, "no samples"),
    ],
)
def test_labels_out_of_range_are_refused(
    labels: list[int], classes: tuple[str, ...] | None, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        numbered(3, labels=np.array(labels, np.int64), classes=classes)


def test_hash_identifies_bytes_and_labels_but_not_order() -> None:
    data = numbered(30)
    assert len(data.hash) == 16
    assert data.hash == numbered(30).hash
    assert data.subset(np.arange(30)[::-1]).hash == data.hash
    assert data.subset(range(29)).hash != data.hash
    assert numbered(30, kinds=4).hash != data.hash
    other = numbered(30, fetch=lambda i: np.full((2, 2, 1), 99 if i == 3 else i, np.uint8))
    assert other.hash != data.hash
    flat = numbered(30, fetch=lambda i: np.full((1, 4, 1), i, np.uint8))
    assert flat.hash != data.hash


def test_hash_is_the_same_after_batches_and_reads_nothing_again() -> None:
    fetched = []

    def fetch(index: int) -> np.ndarray:
        fetched.append(index)
        return np.full((2, 2, 1), index, np.uint8)

    data = numbered(50, fetch=fetch)
    list(data.batches(7, RAW))
    read = len(fetched)
    assert data.hash == numbered(50).hash
    assert len(fetched) == read == 50


def test_image_shape_is_none_when_sizes_differ() -> None:
    assert numbered(40).image_shape == (2, 2, 1)
    assert numbered(40, fetch=lambda i: np.zeros((2 + i % 2, 2, 1), np.uint8)).image_shape is None


def test_subset_follows_the_order_given_and_nests() -> None:
    part = numbered(10).subset([7, 2, 5]).subset([2, 0])
    assert [int(part.image(i)[0, 0, 0]) for i in range(2)] == [5, 7]
    assert part.labels.tolist() == [5 % 3, 7 % 3]
    for wrong in ([], [10], [-1]):
        with pytest.raises(DataError, match="subset"):
            numbered(10).subset(wrong)


@given(
    labels=st.lists(st.integers(0, 5), min_size=10, max_size=80),
    share=st.floats(0.2, 0.8),
    seed=st.integers(0, 9),
)
def test_stratified_parts_are_disjoint_and_hold_their_share_of_each_class(
    labels: list[int], share: float, seed: int
) -> None:
    data = numbered(len(labels), labels=np.array(labels, np.int64))
    left, right = data.split([share, 1 - share], seed)
    values = [int(part.image(i)[0, 0, 0]) for part in (left, right) for i in range(len(part))]
    assert sorted(values) == list(range(len(labels)))
    assert abs(len(left) - share * len(labels)) <= 1
    # A class strays from its share by rounding (1) and by where the cut falls among all classes together.
    for label in set(labels):
        expected = share * labels.count(label)
        assert abs(int((left.labels == label).sum()) - expected) <= 1 + len(set(labels)) * labels.count(
            label
        ) / len(labels)


def test_split_spreads_classes_of_one_sample_over_the_parts() -> None:
    left, right = numbered(100, kinds=100).split([0.5, 0.5])
    assert (len(left), len(right)) == (50, 50)


def test_split_is_seeded_and_may_leave_a_rest_out() -> None:
    data = numbered(100)
    first, again, other = (data.split([0.3, 0.2], seed) for seed in (1, 1, 2))
    assert [part.hash for part in first] == [part.hash for part in again]
    assert first[0].hash != other[0].hash
    assert [len(part) for part in first] == [30, 20]
    assert first[0].seed == 1
    plain = data.split([0.3], 1, stratified=False)[0]
    assert len(plain) == 30
    assert plain.hash != first[0].hash


def test_stratified_order_is_pinned() -> None:
    # A split must not drift between releases: train and held-out samples would mix.
    assert spread_over_classes(np.array([0, 0, 0, 1, 1, 2]), 0).tolist() == [2, 3, 1, 5, 4, 0]


@pytest.mark.parametrize("fractions", [[], [0.5, 0.6], [-0.1], [0.0, 0.5]])
def test_fractions_without_sense_are_refused(fractions: list[float]) -> None:
    with pytest.raises(UsageError, match="fractions"):
        numbered(10).split(fractions)


def test_a_part_without_samples_is_refused() -> None:
    with pytest.raises(DataError, match="E043"):
        numbered(3).split([0.01, 0.9])


def test_limit_draws_a_seeded_sample_in_order(tmp_path: Path) -> None:
    images = np.arange(200, dtype=np.uint8).reshape(200, 1, 1)
    np.savez(tmp_path / "d.npz", images=images, labels=np.zeros(200, np.int64))
    drawn = [open_dataset(tmp_path / "d.npz", limit=20, seed=seed) for seed in (0, 0, 1)]
    values = [[int(data.image(i)[0, 0, 0]) for i in range(20)] for data in drawn]
    assert values[0] == values[1] == sorted(set(values[0]))
    assert values[0] != values[2]
    assert max(values[0]) > 150
    assert drawn[2].seed == 1
    assert len(open_dataset(tmp_path / "d.npz", limit=1000)) == 200
