"""Classification metrics (Tonin 2021, sections 2.4.1 and 2.4.4), streaming: memory does not grow with
samples.

Ties between scores go to the lower class index. Averages over classes ("macro") are taken over the classes
that occur among the expected labels, as scikit-learn does when `labels` is `np.unique(y_true)` with
`zero_division=0`; a quotient 0/0 is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from enxuto.errors import DataError, UsageError
from enxuto.metrics.ranking import ranks_of
from enxuto.metrics.scores import check_labels, check_scores

__all__ = ["ClassificationMetrics", "ClassificationResult"]


@dataclass(frozen=True)
class ClassificationResult:
    """All figures of one stream of scores, as plain numbers and lists; shares are 0…1, not percent.

    confusion: rows predicted, columns expected. top: k -> share of samples whose expected class is among the
    k best (`top_error` is 1 minus that). precision, recall, f1: a value a class; 0 where a class does not
    occur. macro_accuracy is the mean recall over the classes that occur, hence equal to macro_recall.
    correct: how many samples the top answer fits. support: expected samples of each class.
    """

    samples: int
    correct: int
    accuracy: float
    macro_accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    top: dict[int, float]
    top_error: dict[int, float]
    mrr: float
    ndcg: float
    precision: list[float]
    recall: list[float]
    f1: list[float]
    support: list[int]
    confusion: list[list[int]]

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values; the keys of `top` and `top_error` become text."""
        values = asdict(self)
        for name in ("top", "top_error"):
            values[name] = {str(k): share for k, share in values[name].items()}
        return values


class ClassificationMetrics:
    """Collects scores (N, classes) against labels (N,), batch by batch; `result()` at any time.

    top: the k of top-k; those above the number of classes say nothing and are left out.
    Raises `UsageError` for a number of classes or a k below 1.
    """

    def __init__(self, classes: int, top: Sequence[int] = (1, 5)) -> None:
        if classes < 1:
            raise UsageError(f"a classifier has 1 class or more, not {classes}")
        if any(k < 1 for k in top):
            raise UsageError(f"top is {tuple(top)}; each k must be 1 or more")
        self.classes = classes
        self._top = sorted({k for k in top if k <= classes})
        self._confusion = np.zeros((classes, classes), np.int64)
        self._ranks = np.zeros(classes, np.int64)  # how often the expected class had rank i + 1

    def update(self, scores: ArrayLike, labels: ArrayLike) -> None:
        """Add a batch: scores (N, classes), logits or probabilities, and labels int (N,).

        Raises `DataError` for NaN, other shapes, or a label outside 0…classes − 1; nothing is added then.
        """
        first = int(self._ranks.sum())
        values = check_scores(scores, self.classes, first)
        expected = check_labels(labels, len(values), self.classes, first)
        np.add.at(self._confusion, (values.argmax(axis=1), expected), 1)
        self._ranks += np.bincount(ranks_of(values, expected) - 1, minlength=self.classes)

    def result(self) -> ClassificationResult:
        """The figures so far. Raises `DataError` when there were no samples."""
        samples = int(self._ranks.sum())
        if samples == 0:
            raise DataError("no samples were scored; name a data set with at least one image", code="E043")
        hits = np.diagonal(self._confusion)
        support, predicted = self._confusion.sum(axis=0), self._confusion.sum(axis=1)
        precision, recall = _ratio(hits, predicted), _ratio(hits, support)
        f1 = _ratio(2 * hits, predicted + support)  # = 2·precision·recall / (precision + recall)
        occurs = support > 0
        positions = np.arange(1, self.classes + 1)
        best = {k: int(self._ranks[:k].sum()) / samples for k in self._top}
        return ClassificationResult(
            samples=samples,
            correct=int(hits.sum()),
            accuracy=int(hits.sum()) / samples,
            macro_accuracy=float(recall[occurs].mean()),
            macro_precision=float(precision[occurs].mean()),
            macro_recall=float(recall[occurs].mean()),
            macro_f1=float(f1[occurs].mean()),
            top=best,
            top_error={k: 1 - share for k, share in best.items()},
            mrr=float((self._ranks / positions).sum()) / samples,
            # One relevant class, relevance 1: the ideal DCG is 1, and both forms of the gain agree.
            ndcg=float((self._ranks / np.log2(positions + 1)).sum()) / samples,
            precision=precision.tolist(),
            recall=recall.tolist(),
            f1=f1.tolist(),
            support=support.tolist(),
            confusion=self._confusion.tolist(),
        )


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """part / whole for each class, 0 where whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
