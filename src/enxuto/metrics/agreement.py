"""How closely a model follows a reference on the same inputs: top-1 agreement and Kullback–Leibler
divergence.

The divergence is that of `enxuto.metrics.divergence`, averaged over samples.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from enxuto.errors import DataError, UsageError
from enxuto.metrics.divergence import divergences, log_probabilities, mean_divergence
from enxuto.metrics.score_kinds import KINDS, ScoreKind, ScoreKindDetector
from enxuto.metrics.scores import check_scores

__all__ = ["AgreementMetrics", "AgreementResult"]


@dataclass(frozen=True)
class AgreementResult:
    """agreement: share of equal top-1 answers. kl: mean D(reference ‖ model) in nats, 0 or more.

    scores_are, reference_are: what the scores of either were taken for.
    """

    samples: int
    agreement: float
    kl: float
    scores_are: str = "logits"
    reference_are: str = "logits"

    def to_dict(self) -> dict[str, float | str]:
        """JSON-safe values."""
        return asdict(self)


class AgreementMetrics:
    """Collects scores of a model against those of a reference, batch by batch; `result()` at any time.

    scores_are, reference_are: `logits`, `probabilities`, `log-probabilities`, or `auto`: from all scores of the model
    together (`ScoreKindDetector`), so that neither batches nor single rows matter. A model's graph knows better
    (`enxuto.calibration.answers`). reference_are: by default as scores_are.
    """

    def __init__(self, scores_are: ScoreKind = "auto", reference_are: ScoreKind | None = None) -> None:
        reference_are = scores_are if reference_are is None else reference_are
        for kind in (scores_are, reference_are):
            if kind not in KINDS:
                raise UsageError(f"scores_are is {kind!r}; it must be one of {', '.join(KINDS)}", code="E021")
        self._kinds = scores_are, reference_are
        self._seen = ScoreKindDetector(), ScoreKindDetector()
        self._samples = self._agreeing = 0
        # By what the scores of both are taken for: what `auto` means is known only in the end.
        self._divergence: dict[tuple[ScoreKind, ScoreKind], list[NDArray[np.float64]]] = defaultdict(list)

    def update(self, scores: ArrayLike, reference: ArrayLike) -> None:
        """Add a batch: scores of the model and of the reference, both (N, C).

        Raises `DataError` for NaN, +∞, shapes that differ, or rows that cannot be probabilities when they
        should.
        """
        if np.ndim(reference) != 2 or np.shape(scores) != np.shape(reference):
            shapes = f"{np.shape(scores)} and {np.shape(reference)}"
            raise DataError(
                f"model and reference give scores of shapes {shapes}; they must have the same classes",
                code="E037",
            )
        classes = np.shape(reference)[1]
        both = [check_scores(one, classes, self._samples) for one in (scores, reference)]
        logs = [
            self._logs_by_kind(values, kind, seen)
            for values, kind, seen in zip(both, self._kinds, self._seen, strict=True)
        ]
        for kind, model in logs[0].items():
            for other, target in logs[1].items():
                self._divergence[kind, other].append(divergences(target, model))
        self._agreeing += int((both[0].argmax(axis=1) == both[1].argmax(axis=1)).sum())
        self._samples += len(both[0])

    def result(self) -> AgreementResult:
        """The figures so far. Raises `DataError` when there were no samples."""
        if self._samples == 0:
            raise DataError("no samples were compared; name a data set with at least one image", code="E043")
        one, other = (
            seen.kind() if kind == "auto" else kind
            for kind, seen in zip(self._kinds, self._seen, strict=True)
        )
        return AgreementResult(
            samples=self._samples,
            agreement=self._agreeing / self._samples,
            kl=mean_divergence(np.concatenate(self._divergence[one, other])),
            scores_are=one,
            reference_are=other,
        )

    @staticmethod
    def _logs_by_kind(
        scores: NDArray[np.float64], kind: ScoreKind, seen: ScoreKindDetector
    ) -> dict[ScoreKind, NDArray[np.float64]]:
        """Logarithms of the probabilities (N, C), by what the scores may still turn out to be."""
        if np.isposinf(scores).any() or np.isneginf(scores).all(axis=1).any():
            raise DataError("scores hold infinite values; the model or its input is broken", code="E045")
        if kind == "probabilities" and not (scores >= 0).all():
            raise DataError(
                "scores are not probabilities (some are negative); say that they are logits", code="E035"
            )
        if kind != "auto":
            return {kind: log_probabilities(scores, kind)}
        seen.add(scores)
        found: dict[ScoreKind, NDArray[np.float64]] = {"logits": log_probabilities(scores)}
        if seen.possible():
            found["probabilities"] = log_probabilities(scores, "probabilities")
        return found
