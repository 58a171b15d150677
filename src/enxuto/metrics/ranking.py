"""Metrics of ranked lists (Tonin 2021, section 2.4.3). Ties are broken in favour of the lower index.

Relevances are listed in the order the model ranked the items, best first.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from enxuto.errors import DataError, UsageError
from enxuto.metrics.scores import check_labels, check_scores

__all__ = ["cumulative_gain", "dcg", "expected_ranks", "ndcg", "reciprocal_rank"]

Gain = Literal["linear", "exponential"]


def expected_ranks(scores: ArrayLike, labels: ArrayLike) -> NDArray[np.int64]:
    """Rank 1…C of the expected class of each sample: int64 (N,) from scores (N, C) and labels (N,).

    Of equal scores the lower index ranks first, as `argmax` chooses. Raises `DataError` for NaN, wrong shapes
    or labels outside 0…C − 1.
    """
    shape = np.shape(scores)
    classes = shape[1] if len(shape) == 2 else 0
    values = check_scores(scores, classes, 0)
    return ranks_of(values, check_labels(labels, len(values), classes, 0))


def ranks_of(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """`expected_ranks` for values that have been checked."""
    expected = np.take_along_axis(scores, labels[:, np.newaxis], axis=1)  # n 1
    earlier = np.arange(scores.shape[1]) < labels[:, np.newaxis]  # n c
    ahead = (scores > expected) | ((scores == expected) & earlier)
    return np.add(np.sum(ahead, axis=1, dtype=np.int64), 1, dtype=np.int64)


def reciprocal_rank(relevances: ArrayLike) -> float:
    """1 / position of the first relevant item (relevance above 0), or 0 when there is none (eq. 2.16)."""
    relevant = np.flatnonzero(_check_relevances(relevances) > 0)
    return 1.0 / (1 + int(relevant[0])) if relevant.size else 0.0


def cumulative_gain(relevances: ArrayLike, k: int | None = None) -> float:
    """Sum of the first k relevances (eq. 2.13); of all when k is None."""
    return float(_first(_check_relevances(relevances), k).sum())


def dcg(relevances: ArrayLike, k: int | None = None, *, gain: Gain = "linear") -> float:
    """Discounted cumulative gain of the first k items: Σ g(rel_i) / log2(i + 1), i from 1 (eq. 2.14).

    gain: `linear`, g = rel, or `exponential`, g = 2^rel − 1, which stresses the most relevant items.
    """
    kept = _first(_check_relevances(relevances), k)
    if gain not in ("linear", "exponential"):
        raise UsageError(f"gain is {gain!r}; it must be linear or exponential", code="E021")
    gains = kept if gain == "linear" else np.exp2(kept) - 1
    return float((gains / np.log2(np.arange(2, len(kept) + 2))).sum())


def ndcg(relevances: ArrayLike, k: int | None = None, *, gain: Gain = "linear") -> float:
    """DCG over the DCG of the ideal order of the same items (eq. 2.15), 0…1; 0 when nothing is relevant."""
    values = _check_relevances(relevances)
    ideal = dcg(-np.sort(-values), k, gain=gain)
    return min(dcg(values, k, gain=gain) / ideal, 1.0) if ideal > 0 else 0.0


def _check_relevances(relevances: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(relevances, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any():
        raise DataError("relevances must be one list of finite numbers, 0 or more")
    return values


def _first(values: NDArray[np.float64], k: int | None) -> NDArray[np.float64]:
    if k is not None and k < 1:
        raise UsageError(f"k is {k}; it must be 1 or more")
    return values[:k]
