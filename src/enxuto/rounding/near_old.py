"""Levels for weights that have moved since they were last rounded: another level is taken only where it pays.

A difference file holds what moved, so a level that stays costs next to nothing and one that moves several bits. Of
squared error plus price times bits, the least is taken: for each level by itself, or along the trellis, where the path
may leave the old one and come back to it.

Source: `rounding.viterbi`, with the rate of a conditional code in the loss (entropy-constrained trellis-coded
quantization, Fischer & Wang 1992).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from enxuto.machine.kernels import compiled
from enxuto.quantize.trellis import MACHINES, multiples, states_before
from enxuto.rounding.row_search import LARGEST_ON_TRELLIS
from enxuto.rounding.viterbi import nearest_of_each_parity

__all__ = ["carry_along", "move_levels", "move_path"]

_MOVED = 7.0  # bits of a level that moves where those before it stayed, one in some fifty does
_AMONG_MOVED = 2.0  # of one behind others that moved, off the old path
_STAYED = 1.0  # of one that stays there
_FURTHER = 1.5  # more, for each level further away

_HALF_A_MOVE = 2.0  # steps, of two levels on a trellis

_FURTHEST_OFF, _FURTHEST_ON_TRELLIS = 1.0, 2.0  # steps that a weight may be off, as `verify` has it

Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


def move_levels(scaled: Float64, old: Int32, price: float) -> Int32 | None:
    """Return levels for weights in steps: the nearest whole numbers, or the old ones where moving does not pay.

    None where one would leave 30 bits.

    Args:
        scaled: the weights, in steps of the grid.
        old: their levels before, of the same shape.
        price: of a bit, in squared steps.
    """
    if scaled.size and not float(np.abs(scaled).max()) <= LARGEST_ON_TRELLIS:
        return None
    nearest = np.rint(scaled)
    gain = (scaled - old) ** 2 - (scaled - nearest) ** 2
    bits = _MOVED + _FURTHER * (np.abs(nearest - old) - 1)
    far = np.abs(scaled - old) > _FURTHEST_OFF
    return np.where((gain > price * bits) | far, nearest, old).astype(np.int32)


def carry_along(old: Int32, change: Float64, states: int) -> Int32:
    """Return levels whose values follow the changes: sums along each row to within half a move, of one or four steps.

    What a level does not take of the change so far is carried on to the next (error diffusion), so that small changes
    of one direction are kept, though none of them alone would move a level.

    Args:
        old: the levels before (rows, …).
        change: of the weights since, in steps (rows, …).
        states: of the trellis, 0 without one. On a trellis levels move by two, as parities decide the path.
    """
    if states:
        flat = old.reshape(len(old), -1)
        levels = np.empty(flat.shape, np.int32)
        _carry(change.reshape(flat.shape), flat, states_before(flat, states), levels)
        return levels.reshape(old.shape)
    rows = change.reshape(len(change) if change.ndim else 1, -1)
    moved = np.rint(np.cumsum(rows, axis=1)).astype(np.int64)
    return np.asarray(old + np.diff(moved, axis=1, prepend=0).reshape(old.shape), np.int32)


@compiled
def _carry(change: Float64, old: Int32, path: npt.NDArray[np.uint8], levels: Int32) -> None:
    """Fill levels (R, C); path: the states before them. In odd ones a move across zero is but two or three steps.

    Waiting there too until half of four is owed takes fewer moves, which are errors of their own.
    """
    rows, columns = change.shape
    for r in range(rows):
        owed = 0.0
        for j in range(columns):
            owed += change[r, j]
            level, odd = np.int64(old[r, j]), np.int64(path[r, j] & 1)
            while abs(owed) > _HALF_A_MOVE:
                further = level + 2 if owed > 0 else level - 2
                owed -= 2 * (further - level) - odd * (np.sign(further) - np.sign(level))
                level = further
            levels[r, j] = level


def move_path(scaled: Float64, old: Int32, states: int, price: float) -> Int32 | None:
    """Return levels on a trellis for weights in steps; None where one would leave 30 bits.

    Args:
        scaled: the weights (R, C), in steps of the grid.
        old: their levels before (R, C), on the same trellis.
        states: how many the trellis has.
        price: of a bit, in squared steps.
    """
    if scaled.size and not float(np.abs(scaled).max()) <= LARGEST_ON_TRELLIS:
        return None
    levels, columns = np.empty(scaled.shape, np.int32), scaled.shape[1]
    losses, others = np.empty(states), np.empty(states)
    origins, chosen = np.empty((columns, states), np.uint8), np.empty((columns, states), np.int32)
    bits = price * np.array([_MOVED, _AMONG_MOVED, _STAYED, _FURTHER])
    _search(
        scaled, multiples(old, states), states_before(old, states), MACHINES[states].following, bits, losses, others,
        origins, chosen, levels,
    )  # fmt: skip
    return levels


@compiled
def _search(
    scaled: Float64,
    before: Int32,
    path: npt.NDArray[np.uint8],
    following: Int64,
    bits: Float64,
    losses: Float64,
    others: Float64,
    origins: npt.NDArray[np.uint8],
    chosen: Int32,
    levels: Int32,
) -> None:
    """As `viterbi._search`; before, path (R, C): how many steps the old levels stand for, and their states."""
    count, (rows, columns) = following.shape[0], scaled.shape
    for r in range(rows):
        for state in range(count):
            losses[state] = 0.0 if state == 0 else np.inf
        for j in range(columns):
            others[:] = np.inf
            for state in range(count):
                if losses[state] == np.inf:
                    continue
                odd = np.int64(state & 1)
                expected = np.int64((abs(np.int64(before[r, j])) + odd) >> 1)
                expected = -expected if before[r, j] < 0 else expected
                same = state == path[r, j]
                nearest = nearest_of_each_parity(scaled[r, j], state & 1)
                sign = np.int64(-1 if scaled[r, j] < 0 else 1)
                for option in range(4):
                    level = np.int64(nearest[option]) if option < 2 else expected + sign * (option - 2)
                    value = 2 * level - odd * np.sign(level)
                    distance = abs(level - expected)
                    if option > 1 and abs(scaled[r, j] - value) > _FURTHEST_ON_TRELLIS:
                        continue
                    cost = 0.0 if same else bits[2]
                    if distance > 0:
                        cost = (bits[0] if same else bits[1]) + bits[3] * (distance - 1)
                    total = losses[state] + (scaled[r, j] - value) ** 2 + cost
                    reached = following[state, level & 1]
                    if total < others[reached]:
                        others[reached] = total
                        origins[j, reached], chosen[j, reached] = state, np.int32(level)
            losses, others = others, losses
        best = np.int64(0)
        for state in range(1, count):
            best = np.int64(state) if losses[state] < losses[best] else best
        for j in range(columns - 1, -1, -1):
            levels[r, j] = chosen[j, best]
            best = np.int64(origins[j, best])
