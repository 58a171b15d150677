"""What the table of an `.enx` file says of quantizers: checked frozen objects, from quantizers and back to them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from enxuto.errors import UsageError
from enxuto.quantize.grid import Grid
from enxuto.quantize.scalar import DeadZone, Half, Minifloat, MuLaw, Quantizer
from enxuto.quantize.trellis import NEWEST

__all__ = ["Checked", "DeadZoneFields", "GridFields", "QuantizerFields", "describe"]


class Checked(BaseModel):
    """An object of the table: no unknown keys, no values of another type."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


def _not_null(value: Any) -> Any:
    """Refuse null where a field may be absent: that is another thing."""
    if value is None:
        raise ValueError("null stands for nothing here; leave the key out")
    return value


class DeadZoneFields(Checked):
    """A dead zone: one step, or an axis whose steps lie in the payload."""

    kind: Literal["dead-zone"] = "dead-zone"
    step: Annotated[float | None, BeforeValidator(_not_null)] = None
    delta: float
    axis: Annotated[Annotated[int, Field(ge=0, lt=64)] | None, BeforeValidator(_not_null)] = None

    def build(self, steps: np.ndarray, shape: tuple[int, ...]) -> Quantizer:
        """Return the quantizer with these steps of the payload, of a tensor of that shape."""
        if self.axis is None and self.step is not None:
            return DeadZone(self.step, self.delta)
        return DeadZone(tuple(float(step) for step in steps), self.delta, self.axis)


class MuLawFields(Checked):
    """A μ-law quantizer."""

    kind: Literal["mu-law"] = "mu-law"
    levels: int
    mu: float
    x_max: float
    exponent: float

    def build(self, steps: np.ndarray, shape: tuple[int, ...]) -> Quantizer:
        """Return the quantizer with these steps of the payload, of a tensor of that shape."""
        return MuLaw(self.levels, self.mu, self.x_max, self.exponent)


class MinifloatFields(Checked):
    """A minifloat."""

    kind: Literal["minifloat"] = "minifloat"
    p: int
    q: int
    scale: float = 1.0

    def build(self, steps: np.ndarray, shape: tuple[int, ...]) -> Quantizer:
        """Return the quantizer with these steps of the payload, of a tensor of that shape."""
        return Minifloat(self.p, self.q, self.scale)


class HalfFields(Checked):
    """Half precision, which has nothing to say."""

    kind: Literal["half"] = "half"

    def build(self, steps: np.ndarray, shape: tuple[int, ...]) -> Quantizer:
        """Return the quantizer with these steps of the payload, of a tensor of that shape."""
        return Half()


class GridFields(Checked):
    """A grid; the exponents of its axes lie in the payload."""

    kind: Literal["grid"] = "grid"
    step: float
    axes: tuple[Annotated[int, Field(ge=0, le=1)], ...] = ()  # not `Literal`, which takes true for 1
    trellis: bool | Annotated[int, Field(ge=NEWEST, le=NEWEST)] = False  # true: of eight states

    def build(self, steps: np.ndarray, shape: tuple[int, ...]) -> Quantizer:
        """Return the quantizer with these steps of the payload, of a tensor of that shape."""
        values = tuple(int(exponent) for exponent in steps)  # along `axes`, one axis after the other
        split = shape[0] if 0 in self.axes else 0
        states = 8 if self.trellis is True else int(self.trellis)
        return Grid(self.step, values[:split], values[split:], states)


QuantizerFields: TypeAlias = DeadZoneFields | MuLawFields | MinifloatFields | HalfFields | GridFields


def describe(quantizer: Quantizer) -> QuantizerFields:
    """Return what the table says of a quantizer; steps per channel go into the payload instead."""
    match quantizer:
        case DeadZone(step=tuple(), delta=delta, axis=axis):
            return DeadZoneFields(delta=delta, axis=axis)
        case DeadZone(step=float(step), delta=delta):
            return DeadZoneFields(step=step, delta=delta)
        case MuLaw(levels=levels, mu=mu, x_max=x_max, exponent=float(exponent)):
            return MuLawFields(levels=levels, mu=mu, x_max=x_max, exponent=exponent)
        case Minifloat(p=p, q=q, scale=scale):
            return MinifloatFields(p=p, q=q, scale=scale)
        case Half():
            return HalfFields()
        case Grid(step=step, rows=rows, columns=columns, trellis=trellis):
            axes = (*((0,) if rows else ()), *((1,) if columns else ()))
            return GridFields(step=step, axes=axes, trellis=True if trellis == 8 else trellis or False)
    raise UsageError(f"the file format has no quantizer {quantizer!r}")
