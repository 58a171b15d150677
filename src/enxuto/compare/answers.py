"""Which answers of two models differ on labelled images, which of them are right, and which classes they confuse."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enxuto.data import Dataset, Preprocess
from enxuto.evaluation import Predict, evaluate
from enxuto.metrics import ScoreKind, paired_interval
from enxuto.progress import ItemProgress

__all__ = ["AnswerChange", "AnswerComparison", "Confusion", "compare_answers"]

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class AnswerChange:
    """`count` images of class `expected` that the first model called `first` and the second `second`."""

    expected: int
    first: int
    second: int
    count: int


@dataclass(frozen=True)
class Confusion:
    """A cell of the confusion matrices: images of class `expected` called `answered`, by the first and the second."""

    expected: int
    answered: int
    first: int
    second: int


@dataclass(frozen=True, eq=False)
class AnswerComparison:
    """Answers (N,) of two models to the same images, and the expected classes.

    agreement: share of equal answers. kl: mean divergence of the second from the first in nats, None where their scores
    are no distributions over classes. scores_are: what the scores of both were taken for.
    """

    expected: Labels
    first: Labels
    second: Labels
    agreement: float
    kl: float | None
    data_hash: str
    seed: int
    scores_are: tuple[str, str] = ("logits", "logits")
    class_names: tuple[str, ...] | None = field(default=None, repr=False)

    @property
    def counts(self) -> dict[str, int]:
        """Images that both, only the first, only the second, or neither called right."""
        right = self.first == self.expected, self.second == self.expected
        cells = {
            "both": (True, True),
            "only first": (True, False),
            "only second": (False, True),
            "neither": (False, False),
        }
        return {
            name: int(np.count_nonzero((right[0] == one) & (right[1] == other)))
            for name, (one, other) in cells.items()
        }

    @property
    def p_value(self) -> float:
        """Chance of accuracies so different, or more, if both models were equally good: McNemar's exact test."""
        lost, won = self.counts["only first"], self.counts["only second"]
        tail = sum(math.comb(lost + won, k) for k in range(min(lost, won) + 1))
        return min(1.0, float(2 * tail / 2 ** (lost + won)))

    @property
    def accuracy_drop(self) -> float:
        """The first model's accuracy less the second's, −1…1."""
        return (self.counts["only first"] - self.counts["only second"]) / len(self.expected)

    @property
    def accuracy_drop_interval(self) -> tuple[float, float]:
        """The paired 95 % interval (Tango's) of `accuracy_drop`."""
        return paired_interval(self.counts["only first"], self.counts["only second"], len(self.expected))

    def changed_images(self) -> NDArray[np.int64]:
        """Positions of images whose answer changed: those the second lost, those it won, then the rest."""
        indices = np.flatnonzero(self.first != self.second)
        lost = self.first[indices] == self.expected[indices]
        won = self.second[indices] == self.expected[indices]
        return indices[np.argsort(np.where(lost, 0, np.where(won, 1, 2)), kind="stable")]

    def changes(self) -> list[AnswerChange]:
        """Changed answers by kind, the most frequent first."""
        indices = np.flatnonzero(self.first != self.second)
        kinds = Counter(
            zip(
                self.expected[indices].tolist(),
                self.first[indices].tolist(),
                self.second[indices].tolist(),
                strict=True,
            )
        )
        return [
            AnswerChange(*kind, count)
            for kind, count in sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
        ]

    def confusions(self) -> list[Confusion]:
        """Cells of the confusion matrices, right answers included, that differ; the largest difference first."""
        one = Counter(zip(self.expected.tolist(), self.first.tolist(), strict=True))
        other = Counter(zip(self.expected.tolist(), self.second.tolist(), strict=True))
        cells = [
            Confusion(*cell, one[cell], other[cell])
            for cell in sorted(one | other)
            if one[cell] != other[cell]
        ]
        return sorted(cells, key=lambda cell: -abs(cell.second - cell.first))

    def name(self, label: int) -> str:
        """What a class is called: its name, or its number where it has none."""
        known = self.class_names is not None and label < len(self.class_names)
        return self.class_names[label] if known and self.class_names is not None else str(label)

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values; changed answers by image too."""
        changed_images = self.changed_images()
        return {
            "samples": len(self.expected), "seed": self.seed, "data_hash": self.data_hash,
            "top1": [float(np.mean(answers == self.expected)) for answers in (self.first, self.second)],
            "lost": self.accuracy_drop, "lost_interval": list(self.accuracy_drop_interval),
            "scores_are": list(self.scores_are),
            "agreement": self.agreement, "kl": self.kl, "counts": self.counts, "p_value": self.p_value,
            "class_names": None if self.class_names is None else list(self.class_names),
            "changed": [
                {"image": int(i), "expected": int(self.expected[i]), "first": int(self.first[i]),
                 "second": int(self.second[i])}
                for i in changed_images
            ],
            "confusions": [vars(cell) for cell in self.confusions()],
        }  # fmt: skip


def compare_answers(
    first: Predict,
    second: Predict,
    dataset: Dataset,
    *,
    preprocess: Preprocess,
    batch_size: int = 64,
    first_score_kind: ScoreKind = "auto",
    second_score_kind: ScoreKind = "auto",
    progress: ItemProgress | None = None,
) -> AnswerComparison:
    """Run both models once on every image and compare their answers.

    Args:
        first, second: functions from a batch of images to scores (batch, classes).
        dataset: labelled images.
        preprocess: applied to all images.
        batch_size: images at a time.
        first_score_kind, second_score_kind: what the models' scores are.
        progress: called with the images done and their number.

    Raises: what `evaluate` raises.
    """
    one, other = _AnswerRecorder(first), _AnswerRecorder(second)
    result = evaluate(
        other.scores,
        dataset,
        preprocess=preprocess,
        batch_size=batch_size,
        reference=one.scores,
        scores_are=second_score_kind,
        reference_are=first_score_kind,
        progress=progress,
    )
    assert result.agreement is not None, "there is a reference"
    assert result.kl is not None, "there is a reference"
    return AnswerComparison(
        expected=np.asarray(dataset.labels, np.int64), first=one.answers(), second=other.answers(),
        agreement=result.agreement, kl=result.kl, data_hash=result.data_hash, seed=result.seed,
        class_names=result.class_names, scores_are=(str(result.reference_are), str(result.scores_are)),
    )  # fmt: skip


class _AnswerRecorder:
    """Runs a model and records its answers; of equal scores the first class counts, as in the metrics."""

    def __init__(self, predict: Predict) -> None:
        self._predict = predict
        self._recorded: list[Labels] = []

    def scores(self, batch: NDArray[np.float32]) -> NDArray[Any]:
        scores = self._predict(batch)
        self._recorded.append(np.asarray(scores).reshape(len(batch), -1).argmax(axis=1))
        return scores

    def answers(self) -> Labels:
        return np.concatenate(self._recorded)
