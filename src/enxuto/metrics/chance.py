"""Whether a model's answers are better than chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from enxuto.metrics.interval import binomial_tail

__all__ = ["ChanceComparison", "compare_confusion_with_chance", "compare_with_chance"]

_LIKELY = 0.05
_FEWEST = 5  # samples of a label that show what it is taken for
_SHOWN = 3


@dataclass(frozen=True)
class ChanceComparison:
    """The number of right answers beside what answers independent of the labels would reach.

    expected: the share of right answers by chance. p_value: the probability of `right` or more of `samples` by chance.
    moved: (label, answer) of the labels of which more than half of the samples, five at least, get one other answer.
    """

    right: int
    samples: int
    expected: float
    p_value: float
    moved: tuple[tuple[int, int], ...] = ()

    @property
    def better(self) -> bool:
        """Whether the answers are better than chance at the 5 % level."""
        return self.p_value < _LIKELY

    @property
    def order_doubt(self) -> str | None:
        """A sentence where several labels are mostly taken for one other class each, as labels in another order are."""
        if len(self.moved) < 2 or len({answer for _, answer in self.moved}) < len(self.moved):
            return None
        shown = ", ".join(f"{label} as class {answer}" for label, answer in self.moved[:_SHOWN])
        more = ", …" if len(self.moved) > _SHOWN else ""
        return (
            f"most samples of {len(self.moved)} labels are answered as another class each ({shown}{more}): are the "
            "labels in the order of the model's outputs? A list of class names, labels=, matches them"
        )


def compare_with_chance(answers: ArrayLike, labels: ArrayLike, classes: int) -> ChanceComparison:
    """Compare answers (N,) of a model with `classes` outputs with labels (N,), N at least 1.

    The expected share is that of independent answers with the same frequencies of classes, as in Cohen's κ (1960), and
    at least 1 / `classes`. So a model that always answers the most frequent class is no better than chance. Where all
    labels are equal, the expected share is 1 / `classes`. The test is the exact one-sided binomial test.
    """
    predicted, expected = np.asarray(answers), np.asarray(labels)
    kinds, counts = np.unique(expected, return_counts=True)
    hits = sum(
        int(n) * int(np.count_nonzero(predicted == kind)) for kind, n in zip(kinds, counts, strict=True)
    )
    moved = []
    for kind, n in zip(kinds, counts, strict=True):
        seen, times = np.unique(predicted[expected == kind], return_counts=True)
        moved += _moved(int(kind), int(seen[times.argmax()]), int(times.max()), int(n))
    right = int(np.count_nonzero(predicted == expected))
    return _compare(right, len(expected), classes, len(kinds), hits, moved)


def compare_confusion_with_chance(confusion: ArrayLike) -> ChanceComparison:
    """Compare as `compare_with_chance`, from a confusion matrix (C, C) of counts, rows predicted, columns expected."""
    cells = np.asarray(confusion, np.int64)
    predicted, expected = cells.sum(axis=1), cells.sum(axis=0)
    kinds, hits = int(np.count_nonzero(expected)), int(predicted @ expected)
    moved = []
    for label, column in enumerate(cells.T):
        moved += _moved(label, int(column.argmax()), int(column.max()), int(expected[label]))
    return _compare(int(np.trace(cells)), int(cells.sum()), len(cells), kinds, hits, moved)


def _moved(label: int, answer: int, times: int, samples: int) -> list[tuple[int, int]]:
    """What most of a label's samples are taken for, where that is another class; empty where it is not."""
    return [(label, answer)] if answer != label and samples >= _FEWEST and 2 * times > samples else []


def _compare(
    right: int, samples: int, classes: int, kinds: int, hits: int, moved: list[tuple[int, int]]
) -> ChanceComparison:
    """kinds: the number of classes among the labels. hits: agreeing pairs of an answer and a label, of any samples."""
    share = max(1 / max(classes, 1), hits / samples**2 if kinds > 1 else 0.0)
    return ChanceComparison(right, samples, share, binomial_tail(right, samples, share), tuple(moved))
