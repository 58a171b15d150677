"""Levels of a weight without images: the nearest ones, those that are worth their bits, or a path on a trellis.

By rate, a level may be the next one towards zero: where squared error + price·bits is less, with the bits that the
coder's own model says, fitted to the levels before, until they change no more or four times. The price is that of
equal slope: at high rates one bit more quarters Δ²/12, so that a bit is worth ln 2/6·Δ².

Sources: entropy-constrained scalar quantization (Sullivan 1996); trellis: `enxuto.quantize.trellis`.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from enxuto.codec import LevelModel, fit
from enxuto.errors import UsageError, did_you_mean
from enxuto.machine.kernels import compiled
from enxuto.quantize.grid import MOST_EXPONENT, Grid
from enxuto.quantize.scalar import DeadZone, Quantizer, short_float32
from enxuto.quantize.trellis import NEWEST
from enxuto.rounding.viterbi import nearest_path

__all__ = ["ROUNDINGS", "Rounding", "check_quantizer", "check_rounding", "round_weight"]

Rounding: TypeAlias = Literal["nearest", "rate", "trellis"]
ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)

_PRICE = math.log(2) / 6  # of a bit, in squared steps
_ROUNDS = 4
_WIDEST = 1 << 12  # levels of a weight beyond which neighbouring ones cost the same
_AT_ONCE = 1 << 22  # weights whose path is looked for at a time
_LOWEST = -100.0  # log2 of the shortest step on a trellis
_FEW_VALUES, _FIRST = 3, 4096
_TRELLIS_STEP_AT_EQUAL_ERROR = 0.57  # of that off the trellis: about its squared error, a sixth of a bit less

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]


def check_rounding(rounding: str) -> Rounding:
    """Return one of `ROUNDINGS`; any other word is a `UsageError`."""
    for known in ROUNDINGS:
        if rounding == known:
            return known
    raise UsageError(
        f"rounding is {', '.join(ROUNDINGS)}, not {rounding!r}{did_you_mean(rounding, ROUNDINGS)}",
        code="E021",
    )


def round_weight(weight: Float32, quantizer: Quantizer, rounding: Rounding) -> tuple[Quantizer, Int32]:
    """Return the quantizer and the levels of a weight, of any shape.

    quantizer: gives the steps; on a trellis another one takes its place, with steps 0.57 as long and channels' steps
    as powers of 2^¼. Rounded to nearest even so: weights without rows of their own (vectors), steps along a third axis,
    steps further apart than a grid's factors reach (of dead channels, say), levels of more than 30 bits, and weights of
    few values, such as binary ones, between which a path would go to and fro.

    Raises `UsageError` where a step is too fine, and as `check_quantizer` does.
    """
    check_quantizer(quantizer, rounding)
    if rounding == "rate":
        assert isinstance(quantizer, DeadZone)
        return quantizer, _round_by_rate(weight, quantizer)
    found = None
    if (
        rounding == "trellis"
        and weight.ndim > 1
        and weight.size > len(weight)
        and not _has_few_values(weight)
    ):
        assert isinstance(quantizer, DeadZone)
        found = _round_on_trellis(weight, quantizer)
    return found or (quantizer, quantizer.quantize(weight))


def _has_few_values(weight: Float32) -> bool:
    """Whether a weight has at most `_FEW_VALUES`; nearly all others are told by their first values."""
    values = weight.reshape(-1)
    return len(np.unique(values[:_FIRST])) <= _FEW_VALUES and len(np.unique(values)) <= _FEW_VALUES


def check_quantizer(quantizer: Quantizer, rounding: Rounding) -> None:
    """Raise `UsageError` where levels other than the nearest are asked of anything but dead-zone with δ ½."""
    if rounding != "nearest" and not (isinstance(quantizer, DeadZone) and quantizer.delta == 0.5):
        raise UsageError(
            f"rounding {rounding} chooses its own zero; it needs quantizer dead-zone with delta 0.5",
            code="E022",
        )


def _round_on_trellis(weight: Float32, quantizer: DeadZone) -> tuple[Grid, Int32] | None:
    grid = _make_grid(quantizer)
    if grid is None:
        return None
    rows, columns = grid.steps(weight.shape)
    levels = np.empty((len(weight), weight.size // len(weight)), np.int32)
    height = max(1, _AT_ONCE // levels.shape[1])
    for start in range(0, len(weight), height):
        piece = slice(start, start + height)
        steps = (rows[piece] if len(rows) > 1 else rows).astype(np.float64) * columns
        scaled = _clip(weight[piece], quantizer) / steps
        found = nearest_path(scaled.reshape(len(scaled), -1))
        if found is None:
            return None
        levels[piece] = found
    return grid, levels.reshape(weight.shape)


def _make_grid(quantizer: DeadZone) -> Grid | None:
    """Return the grid with a trellis that takes a quantizer's place, None where there is none."""
    steps = np.log2(_TRELLIS_STEP_AT_EQUAL_ERROR * np.atleast_1d(np.asarray(quantizer.step, np.float64)))
    if quantizer.axis not in (None, 0, 1) or not _LOWEST < steps.mean() < -_LOWEST:
        return None
    base = short_float32(float(np.exp2(steps.mean())))
    exponents = np.rint(4 * (steps - math.log2(base))).astype(np.int64)
    if np.abs(exponents).max() > MOST_EXPONENT:
        return None
    factors = tuple(exponents.tolist()) if exponents.any() else ()
    if quantizer.axis == 1:
        return Grid(base, columns=factors, trellis=NEWEST)
    return Grid(base, rows=factors if quantizer.axis == 0 else (), trellis=NEWEST)


def _round_by_rate(weight: Float32, quantizer: DeadZone) -> Int32:
    levels = quantizer.quantize(weight)
    if not levels.size or int(np.abs(levels).max()) > _WIDEST:
        return levels
    scaled = _clip(weight, quantizer) / _steps_along(quantizer, weight.ndim)
    for _ in range(_ROUNDS):
        before, levels = levels, _move_where_bits_pay(scaled, levels, fit(levels))
        if np.array_equal(before, levels):
            break
    return levels


def _move_where_bits_pay(scaled: Float64, levels: Int32, model: LevelModel) -> Int32:
    """Return the levels of least squared error + price·bits, of those next to each weight in steps."""
    out = np.empty(levels.shape, np.int32)
    costs = model.costs(int(np.abs(levels).max()) + 1)
    _choose_levels(scaled.reshape(-1), model.classes.reshape(-1), costs, _PRICE, out.reshape(-1))
    return out


@compiled
def _choose_levels(
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


def _clip(weight: Float32, quantizer: DeadZone) -> Float64:
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
