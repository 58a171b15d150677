"""Passes over all weights that fitting a context model takes: sums of magnitudes, counts, costs of other numbers.

Weights are (N, P): kernels × positions, in the rows of a `Layout`. Nothing here decides anything.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from enxuto.codec.neighbours import MOST_AROUND, SIZES
from enxuto.machine.kernels import clamp, compiled

__all__ = ["cost_of_changed_numbers", "count_signs", "count_tokens", "magnitude_tokens", "sum_magnitudes"]

_AROUND_ROW = 7 * (MOST_AROUND + 1)

Int16 = npt.NDArray[np.int16]
Int32 = npt.NDArray[np.int32]
UInt32 = npt.NDArray[np.uint32]
Int64 = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


@compiled
def magnitude_tokens(levels: Int32, direct: int, tokens: Bytes) -> None:
    """Fill `tokens` (N, P) with those of the levels' magnitudes."""
    for n in range(levels.shape[0]):
        for p in range(levels.shape[1]):
            token = np.int64(abs(np.int64(levels[n, p])))
            if token > direct:
                rest = token - direct
                token = np.int64(direct + 1)
                while rest > 1:
                    rest >>= 1
                    token += 1
            tokens[n, p] = token


@compiled
def sum_magnitudes(
    levels: Int32, starts: Int64, rows: Floats, columns: Floats, positions: Floats, axis: int, out: Floats
) -> None:
    """Add up, per row, column or position (axis 0, 1, 2), magnitudes divided by the scales of the other two."""
    by_column = columns.shape[0] > 1
    for row in range(starts.shape[0] - 1):
        for n in range(starts[row], starts[row + 1]):
            column = n - starts[row] if by_column else 0
            for p in range(levels.shape[1]):
                size = abs(np.float64(levels[n, p]))
                if axis == 0:
                    out[row] += size / (columns[column] * positions[p])
                elif axis == 1:
                    out[column] += size / (rows[row] * positions[p])
                else:
                    out[p] += size / (rows[row] * columns[column])


@compiled
def count_tokens(
    tokens: Bytes,
    around: Bytes,
    near: UInt32,
    before: Bytes,
    sums: Int16,
    offsets: Int16,
    step_of: Bytes,
    counts: Int64,
) -> None:
    """Count weights in `counts` (contexts, K, 5, tokens): end of the state, class, step of the neighbours, token.

    sums (N,), offsets (P,): their sum, kept within the classes, is a weight's class. around, before (N · P,) or empty.
    """
    top = counts.shape[1] - 1
    width = tokens.shape[1]
    for n in range(tokens.shape[0]):
        for p in range(width):
            c = clamp(np.int64(sums[n]) + offsets[p], np.int64(0), top)
            step = 2
            if around.shape[0]:
                step = step_of[c * _AROUND_ROW + near[p] + around[n * width + p]]
            end = before[n * width + p] if before.shape[0] else 0
            counts[end, c, step, tokens[n, p]] += 1


@compiled
def count_signs(
    levels: Int32,
    around_sums: Int16,
    sums: Int16,
    offsets: Int16,
    sure_of: Bytes,
    row: int,
    top: int,
    counts: Int64,
) -> None:
    """Count signs in `counts` (5, 3, 2): how sure the neighbours are, magnitude 1, 2 or more, like theirs or not.

    `around_sums` (N · P,), or empty for no neighbours; `row`: entries of `sure_of` per class.
    """
    width = levels.shape[1]
    for n in range(levels.shape[0]):
        for p in range(width):
            level = int(levels[n, p])
            if level:
                total = np.int64(around_sums[n * width + p]) if around_sums.shape[0] else np.int64(0)
                c = clamp(np.int64(sums[n]) + offsets[p], np.int64(0), top)
                sure = sure_of[c * row + row // 2 + total]
                unlike = 1 if (level < 0) != (total < 0) else 0
                counts[sure, clamp(abs(level), 1, SIZES) - 1, unlike] += 1


@compiled
def cost_of_changed_numbers(
    tokens: Bytes,
    around: Bytes,
    near: UInt32,
    before: Bytes,
    starts: Int64,
    rows: Int16,
    columns: Int16,
    offsets: Int16,
    axis: int,
    class_of: Bytes,
    cost: npt.NDArray[np.float32],
    out: Floats,
) -> None:
    """Add up in `out` (rows, columns or positions; 2·d + 1) the bits that numbers changed by −d…d would take.

    cost (contexts, K, tokens): bits of a token in a class, by the end of the state. Other
    arguments as above; `class_of`: see `neighbours.class_table`.
    """
    by_column = columns.shape[0] > 1
    reach = out.shape[1] // 2
    top = cost.shape[1] - 1
    width = tokens.shape[1]
    for row in range(starts.shape[0] - 1):
        for n in range(starts[row], starts[row + 1]):
            column = n - starts[row] if by_column else 0
            base = np.int64(rows[row]) + columns[column]
            for p in range(width):
                index = row if axis == 0 else column if axis == 1 else p
                own = base + offsets[p] - reach
                token = tokens[n, p]
                end = before[n * width + p] if before.shape[0] else 0
                for change in range(out.shape[1]):
                    c = clamp(own + change, np.int64(0), top)
                    if around.shape[0]:
                        c = np.int64(class_of[c * _AROUND_ROW + near[p] + around[n * width + p]])
                    out[index, change] += cost[end, c, token]
