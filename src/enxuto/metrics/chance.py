"""Whether a model's answers have anything to do with the labels beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from enxuto.metrics.interval import binomial_tail

__all__ = ["ByChance", "by_chance", "by_chance_of"]

_LIKELY = 0.05


@dataclass(frozen=True)
class ByChance:
    """`right` of `samples` answers fit; answers that do not depend on the labels would fit in a share `expected`.

    p_value: how likely so many, or more, would then be.
    """

    right: int
    samples: int
    expected: float
    p_value: float

    @property
    def better(self) -> bool:
        """Whether so many right answers would hardly come about by chance (one in twenty times)."""
        return self.p_value < _LIKELY


def by_chance(answers: ArrayLike, labels: ArrayLike, classes: int) -> ByChance:
    """Compare answers (N,) of a model with `classes` outputs with labels (N,), N at least 1.

    Expected is what independent answers with the same shares of classes would hit, as in Cohen's κ (1960), and one in
    `classes` at least: a model that always says the commonest class is no better than that, while one that finds a
    rare class among a common one is. Where all labels are alike these shares say nothing; then it is one in `classes`.
    The test is the exact binomial one, to one side.
    """
    said, expected = np.asarray(answers), np.asarray(labels)
    kinds, counts = np.unique(expected, return_counts=True)
    hits = sum(int(n) * int(np.count_nonzero(said == kind)) for kind, n in zip(kinds, counts, strict=True))
    return _compared(int(np.count_nonzero(said == expected)), len(expected), classes, len(kinds), hits)


def by_chance_of(confusion: ArrayLike) -> ByChance:
    """The same from a confusion matrix (C, C) of counts, rows predicted and columns expected."""
    cells = np.asarray(confusion, np.int64)
    said, expected = cells.sum(axis=1), cells.sum(axis=0)
    kinds, hits = int(np.count_nonzero(expected)), int(said @ expected)
    return _compared(int(np.trace(cells)), int(cells.sum()), len(cells), kinds, hits)


def _compared(right: int, samples: int, classes: int, kinds: int, hits: int) -> ByChance:
    """kinds: how many classes the labels have. hits: pairs of an answer and a label, of any samples, that are alike."""
    share = max(1 / max(classes, 1), hits / samples**2 if kinds > 1 else 0.0)
    return ByChance(right, samples, share, binomial_tail(right, samples, share))
