"""How closely a model follows a reference on the same inputs: top-1 agreement and Kullback–Leibler
divergence.

The divergence is D(reference ‖ model) of the two softmax outputs, in nats, averaged over samples.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from enxuto.errors import DataError, UsageError
from enxuto.metrics.scores import checked_scores

__all__ = ["AgreementMetrics", "AgreementResult"]

ScoresAre = Literal["logits", "probabilities", "auto"]
_KINDS = ("logits", "probabilities", "auto")
_LEAST = float(np.log(np.finfo(np.float32).tiny))  # stands for log 0, which one underflow would make infinite


@dataclass(frozen=True)
class AgreementResult:
    """agreement: share of equal top-1 answers. kl: mean D(reference ‖ model) in nats, 0 or more."""

    samples: int
    agreement: float
    kl: float

    def to_dict(self) -> dict[str, float]:
        """JSON-safe values."""
        return asdict(self)


class AgreementMetrics:
    """Collects scores of a model against those of a reference, batch by batch; `result()` at any time.

    scores_are: `logits`, `probabilities`, or `auto`: a row with no negative value and a sum of 1 ± 0.001 is
    taken for probabilities, any other for logits (each row on its own, so batching does not matter).
    Probabilities below float32's least normal number count as that, since a softmax that underflows to 0
    would make the divergence infinite.
    """

    def __init__(self, scores_are: ScoresAre = "auto") -> None:
        if scores_are not in _KINDS:
            raise UsageError(f"scores_are is {scores_are!r}; it must be one of {', '.join(_KINDS)}")
        self._kind = scores_are
        self._samples = self._agreeing = 0
        self._divergence = 0.0

    def update(self, scores: ArrayLike, reference: ArrayLike) -> None:
        """Add a batch: scores of the model and of the reference, both (N, C).

        Raises `DataError` for NaN, +∞, shapes that differ, or rows that cannot be probabilities when they
        should.
        """
        if np.ndim(reference) != 2 or np.shape(scores) != np.shape(reference):
            shapes = f"{np.shape(scores)} and {np.shape(reference)}"
            raise DataError(
                f"model and reference give scores of shapes {shapes}; they must have the same classes"
            )
        classes = np.shape(reference)[1]
        values = checked_scores(scores, classes, self._samples)
        targets = checked_scores(reference, classes, self._samples)
        log_model = self._log_probabilities(values)
        log_reference = self._log_probabilities(targets)
        divergence = (np.exp(log_reference) * (log_reference - log_model)).sum(axis=1)
        self._agreeing += int((values.argmax(axis=1) == targets.argmax(axis=1)).sum())
        self._divergence += float(np.maximum(divergence, 0).sum())  # rounding alone can make it negative
        self._samples += len(values)

    def result(self) -> AgreementResult:
        """The figures so far. Raises `DataError` when there were no samples."""
        if self._samples == 0:
            raise DataError("no samples were compared; name a data set with at least one image")
        share = self._agreeing / self._samples
        return AgreementResult(self._samples, share, self._divergence / self._samples)

    def _log_probabilities(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Natural logarithms of the probabilities, (N, C)."""
        if np.isposinf(scores).any() or np.isneginf(scores).all(axis=1).any():
            raise DataError("scores hold infinite values; the model or its input is broken")
        sums = scores.sum(axis=1)
        likely = (scores >= 0).all(axis=1) & (np.abs(sums - 1) <= 1e-3)
        if self._kind == "probabilities" and not ((scores >= 0).all(axis=1) & (sums > 0)).all():
            raise DataError("scores are not probabilities (negative, or all 0); say that they are logits")
        normal = {"logits": np.zeros_like(likely), "probabilities": np.ones_like(likely), "auto": likely}
        probable = normal[self._kind]
        logs = np.empty_like(scores)
        tiny = np.exp(_LEAST)
        logs[probable] = np.log(np.maximum(scores[probable] / sums[probable, np.newaxis], tiny))
        shifted = scores[~probable] - scores[~probable].max(axis=1, keepdims=True)
        shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        logs[~probable] = np.where(np.isneginf(shifted), _LEAST, shifted)
        return logs
