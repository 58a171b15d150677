"""How far a model's answers are from a reference's: the one divergence of the project, in nats.

D(p ‖ q) = Σ p·(ln p − ln q) over the classes of a sample, p of the reference, q of the model. `score_kinds` says what
scores may be. Probabilities are divided by their sum, since rounded ones do not add up to 1. A probability below
float32's least normal number counts as that number. Otherwise a softmax that underflows to 0 would make the divergence
infinite, and a network would be judged differently with and without its last operator. NaN, and infinity among logits,
give NaN.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from enxuto.errors import UsageError
from enxuto.metrics.score_kinds import ScoreKind

__all__ = [
    "LEAST",
    "divergence",
    "divergences",
    "log_probabilities",
    "mean_divergence",
]

LEAST = -126 * math.log(2)
"""The logarithm of float32's least normal number, which stands for log 0."""

Float64 = NDArray[np.float64]


def log_probabilities(scores: ArrayLike, kind: ScoreKind = "logits") -> Float64:
    """Return the natural logarithms (N, C) of the probabilities that scores (N, …) give; −87.3 is the least.

    A row that gives no probabilities is NaN. A row of probabilities that are all 0 is taken as equal ones.

    kind: not `auto`, which only `ScoreKindDetector` can settle. Raises `UsageError` for another kind.
    """
    flat = np.asarray(scores).astype(np.float64)
    flat = flat.reshape(len(flat), -1)
    if kind == "probabilities":
        sums = flat.sum(axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = np.where(sums == 0, 1 / flat.shape[1], flat / sums)
            logs = np.log(shares)
        # The logarithm of what is negative is NaN too, as it should be.
        return np.asarray(np.maximum(logs, LEAST), np.float64)
    if kind not in ("logits", "log-probabilities"):
        raise UsageError(f"scores are logits, probabilities or log-probabilities, not {kind!r}", code="E021")
    with np.errstate(invalid="ignore"):  # infinity minus itself, which is NaN
        shifted = flat - flat.max(axis=1, keepdims=True)
        shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.asarray(np.maximum(shifted, LEAST), np.float64)


def divergences(reference: Float64, model: Float64) -> Float64:
    """Return D(reference ‖ model) of every sample, in nats, both given as `log_probabilities` (N, C).

    Rounding can make it negative by some 1e-16.
    """
    return np.asarray(np.sum(np.exp(reference) * (reference - model), axis=1), np.float64)


def divergence(
    reference: ArrayLike,
    scores: ArrayLike,
    *,
    reference_are: ScoreKind = "logits",
    scores_are: ScoreKind = "logits",
) -> float:
    """Return the mean D(reference ‖ scores) in nats, 0 or more, of scores (N, C); NaN where any row has none."""
    each = divergences(log_probabilities(reference, reference_are), log_probabilities(scores, scores_are))
    return mean_divergence(each)


def mean_divergence(each: Float64) -> float:
    """Return the mean (0 or more, NaN where any is) of samples' divergences (N,), rounded once.

    So the order of samples and the size of batches do not matter: whatever measures the same samples says the same.
    """
    try:
        return math.fsum(np.maximum(each, 0)) / len(each)
    except OverflowError:
        return math.inf
