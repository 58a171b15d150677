"""How earlier weights of a kernel predict the next one.

Neighbouring weights of a trained kernel are alike: where those to the left and above are large, the next is large
too, which moves it to another class; and its sign is that of their weighted sum more often than not. Both effects
are measured against the mean magnitude of the weight's class. On 3×3 kernels they save 8–10 % beyond scales.

Neighbours are left, above, above left and above right; outside of the kernel they are 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from enxuto.machine.kernels import clamp, compiled

__all__ = [
    "BUCKETS",
    "CLIP",
    "EIGHTHS",
    "MOST_AROUND",
    "MOST_SUM",
    "SHIFTS",
    "SIZES",
    "class_table",
    "look_around",
    "sign_table",
    "step_table",
]

SHIFTS = 5  # how large the neighbours are, in five steps
_LARGER = (10, 14, 19, 27)  # sixteenths of what was expected: where a step begins
BUCKETS = 5  # how sure their sum is of the sign
_SURER = (1, 4, 8, 15)  # sixteenths of the mean magnitude
SIZES = 3  # signs are counted by magnitude: 1, 2, more
EIGHTHS = (3, 3, -1, 0)  # of left, above, above left, above right in the sum, by default
CLIP = 31  # neighbours count as no larger, so that
MOST_AROUND = 255  # their weighted magnitudes
MOST_SUM = 1023  # and their weighted sum stay below
_AROUND = 7  # neighbours' weights add up to 0…6

Int64 = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


def step_table(means: Int64) -> Bytes:
    """Return how large the neighbours are (K · 7 · 256,), 0…4, by class, their `around`, and weighted magnitudes.

    `means` (K,): mean magnitudes of the classes, in 1/64. Three more weights of just that mean are counted in, so
    that one neighbour says less than four.
    """
    mean = means[:, None, None]
    around = np.arange(_AROUND)[None, :, None]
    found = 1024 * np.arange(MOST_AROUND + 1)[None, None, :] + 48 * mean
    expected = (around + 3) * mean
    steps = sum((found >= border * expected).astype(np.uint8) for border in _LARGER)
    return np.ascontiguousarray(np.asarray(steps, np.uint8).reshape(-1))


def class_table(steps: Bytes, shifts: Int64, classes: int) -> Bytes:
    """Return the class (K · 7 · 256,) that a weight is coded with, for `steps` of `step_table`.

    `shifts` (5,): by how many classes each step moves it; it stays within the K.
    """
    own = np.repeat(np.arange(classes), len(steps) // classes)
    return np.asarray(np.clip(own + shifts[steps], 0, classes - 1), np.uint8)


def sign_table(means: Int64) -> Bytes:
    """Return how sure (K · 2048,) a weighted sum, in eighths, is of the sign, 0…4, by class and sum (from −1024 on)."""
    sums = 128 * np.abs(np.arange(-MOST_SUM - 1, MOST_SUM + 1))[None, :]
    sure = sum((sums >= border * means[:, None]).astype(np.int64) for border in _SURER)
    return np.ascontiguousarray(np.asarray(sure).reshape(-1), np.uint8)


@compiled
def look_around(
    levels: npt.NDArray[np.int32],
    cells: npt.NDArray[np.uint32],
    stride: np.uint32,
    size: int,
    eighths: Int64,
    around: Bytes,
    sums: npt.NDArray[np.int16],
) -> None:
    """Fill weighted magnitudes and weighted sums of the neighbours, both (N · P,), for `levels` (N, P)."""
    picture = np.zeros(size, np.int64)
    at = 0
    for n in range(levels.shape[0]):
        for p in range(levels.shape[1]):
            cell = cells[p]
            before, above, behind = picture[cell], picture[cell + 1], picture[cell + 2]
            left = picture[cell + stride]
            weight = 2 * (abs(left) + abs(above)) + abs(before) + abs(behind)
            total = eighths[0] * left + eighths[1] * above + eighths[2] * before + eighths[3] * behind
            around[at] = weight
            sums[at] = total
            picture[cell + stride + 1] = clamp(np.int64(levels[n, p]), np.int64(-CLIP), np.int64(CLIP))
            at += 1
