"""From the options of the command line to a quantization scheme."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from enxuto.compression.data_free import DEFAULT_SCHEME
from enxuto.errors import UsageError
from enxuto.quantize.scalar import DeadZone, Half, Minifloat, MuLaw
from enxuto.quantize.schemes import (
    BalancedSteps,
    FittedMinifloat,
    Per,
    RangeSteps,
    RmsSteps,
    SameQuantizer,
    Scheme,
)

if TYPE_CHECKING:
    from enxuto.cli.shared.scheme_options import SchemeOptions

__all__ = ["build_scheme"]

_DELTAS = {"midrise": 0.0, "midtread": 0.5}


def build_scheme(options: SchemeOptions) -> Scheme:
    """Return the scheme of options that do not contradict each other; `UsageError` where one is missing."""
    match options.quantizer:
        case "half":
            return SameQuantizer(Half())
        case "minifloat":
            return _minifloat(options)
        case "mu-law":
            return _mu_law(options)
        case _:
            return _dead_zone(options)


def _dead_zone(options: SchemeOptions) -> Scheme:
    delta = _DELTAS.get(options.quantizer, 0.5 if options.delta is None else options.delta)
    if options.levels is not None:
        if options.per is None or options.range is not None:
            low, high = options.range or (-1.0, 1.0)
            clip = (low, high) if options.clip else None
            return SameQuantizer(DeadZone((high - low) / 2**options.levels, delta, clip=clip))
        return RangeSteps(options.levels, cast(Per, options.per), "dead-zone", delta)
    if options.step is not None:
        if options.per is None or options.per == "network":
            return SameQuantizer(DeadZone(options.step, delta))
        return RmsSteps(options.step, cast(Per, options.per), delta)
    assert isinstance(DEFAULT_SCHEME, BalancedSteps)
    return replace(DEFAULT_SCHEME, per=cast(Per, options.per or DEFAULT_SCHEME.per), delta=delta)


def _mu_law(options: SchemeOptions) -> Scheme:
    if options.levels is None:
        raise UsageError("--quantizer mu-law needs --levels I, for 2^I levels", code="E023")
    if options.per is None or options.per == "network" or options.range is not None:
        low, high = options.range or (-1.0, 1.0)
        if low != -high:
            raise UsageError(f"μ-law needs a range symmetric about 0, not {low:g} to {high:g}")
        return SameQuantizer(
            MuLaw(2**options.levels, options.mu or float(2**options.levels), high, clip=options.clip)
        )
    return RangeSteps(options.levels, cast(Per, options.per), "mu-law", mu=options.mu)


def _minifloat(options: SchemeOptions) -> Scheme:
    try:
        p, q = (int(field) for field in (options.minifloat or "").split(","))
    except ValueError as error:
        raise UsageError(
            "--quantizer minifloat needs --minifloat P,Q: exponent and mantissa bits, such as 4,3"
        ) from error
    return (
        SameQuantizer(Minifloat(p, q))
        if options.per is None
        else FittedMinifloat(p, q, cast(Per, options.per))
    )
