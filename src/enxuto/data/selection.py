"""Which samples: the part of a data set, seeded orders of it. Not here: reading or decoding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from enxuto.errors import DataError

__all__ = ["choose_part", "random_sample", "spread_over_classes"]


def random_sample(total: int, count: int, seed: int) -> NDArray[np.int64]:
    """`count` of the numbers 0…total − 1, drawn without replacement, in ascending order."""
    keys = np.random.default_rng(seed).random(total)
    return np.sort(np.argsort(keys, kind="stable")[:count]).astype(np.int64)


def spread_over_classes(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """A random order of the samples in which every class is spread evenly: any slice holds its share of each.

    labels: int64 (N,). The r-th sample of a class of n gets the key (r + u)/n, u drawn once a class, and
    samples are sorted by key; so any slice holds its share of each class up to rounding, and classes of
    one sample spread over the slices.
    """
    random = np.random.default_rng(seed)
    shuffled = np.argsort(random.random(len(labels)), kind="stable")
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, starts, sizes = np.unique(labels[by_class], return_index=True, return_counts=True)
    offsets = np.repeat(random.random(len(sizes)), sizes)
    ranks = np.arange(len(labels)) - np.repeat(starts, sizes)
    keys = (ranks + offsets) / np.repeat(sizes, sizes)
    return by_class[np.argsort(keys, kind="stable")].astype(np.int64)


def choose_part(path: str | Path, parts: Sequence[str], asked: str | None) -> str:
    """The part of a data set to open: the one asked for, the only one there is, or `test`.

    Raises `DataError` listing the parts when the one asked for is missing, or when there is no obvious
    choice.
    """
    if asked is not None and asked in parts:
        return asked
    if asked is None and len(parts) == 1:
        return parts[0]
    if asked is None and "test" in parts:
        return "test"
    wish = "name one with split" if asked is None else f"there is no {asked!r}"
    raise DataError(f"{path} has the parts {', '.join(parts)}; {wish}")
