"""Levels on a trellis where nothing is known of what errors cost: the path of least squared error through each row.

Each of the states keeps the best path that leads to it; from a state two levels are worth trying, the nearest
of either parity. Source: Viterbi's algorithm, as trellis-coded quantization has it (Marcellin & Fischer 1990).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from enxuto.machine.kernels import compiled, inlined
from enxuto.quantize.trellis import MACHINES, NEWEST
from enxuto.rounding.row_search import LARGEST_ON_TRELLIS

__all__ = ["nearest_of_each_parity", "nearest_path"]

Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


def nearest_path(scaled: Float64, states: int = NEWEST) -> Int32 | None:
    """Return levels (R, C) for weights (R, C) in units of their steps; None where one would leave 30 bits.

    No weight is off by more than two steps. Cost: two candidates a weight for each of the trellis's states.
    """
    if scaled.size and not float(np.abs(scaled).max()) <= LARGEST_ON_TRELLIS:
        return None
    levels, columns = np.empty(scaled.shape, np.int32), scaled.shape[1]
    losses, others = np.empty(states), np.empty(states)
    origins, chosen = np.empty((columns, states), np.uint8), np.empty((columns, states), np.int32)
    _search(scaled, MACHINES[states].following, losses, others, origins, chosen, levels)
    return levels


@compiled
def _search(
    scaled: Float64,
    following: Int64,
    losses: Float64,
    others: Float64,
    origins: npt.NDArray[np.uint8],
    chosen: Int32,
    levels: Int32,
) -> None:
    """Fill levels (R, C); losses, others (states,), origins, chosen (C, states) are room for what it takes."""
    count, (rows, columns) = following.shape[0], scaled.shape
    for r in range(rows):
        for state in range(count):
            losses[state] = 0.0 if state == 0 else np.inf
        for j in range(columns):
            for state in range(count):
                others[state] = np.inf
            for state in range(count):
                if losses[state] == np.inf:
                    continue
                for level in nearest_of_each_parity(scaled[r, j], state & 1):
                    error = scaled[r, j] - (2.0 * level - (state & 1) * np.sign(level))
                    total = losses[state] + error * error
                    reached = following[state, np.int64(level) & 1]
                    if total < others[reached]:
                        others[reached] = total
                        origins[j, reached], chosen[j, reached] = state, np.int32(level)
            losses, others = others, losses
        best: Any = np.int64(0)
        for state in range(1, count):
            best = state if losses[state] < losses[best] else best
        for j in range(columns - 1, -1, -1):
            levels[r, j] = chosen[j, best]
            best = np.int64(origins[j, best])


@inlined
def nearest_of_each_parity(scaled: float, odd: int) -> tuple[float, float]:
    """Return the levels nearest to `scaled` steps in an even or an odd state, one of either parity."""
    if not odd:
        lower = np.floor(scaled / 2)
        return lower, lower + 1
    size = np.floor((abs(scaled) + 1) / 2)  # levels ±k stand for ±(2k − 1): zero lies between 1 and −1
    sign = -1.0 if scaled < 0 else 1.0
    if size == 1.0 and abs(scaled) < 1.5:  # between 1 and 3, whose other neighbour of even parity is 0
        return sign, 0.0
    return sign * size, sign * (size + 1)
