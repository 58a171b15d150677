"""Levels of a weight without images: the nearest ones, those that are worth their bits, or a path on a trellis.

By rate, a level may be the next one towards zero: where squared error + price·bits is less, with the bits that the
coder's own model says, fitted to the levels before, until they change no more. The price is that of equal slope: at
high rates one bit more quarters Δ²/12, so that a bit is worth ln 2/6·Δ².

Sources: entropy-constrained scalar quantization (Sullivan 1996); trellis: `enxuto.trellis`.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, get_args

import numba
import numpy as np
import numpy.typing as npt

from enxuto.codec import LevelModel, fit
from enxuto.errors import UsageError
from enxuto.quantize.grid import MOST_EXPONENT, Grid
from enxuto.quantize.scalar import DeadZone, Quantizer, short_float32
from enxuto.quantize.trellis_path import nearest_path

__all__ = ["ROUNDINGS", "Rounding", "check_rounding", "rounded"]

Rounding: TypeAlias = Literal["nearest", "rate", "trellis"]
ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)

_PRICE = math.log(2) / 6  # of a bit, in squared steps
_ROUNDS = 4
_WIDEST = 1 << 12  # levels of a weight beyond which neighbouring ones cost the same
_TRELLIS_STEP = 0.56  # of the plain one: about its squared error, with a sixth of a bit less

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]


def check_rounding(rounding: str) -> Rounding:
    """Return one of `ROUNDINGS`; any other word is a `UsageError`."""
    for known in ROUNDINGS:
        if rounding == known:
            return known
    raise UsageError(f"rounding is {', '.join(ROUNDINGS)}, not {rounding!r}")


def rounded(weight: Float32, quantizer: Quantizer, rounding: Rounding) -> tuple[Quantizer, Int32]:
    """Return the quantizer and the levels of a weight, of any shape.

    quantizer: gives the steps; on a trellis another one takes its place, with steps 0.56 as long and channels' steps
    as powers of 2^¼. Weights without rows of their own (vectors) are rounded to nearest there.

    Raises `UsageError` where a step is too fine, and for anything but nearest levels of a quantizer that is not
    dead-zone with δ ½.
    """
    if rounding == "nearest":
        return quantizer, quantizer.quantize(weight)
    if not isinstance(quantizer, DeadZone) or quantizer.delta != 0.5:
        raise UsageError(
            f"rounding {rounding} chooses its own zero; it needs quantizer dead-zone with delta 0.5"
        )
    if rounding == "rate":
        return quantizer, _by_rate(weight, quantizer)
    if weight.ndim < 2 or weight.size == len(weight):
        return quantizer, quantizer.quantize(weight)
    return _on_trellis(weight, quantizer)


def _on_trellis(weight: Float32, quantizer: DeadZone) -> tuple[Grid, Int32]:
    grid = _grid_of(quantizer)
    rows, columns = grid.steps(weight.shape)
    scaled = _clipped(weight, quantizer) / (rows.astype(np.float64) * columns.astype(np.float64))
    levels = nearest_path(scaled.reshape(len(weight), -1))
    if levels is None:
        raise UsageError(f"the step {grid.step:g} is too small for the weights: levels would exceed 30 bits")
    return grid, levels.reshape(weight.shape)


def _grid_of(quantizer: DeadZone) -> Grid:
    steps = np.log2(_TRELLIS_STEP * np.atleast_1d(np.asarray(quantizer.step, np.float64)))
    base = short_float32(max(2.0**-100, float(np.exp2(steps.mean()))))
    exponents = np.clip(np.rint(4 * (steps - math.log2(base))), -MOST_EXPONENT, MOST_EXPONENT).astype(
        np.int64
    )
    factors = tuple(exponents.tolist()) if exponents.any() else ()
    match quantizer.axis:
        case 0:
            return Grid(base, rows=factors, trellis=True)
        case 1:
            return Grid(base, columns=factors, trellis=True)
    return Grid(base, trellis=True)  # what shares a step lies neither in rows nor in columns


def _by_rate(weight: Float32, quantizer: DeadZone) -> Int32:
    levels = quantizer.quantize(weight)
    if not levels.size or int(np.abs(levels).max()) > _WIDEST:
        return levels
    scaled = _clipped(weight, quantizer) / _steps_along(quantizer, weight.ndim)
    for _ in range(_ROUNDS):
        before, levels = levels, _worth_their_bits(scaled, levels, fit(levels))
        if np.array_equal(before, levels):
            break
    return levels


def _worth_their_bits(scaled: Float64, levels: Int32, model: LevelModel) -> Int32:
    """Return the levels of least squared error + price·bits, of those next to each weight in steps."""
    out = np.empty(levels.shape, np.int32)
    costs = model.costs(int(np.abs(levels).max()) + 1)
    _choose(scaled.reshape(-1), model.classes.reshape(-1), costs, _PRICE, out.reshape(-1))
    return out


@numba.njit(cache=True, nogil=True)
def _choose(
    scaled: Float64, classes: npt.NDArray[np.uint8], costs: Float64, price: float, out: Int32
) -> None:
    reach = costs.shape[1] // 2
    for i in range(scaled.shape[0]):
        size = abs(scaled[i])
        lower = min(int(np.floor(size)), reach)
        upper = min(lower + 1, reach)
        sign = -1 if scaled[i] < 0 else 1
        bits = costs[classes[i]]
        below = (size - lower) ** 2 + price * bits[reach + sign * lower]
        above = (upper - size) ** 2 + price * bits[reach + sign * upper]
        out[i] = sign * (lower if below <= above else upper)


def _clipped(weight: Float32, quantizer: DeadZone) -> Float64:
    wide = weight.astype(np.float64)
    return wide if quantizer.clip is None else np.clip(wide, *quantizer.clip)


def _steps_along(quantizer: DeadZone, dimensions: int) -> Float64:
    """Return the steps in a shape that broadcasts against the weight's."""
    steps = np.asarray(np.asarray(quantizer.step, np.float32), np.float64)
    return (
        steps.reshape([-1 if axis == quantizer.axis else 1 for axis in range(dimensions)])
        if steps.ndim
        else steps
    )
