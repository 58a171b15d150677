"""Dependent quantization: which of two grids a level counts on follows from the parities of the levels before it.

A level k stands for 2k steps in an even state, and for 2k − sgn(k) steps in an odd one: even multiples of the step,
or odd ones and zero. After each level the state moves by the level's parity; every row (all indices along axis 0,
each with its weights in C order) begins in state 0. Whoever chooses levels can look ahead and take the path of least
loss: at equal entropy the squared error falls by up to 1.1 dB. `rounding.feedback` and `rounding.viterbi` look for
paths, `codec` codes the levels by their state, `quantize.grid` turns them into values.

Source: trellis-coded quantization (Marcellin & Fischer 1990) as used in video coding ("dependent quantization",
Schwarz et al. 2019) and for neural networks (Haase et al. 2020); the eight-state machine of the latter.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from enxuto.errors import UsageError
from enxuto.machine.kernels import compiled

__all__ = ["NEXT", "STATES", "multiples", "odd_states"]

NEXT = np.array([[0, 2], [5, 7], [1, 3], [6, 4], [2, 0], [4, 6], [3, 1], [7, 5]], np.int64)
"""The state after an even and after an odd level (8, 2)."""

STATES = len(NEXT)

Int32 = npt.NDArray[np.int32]


def odd_states(levels: Int32) -> npt.NDArray[np.uint8]:
    """Return 1 where the state before a level is odd, else 0, for `levels` (rows, …)."""
    if not levels.size:  # rows of no levels, of which there may be any number
        return np.zeros(levels.shape, np.uint8)
    flat = np.ascontiguousarray(levels, np.int32).reshape(len(levels), math.prod(levels.shape[1:]))
    out = np.empty(flat.shape, np.uint8)
    _walk(flat, NEXT, out)
    return out.reshape(levels.shape)


def multiples(levels: Int32) -> Int32:
    """Return how many steps every one of `levels` (rows, …) stands for; `UsageError` for magnitudes of 2**30."""
    if levels.size and max(int(levels.max()), -int(levels.min())) >= 1 << 30:
        raise UsageError("levels on a trellis stay below 2**30")
    return np.asarray(2 * levels - odd_states(levels) * np.sign(levels), np.int32)


@compiled
def _walk(levels: Int32, following: npt.NDArray[np.int64], out: npt.NDArray[np.uint8]) -> None:
    for row in range(levels.shape[0]):
        state = np.int64(0)
        for j in range(levels.shape[1]):
            out[row, j] = state & 1
            state = following[state, levels[row, j] & 1]
