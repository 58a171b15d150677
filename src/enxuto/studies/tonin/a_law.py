"""A-law companding: named in section 2.5.3.1 of Tonin 2021 beside the μ-law, and not tried there.

It is no quantizer of the file format: a study measures its entropy and its accuracy, and what its levels would take in
a file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from enxuto.errors import UsageError

__all__ = ["ALaw"]


@dataclass(frozen=True)
class ALaw:
    """A-law companding, then a midtread quantizer of the compressed value with Δ = 2·x_max/levels.

    With z = |x|/x_max: c = A·z/(1 + ln A) for z < 1/A, else (1 + ln(A·z))/(1 + ln A), times x_max·s(x); back,
    ẑ = c·(1 + ln A)/A below 1/(1 + ln A), else exp(c·(1 + ln A) − 1)/A. Above x_max the curve is continued.
    Source: ITU-T G.711, whose A is 87.6.
    """

    levels: int
    a: float = 87.6
    x_max: float = 1.0

    def __post_init__(self) -> None:
        if not (2 <= self.levels <= 1 << 24 and self.a > 1 and self.x_max > 0):
            raise UsageError(
                f"A-law takes 2 to 2**24 levels, A above 1 and x_max above 0, not {self.levels}, {self.a}, {self.x_max}"
            )

    def quantize(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
        """Return the level of every element of `x` (any shape, finite)."""
        size = np.abs(x.astype(np.float64)) / self.x_max
        whole = 1 + math.log(self.a)
        bent = 1 + np.log(np.maximum(self.a * size, 1))
        compressed = np.where(size < 1 / self.a, self.a * size, bent) / whole
        level = np.rint(compressed * (self.levels / 2))
        return np.where(x < 0, -level, level).astype(np.int32)

    def reconstruct(self, levels: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        """Return the value of every level (any shape)."""
        whole = 1 + math.log(self.a)
        compressed = np.abs(levels.astype(np.float64)) * (2 / self.levels) * whole
        size = np.where(compressed < 1, compressed, np.exp(np.maximum(compressed, 1) - 1)) / self.a
        return (np.sign(levels) * size * self.x_max).astype(np.float32)
