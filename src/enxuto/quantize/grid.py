"""`Grid`: a quantizer whose step is a product of one factor per row and one per column of a tensor.

Rows are the indices along axis 0, columns those along axis 1 (output and input channels of a convolution). Factors
are powers of 2^¼, given by small integer exponents, so that they cost two or three bits each in a file. Which factors
are worth it follows from how much an error in a row or a column costs (`calibration.allocation`). Levels are multiples
of the steps, or with a trellis those of dependent quantization (`enxuto.quantize.trellis`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from enxuto.errors import UsageError
from enxuto.quantize.trellis import MACHINES, multiples

__all__ = ["MOST_EXPONENT", "Grid", "quarter_octaves"]

MOST_EXPONENT = 96
"""Exponents lie between −96 and 96: factors between 2⁻²⁴ and 2²⁴."""

# The float32 nearest to 2**(k/4), k = 0…3: 0x3F800000, 0x3F9837F0, 0x3FB504F3, 0x3FD744FD.
_ROOTS = np.array([0x3F800000, 0x3F9837F0, 0x3FB504F3, 0x3FD744FD], np.uint32).view(np.float32)

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """level = round(x / (Δ·f(r)·f(c))), half to even;  x̂ = (level · (Δ · f(r))) · f(c), with f(e) = 2**(e/4).

    rows, columns: exponents e along axis 0 and axis 1; empty where all are 0. trellis: the number of its states, or 0:
    a level of x̂ is replaced by the steps that it stands for; levels then come from a search (`rounding.feedback`,
    `rounding.viterbi`), not from `quantize`.
    """

    step: float
    rows: tuple[int, ...] = ()
    columns: tuple[int, ...] = ()
    trellis: int = 0
    kind: ClassVar[str] = "grid"

    def __post_init__(self) -> None:
        with np.errstate(over="ignore"):
            step = np.float32(self.step)
        if not (math.isfinite(self.step) and np.isfinite(step) and step > 0):
            raise UsageError(f"the quantization step must be a positive float32, not {self.step}")
        if any(abs(exponent) > MOST_EXPONENT for exponent in (*self.rows, *self.columns)):
            raise UsageError(f"the exponents of a grid's factors lie within ±{MOST_EXPONENT}")
        if self.trellis and self.trellis not in MACHINES:
            raise UsageError(f"a trellis has {' or '.join(map(str, MACHINES))} states, not {self.trellis}")

    def steps(self, shape: tuple[int, ...]) -> tuple[Float32, Float32]:
        """Return Δ·f(r) and f(c), both float32, in shapes that broadcast against `shape`."""
        rows = self._factors(self.rows, shape, 0)
        with np.errstate(over="ignore"):
            return np.float32(self.step) * rows, self._factors(self.columns, shape, 1)

    def of_row(self, row: int) -> Grid:
        """Return the grid of one row by itself; `UsageError` where float32 has no such step."""
        with np.errstate(over="ignore", under="ignore"):
            return Grid(
                float(np.float32(self.step) * quarter_octaves(np.asarray(self.rows[row : row + 1]))[0])
            )

    def quantize(self, x: Float32) -> npt.NDArray[np.int32]:
        """Return the nearest level of every element of `x`; `UsageError` on a trellis, where none is nearest alone."""
        if self.trellis:
            raise UsageError(
                "levels on a trellis depend on each other; search them, as rounding trellis does", code="E022"
            )
        rows, columns = self.steps(x.shape)
        levels = np.rint(x.astype(np.float64) / (rows.astype(np.float64) * columns))
        if levels.size and float(np.abs(levels).max()) > 2147483646.0:
            raise UsageError(
                f"the step {self.step:g} is too small for the weights: levels would exceed 31 bits"
            )
        return levels.astype(np.int32)

    def reconstruct(self, levels: npt.NDArray[np.int32]) -> Float32:
        """Return the float32 value of every level: two products, each rounded by itself."""
        rows, columns = self.steps(levels.shape)
        if not (np.isfinite(rows) & (rows > 0)).all():  # level 0 would become NaN, or all of a row nothing
            raise UsageError("the steps of a grid lie beyond float32")
        if self.trellis:
            if levels.ndim < 1:
                raise UsageError("a single number has no rows for a trellis", code="E022")
            levels = multiples(levels, self.trellis)
        with np.errstate(over="ignore", under="ignore"):
            return np.asarray((levels.astype(np.float32) * rows) * columns, np.float32)

    def _factors(self, exponents: tuple[int, ...], shape: tuple[int, ...], axis: int) -> Float32:
        if not exponents:
            return np.ones((1,) * len(shape), np.float32)
        if len(shape) <= axis or shape[axis] != len(exponents):
            raise UsageError(
                f"{len(exponents)} factors along axis {axis} do not fit the shape {shape}", code="E022"
            )
        return quarter_octaves(np.asarray(exponents)).reshape(
            [-1 if i == axis else 1 for i in range(len(shape))]
        )


def quarter_octaves(exponents: npt.NDArray[np.int64]) -> Float32:
    """Return f(e) = 2**⌊e/4⌋ · r, r the float32 nearest to 2**((e mod 4)/4): exact up to those constants."""
    return np.asarray(np.ldexp(_ROOTS[exponents & 3], exponents >> 2), np.float32)
