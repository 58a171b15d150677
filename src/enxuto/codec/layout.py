"""How the levels of a payload are seen: rows of kernels, each a small picture of positions.

A convolution's weights (outputs, inputs, *kernel) are rows × columns × positions; a matrix has one position. What
is an input and what an output does not matter, as rows and columns are treated alike. Several tensors in one
payload are a row each, and their elements have no columns: they share nothing but their tensor's scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from enxuto.errors import UsageError
from enxuto.machine.kernels import clamp, compiled

__all__ = ["Layout", "Pictures", "Shapes", "flatten"]

Shapes = Sequence[Sequence[int]]
"""Of the tensors of a payload, in their order."""

Int16 = npt.NDArray[np.int16]
Int32 = npt.NDArray[np.int32]
UInt32 = npt.NDArray[np.uint32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """Row i holds the kernels `starts[i]`…`starts[i + 1]`−1, of `positions` weights in lines of `width`.

    `columns`: kernels in each row, or 1 where all kernels of a row share their scale.
    """

    starts: Int64
    columns: int
    positions: int
    width: int

    @classmethod
    def of(cls, shapes: Shapes) -> Layout:
        """Return the layout of tensors of those shapes, one after the other in C order."""
        if len(shapes) != 1:
            sizes = np.array([math.prod(shape) for shape in shapes], np.int64)
            return cls(np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]), 1, 1, 1)
        rows, columns, *kernel = [*shapes[0], 1, 1] if len(shapes[0]) < 2 else shapes[0]
        starts = np.arange(rows + 1, dtype=np.int64) * columns
        return cls(starts, columns, math.prod(kernel), kernel[-1] if kernel else 1)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Number of rows, columns and positions: of each, one scale is stored."""
        return len(self.starts) - 1, self.columns, self.positions

    @property
    def kernels(self) -> int:
        """Number of kernels in all rows."""
        return int(self.starts[-1])

    def sums(self, rows: Int16, columns: Int16, first: int, last: int) -> Int16:
        """Return, for kernels `first`…`last`−1, the sum of their row's and their column's number."""
        out = np.empty(last - first, np.int16)
        row = int(np.searchsorted(self.starts, first, side="right")) - 1
        _sums(self.starts, rows, columns, first, row, out)
        return out


@compiled
def _sums(starts: Int64, rows: Int16, columns: Int16, first: int, row: int, out: Int16) -> None:
    """Fill `out` for kernels from `first` on, which lies in `row`."""
    by_column = columns.shape[0] > 1
    done = 0
    while done < out.shape[0]:
        stop = clamp(starts[row + 1] - first, done, out.shape[0])
        column = first + done - starts[row] if by_column else 0
        for n in range(done, stop):
            out[n] = rows[row] + columns[column]
            column += 1 if by_column else 0
        done = stop
        row += 1


def flatten(levels: Int32, shapes: Shapes | None) -> tuple[Int32, Layout]:
    """Return levels as (n,) int32, and their layout: of tensors of these shapes, by default of one as it is.

    Raises `UsageError` where the levels do not fill the tensors.
    """
    flat = np.ascontiguousarray(levels, dtype=np.int32).reshape(-1)
    if not flat.size:
        shapes = [(0,)]  # whatever the shapes: of rows of no elements there may be any number
    layout = Layout.of([levels.shape] if shapes is None else shapes)
    if layout.kernels * layout.positions != flat.size:
        raise UsageError(f"{flat.size} levels do not fill tensors of shapes {shapes}", code="E022")
    return flat, layout


@dataclass(frozen=True)
class Pictures:
    """Where the positions of a kernel lie in a picture with a border of zeros, and how much lies around each.

    `cells` (P,): index in the bordered picture, of lines of `stride`; `around` (P,): the weights of the
    neighbours that are there: left and above 2 each, above left and above right 1 each.
    """

    cells: UInt32
    around: UInt32
    stride: np.uint32
    size: int

    @classmethod
    def of(cls, layout: Layout) -> Pictures:
        """Return the geometry of a layout's kernels."""
        y, x = np.divmod(np.arange(layout.positions, dtype=np.int64), layout.width)
        stride = layout.width + 2
        left, above, right = (x > 0).astype(np.int64), (y > 0).astype(np.int64), x < layout.width - 1
        around = 2 * left + 2 * above + left * above + right * above
        size = (layout.positions // layout.width + 1) * stride
        return cls(
            (y * stride + x).astype(np.uint32), (256 * around).astype(np.uint32), np.uint32(stride), size
        )
