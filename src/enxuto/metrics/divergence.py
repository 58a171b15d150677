"""How far a model's answers are from a reference's: the one divergence of the project, in nats.

D(p ‖ q) = Σ p·(ln p − ln q) over the classes of a sample, p of the reference, q of the model. Scores are logits (a
softmax makes them probabilities), probabilities, or logarithms of those; what they are holds for a whole model, never
for a row. Probabilities are divided by their sum, since those that were rounded do not add up to 1, and one below
float32's least normal number counts as that, whatever it was made from: a softmax that underflows to 0 would make the
divergence infinite, and the same network would be judged otherwise with and without its last operator. NaN, and
infinity among logits, give NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from enxuto.errors import UsageError

__all__ = [
    "KINDS",
    "LEAST",
    "ScoreKind",
    "ScoreKindDetector",
    "divergence",
    "divergences",
    "log_probabilities",
    "mean_divergence",
]

ScoreKind = Literal["logits", "probabilities", "log-probabilities", "auto"]
KINDS: tuple[ScoreKind, ...] = ("log-probabilities", "logits", "probabilities", "auto")
"""What scores may be; `auto` is found from all values together."""

LEAST = -126 * math.log(2)
"""The logarithm of float32's least normal number, which stands for log 0."""
_SUM = 1e-2  # of a row of probabilities, off 1: bfloat16 is off by 4e-3
_QUANTIZED = 256  # distinct values at most, of scores with 8 bits
_COARSEST = 1 / 15  # step of such scores
_MOST_OFF = 0.5  # of a row's sum, whatever the step and the number of classes

Float64 = NDArray[np.float64]


def log_probabilities(scores: ArrayLike, kind: ScoreKind = "logits") -> Float64:
    """Return natural logarithms (N, C), of what scores (N, …) say, −87.3 at least; NaN in rows that have none.

    kind: not `auto`, which only `ScoreKindDetector` can settle. A row of probabilities that are all 0 says nothing:
    all are taken as equal. Raises `UsageError` for another kind.
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


@dataclass
class ScoreKindDetector:
    """Settles from all scores of a model, batch by batch, whether they are probabilities or logits.

    They are probabilities if none is negative, none above 1, and every row adds up to 1: within 0.01, or, where there
    are no more than 256 different values, which is what 8-bit outputs have, within what rounding each of C values to
    such steps can do (0.5 at most).
    """

    classes: int = 0
    _fits: bool = True
    _off: float = 0.0
    _values: NDArray[np.float64] | None = field(default_factory=lambda: np.zeros(0))

    def add(self, scores: ArrayLike) -> None:
        """Look at scores (N, C)."""
        flat = np.asarray(scores, np.float64)
        flat = flat.reshape(len(flat), -1)
        self.classes = flat.shape[1]
        # Comparisons that NaN fails.
        self._fits = self._fits and bool(((flat >= 0) & (flat <= 1 + _SUM)).all())
        if not self._fits or not flat.size:
            return
        self._off = max(self._off, float(np.abs(flat.sum(axis=1) - 1).max()))
        if self._values is not None:
            distinct = np.unique(np.concatenate([self._values, flat.reshape(-1)]))
            self._values = distinct if len(distinct) <= _QUANTIZED else None

    def possible(self) -> bool:
        """Whether they may yet turn out to be probabilities: no value so far says that they are none."""
        return self._fits and self._off <= max(_SUM, _MOST_OFF if self._values is not None else 0.0)

    def kind(self) -> ScoreKind:
        """Return `probabilities` or `logits`; the latter where nothing was seen."""
        if not self._fits or not self.classes:
            return "logits"
        return "probabilities" if self._off <= max(_SUM, self._rounding()) else "logits"

    def _rounding(self) -> float:
        """How far a row of quantized probabilities may be off 1; 0 for scores that are not quantized."""
        if self._values is None or len(self._values) < 2:
            return 0.0
        step = float(np.diff(self._values).min())
        even = np.abs(self._values / step - np.rint(self._values / step)).max() < 1e-2
        return min(_MOST_OFF, self.classes * step / 2) if even and step <= _COARSEST else 0.0
