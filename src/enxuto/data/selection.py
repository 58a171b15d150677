"""Which samples: the part of a data set, seeded orders of it. Not here: reading or decoding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from enxuto.errors import DataError, did_you_mean

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


def choose_part(path: str | Path, parts: Sequence[str], requested: str | None) -> str:
    """The part of a data set to open: the one asked for, the only one there is, or `test`.

    Raises `DataError` listing the parts when the one asked for is missing, or when there is no obvious
    choice.
    """
    if requested is not None and requested in parts:
        return requested
    if requested is None and len(parts) == 1:
        return parts[0]
    if requested is None and "test" in parts:
        return "test"
    if requested is None:
        raise DataError(f"{path} has the parts {', '.join(parts)}; name one with split", code="E023")
    hint = did_you_mean(requested, parts)
    raise DataError(f"{path} has the parts {', '.join(parts)}; there is no {requested!r}{hint}", code="E021")
