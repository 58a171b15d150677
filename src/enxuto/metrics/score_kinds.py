"""What a model's scores are: logits (a softmax makes them probabilities), probabilities, or logarithms of those.

The answer holds for a whole model, never for a row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["KINDS", "ScoreKind", "ScoreKindDetector"]

ScoreKind = Literal["logits", "probabilities", "log-probabilities", "auto"]
KINDS: tuple[ScoreKind, ...] = ("log-probabilities", "logits", "probabilities", "auto")
"""What scores may be; `auto` is found from all values together."""

_SUM = 1e-2  # of a row of probabilities, off 1: bfloat16 is off by 4e-3
_QUANTIZED = 256  # distinct values at most, of scores with 8 bits
_COARSEST = 1 / 15  # step of such scores
_MOST_OFF = 0.5  # of a row's sum, whatever the step and the number of classes


@dataclass
class ScoreKindDetector:
    """Settles from all scores of a model, batch by batch, whether they are probabilities or logits.

    They are probabilities if none is negative, none is above 1, and every row adds up to 1 within 0.01. Outputs of 8
    bits have no more than 256 different values. Their rows may be off 1 by what rounding C values to such steps can do,
    at most 0.5.
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
