"""Levels on a trellis where nothing is known of what errors cost: the path of least squared error through each row.

Each of the states keeps the best path that leads to it; from a state two levels are worth trying, the nearest
of either parity. Source: Viterbi's algorithm, as trellis-coded quantization has it (Marcellin & Fischer 1990).
"""

from __future__ import annotations

import functools
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

    No weight is off by more than two steps. Cost: for every weight four errors, two for each end of a state, and two
    sums for each of the trellis's states.
    """
    if scaled.size and not float(np.abs(scaled).max()) <= LARGEST_ON_TRELLIS:
        return None
    levels, columns = np.empty(scaled.shape, np.int32), scaled.shape[1]
    losses, others = np.empty(states), np.empty(states)
    choices, is_second = np.empty((columns, 4), np.int32), np.empty((columns, states), np.bool_)
    origins, branches = _ways_into(states)
    _search(scaled, origins, branches, losses, others, choices, is_second, levels)
    return levels


@functools.cache
def _ways_into(states: int) -> tuple[Int64, Int64]:
    """Return the two states (2, states) that lead to each one, in their order, and on which branch.

    Branches 0 and 1 are even and odd levels in even states, 2 and 3 those in odd ones.
    """
    origins, branches = np.empty((2, states), np.int64), np.empty((2, states), np.int64)
    found = np.zeros(states, np.int64)
    for state, reached in enumerate(MACHINES[states].following.tolist()):
        for parity, target in enumerate(reached):
            origins[found[target], target] = state
            branches[found[target], target] = 2 * (state & 1) + parity
            found[target] += 1
    return origins, branches


@compiled
def _search(
    scaled: Float64,
    origins: Int64,
    branches: Int64,
    losses: Float64,
    others: Float64,
    choices: Int32,
    is_second: npt.NDArray[np.bool_],
    levels: Int32,
) -> None:
    """Fill levels (R, C); losses, others (states,), choices (C, 4), is_second (C, states) are room to work in."""
    count, (rows, columns) = losses.shape[0], scaled.shape
    errors = np.empty(4)
    for r in range(rows):
        for state in range(count):
            losses[state] = 0.0 if state == 0 else np.inf
        for j in range(columns):
            for odd in range(2):
                for level in nearest_of_each_parity(scaled[r, j], odd):
                    error = scaled[r, j] - (2.0 * level - odd * np.sign(level))
                    branch = 2 * odd + (np.int64(level) & 1)
                    choices[j, branch], errors[branch] = np.int32(level), error * error
            for state in range(count):
                first = losses[origins[0, state]] + errors[branches[0, state]]
                second = losses[origins[1, state]] + errors[branches[1, state]]
                is_second[j, state] = second < first
                others[state] = min(first, second)
            losses, others = others, losses
        best: Any = np.int64(0)
        for state in range(1, count):
            best = state if losses[state] < losses[best] else best
        for j in range(columns - 1, -1, -1):
            way = np.int64(is_second[j, best])
            levels[r, j] = choices[j, branches[way, best]]
            best = origins[way, best]


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
