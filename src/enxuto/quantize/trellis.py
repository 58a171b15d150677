"""Dependent quantization: which of two grids a level counts on follows from the parities of the levels before it.

A level k stands for 2k steps in an even state, and for 2k − sgn(k) steps in an odd one: even multiples of the step,
or odd ones and zero. After each level the state moves by the level's parity; every row (all indices along axis 0,
each with its weights in C order) begins in state 0. Whoever chooses levels can look ahead and take the path of least
loss: at equal entropy the squared error falls by up to 1.3 dB. `rounding.feedback` and `rounding.viterbi` look for
paths, `codec` codes the levels by their state, `quantize.grid` turns them into values.

There are two machines. Files are written with 32 states; files of version 3 have eight.

Source: trellis-coded quantization (Marcellin & Fischer 1990) as used in video coding ("dependent quantization",
Schwarz et al. 2019) and for neural networks (Haase et al. 2020), whose machine is that of eight states. That of 32 is
a systematic convolutional code with feedback (Ungerboeck 1982), of parity checks 75 and 26 in octal. It was found by
trying all of its length; the last two bits of its state nearly tell what the state says of a level's odds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from enxuto.errors import UsageError
from enxuto.machine.kernels import compiled

__all__ = ["MACHINES", "NEWEST", "Machine", "multiples", "states_before"]

_EIGHT = [[0, 2], [5, 7], [1, 3], [6, 4], [2, 0], [4, 6], [3, 1], [7, 5]]
_LAST_BIT, _PARITY = 0o75 >> 1, 0o26 >> 1  # what they change in the other bits of 32 states

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Machine:
    """How states follow each other, and how many of them a coder tells apart: by the last bits.

    following (states, 2): the state after an even and after an odd level.
    """

    following: Int64
    contexts: int


def _register() -> Int64:
    states = np.arange(32)
    behind_even = states >> 1 ^ (states & 1) * _LAST_BIT
    return np.stack([behind_even, behind_even ^ _PARITY], axis=1).astype(np.int64)


MACHINES = {8: Machine(np.array(_EIGHT, np.int64), 2), 32: Machine(_register(), 4)}
"""By the number of states."""

NEWEST = 32
"""The number of states that files are written with."""


def states_before(levels: Int32, states: int = NEWEST) -> npt.NDArray[np.uint8]:
    """Return the state before each of `levels` (rows, …) on the trellis of so many states."""
    if not levels.size:  # rows of no levels, of which there may be any number
        return np.zeros(levels.shape, np.uint8)
    flat = np.ascontiguousarray(levels, np.int32).reshape(len(levels), math.prod(levels.shape[1:]))
    out = np.empty(flat.shape, np.uint8)
    _walk(flat, MACHINES[states].following, out)
    return out.reshape(levels.shape)


def multiples(levels: Int32, states: int = NEWEST) -> Int32:
    """Return how many steps every one of `levels` (rows, …) stands for; `UsageError` for magnitudes of 2**30."""
    if levels.size and max(int(levels.max()), -int(levels.min())) >= 1 << 30:
        raise UsageError("levels on a trellis stay below 2**30")
    odd = states_before(levels, states) & 1
    return np.asarray(2 * levels - odd * np.sign(levels), np.int32)


@compiled
def _walk(levels: Int32, following: Int64, out: npt.NDArray[np.uint8]) -> None:
    for row in range(levels.shape[0]):
        state = np.int64(0)
        for j in range(levels.shape[1]):
            out[row, j] = state
            state = following[state, levels[row, j] & 1]
