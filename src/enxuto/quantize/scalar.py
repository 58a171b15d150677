"""Scalar quantizers: float weights → integer levels → float32 reconstructions.

Levels are chosen in float64. Reconstruction is a fixed sequence of IEEE operations, each rounded by itself, so
that every machine and every decoder written from `docs/format.md` gives the same bits.

Source: Tonin 2021, equations 2.22–2.30, with the misprints corrected; Sullivan 1996 for the dead zone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from enxuto.errors import UsageError
from enxuto.machine.kernels import compiled

__all__ = [
    "SOURCE_MINIFLOATS",
    "DeadZone",
    "Half",
    "Minifloat",
    "MuLaw",
    "Quantizer",
    "exp2_exact",
    "short_float32",
]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]

SOURCE_MINIFLOATS = (
    (4, 7), (3, 6), (3, 4), (4, 3), (3, 3), (2, 4), (2, 3), (1, 4), (2, 2), (1, 3), (1, 2), (0, 3),
)  # fmt: skip
"""The twelve formats (exponent bits p, mantissa bits q) of the source, from 12 to 4 bits (its table 3.5)."""

_BLOCK = 1 << 20  # elements handled at once where temporaries are needed
_TAYLOR_TERMS = 17


@runtime_checkable
class Quantizer(Protocol):
    """What every quantizer can do. `kind` names it in files."""

    kind: ClassVar[str]

    def quantize(self, x: Float32) -> Int32:
        """Return the level of every element of `x` (any shape, finite)."""
        ...

    def reconstruct(self, levels: Int32) -> Float32:
        """Return the value of every level (any shape)."""
        ...


def short_float32(value: float) -> float:
    """Return the float whose shortest decimal form still rounds to the same float32: short in a header."""
    return float(str(np.float32(value)))


@dataclass(frozen=True)
class DeadZone:
    """Uniform quantizer with a zero bin of half-width δ·Δ (δ = 0: midrise, δ = 0.5: midtread).

    level = 0 if |x| < δΔ, else s(x)·⌈|x|/Δ − δ⌉;  x̂ = 0 if level = 0, else s·Δ·(|level| + δ − ½).
    `step` is Δ, or one Δ per index along `axis` (output channels). With `clip` = (lo, hi), values are first
    limited to that range. Levels must fit 31 bits: a step too small for the values is a `UsageError`.
    """

    step: float | tuple[float, ...]
    delta: float = 0.5
    axis: int | None = None
    clip: tuple[float, float] | None = field(default=None, compare=False)
    kind: ClassVar[str] = "dead-zone"

    def __post_init__(self) -> None:
        # Whatever number type was given: files, equality and hashes know floats only.
        several = isinstance(self.step, tuple)
        given: tuple[float, ...] = self.step if isinstance(self.step, tuple) else (self.step,)
        try:
            steps = np.asarray(given, np.float64)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"the quantization step must be a positive number, not {self.step!r:.80}"
            ) from error
        object.__setattr__(self, "step", tuple(steps.tolist()) if several else float(steps[0]))
        wrong = steps[~(np.isfinite(steps) & (steps > 0))]
        if steps.size == 0 or wrong.size:
            raise UsageError(
                f"the quantization step must be a positive number, not {wrong[0] if wrong.size else '()'}"
            )
        with np.errstate(over="ignore"):
            rounded = steps.astype(np.float32)
        wrong = steps[~(np.isfinite(rounded) & (rounded > 0))]
        if wrong.size:
            raise UsageError(f"the quantization step {wrong[0]} is outside float32")
        if not 0 <= self.delta <= 1:
            raise UsageError(
                f"delta is the half-width of the zero bin in steps, from 0 to 1, not {self.delta}"
            )
        if isinstance(self.step, tuple) != (self.axis is not None):
            raise UsageError("several steps need an axis, and one step takes no axis", code="E022")
        if self.clip is not None and not self.clip[0] < self.clip[1]:
            raise UsageError(f"the range {self.clip} is empty; give the lower end first")

    @cached_property
    def _steps(self) -> Float32:
        return np.asarray(self.step, np.float32).reshape(-1)

    def quantize(self, x: Float32) -> Int32:
        """Return the level of every element of `x`; its length along `axis` must equal the number of steps."""
        low, high = self.clip if self.clip is not None else (-math.inf, math.inf)
        flat = np.ascontiguousarray(x, np.float32).reshape(-1)
        out = np.empty(flat.size, np.int32)
        if not _dead_zone_levels(
            flat, self._steps.astype(np.float64), self._inner(x.shape), self.delta, low, high, out
        ):
            raise UsageError(f"the step {float(self._steps.min()):g} is too small for values up to "
                             f"{float(np.abs(flat).max()):g}: levels would exceed 31 bits")  # fmt: skip
        return out.reshape(x.shape)

    def reconstruct(self, levels: Int32) -> Float32:
        """Return, in float32: (float32(|level|) + float32(δ − ½))·Δ with the level's sign; 0 for level 0."""
        flat = np.ascontiguousarray(levels, np.int32).reshape(-1)
        out = np.empty(flat.size, np.float32)
        offset = float(np.float32(self.delta - 0.5))
        _dead_zone_values(flat, self._steps, self._inner(levels.shape), offset, out)
        return out.reshape(levels.shape)

    def _inner(self, shape: tuple[int, ...]) -> int:
        """Return how many consecutive elements (C order) share a step."""
        if self.axis is None:
            return max(1, math.prod(shape))
        if not 0 <= self.axis < len(shape) or shape[self.axis] != len(self._steps):
            raise UsageError(
                f"{len(self._steps)} steps along axis {self.axis} do not fit the shape {shape}", code="E022"
            )
        return max(1, math.prod(shape[self.axis + 1 :]))


@compiled
def _dead_zone_levels(
    x: Float32, steps: Float64, inner: int, delta: float, low: float, high: float, out: Int32
) -> bool:
    """Fill `out` (n,); element i has step (i // inner) mod S. False if a level does not fit."""
    for i in range(x.shape[0]):
        step = steps[(i // inner) % steps.shape[0]]
        value = min(max(np.float64(x[i]), low), high)
        size = abs(value) / step
        level = np.ceil(size - delta) if size >= delta else 0.0
        if level > 2147483646.0:
            return False
        out[i] = np.int32(-level if value < 0 else level)
    return True


@compiled
def _dead_zone_values(levels: Int32, steps: Float32, inner: int, offset: float, out: Float32) -> None:
    """Fill `out` (n,). Sum, then product: nothing here that a compiler may fuse into another rounding."""
    for i in range(levels.shape[0]):
        step = steps[(i // inner) % steps.shape[0]]
        level = levels[i]
        if level == 0:
            out[i] = np.float32(0)
        elif level > 0:
            out[i] = (np.float32(level) + np.float32(offset)) * step
        else:
            out[i] = -((np.float32(-np.int64(level)) + np.float32(offset)) * step)


def exp2_exact(y: Float64) -> Float64:
    """Return 2**y for y ≥ 0 in float64, the same bits everywhere (error below 3 units in the last place).

    With n = ⌊y⌋ and u = (y − n)·0.6931471805599453: acc = 1, then for k = 17, …, 1: acc = (acc·u)/k + 1, each
    operation rounded by itself; the result is acc·2**n. (Library functions differ between machines.)
    """
    whole = np.floor(y)
    u = (y - whole) * 0.6931471805599453
    acc = np.ones_like(u)
    for k in range(_TAYLOR_TERMS, 0, -1):
        acc = (acc * u) / k + 1.0
    return np.ldexp(acc, whole.astype(np.int32))


@dataclass(frozen=True)
class MuLaw:
    """μ-law companding, then a midtread quantizer of the compressed value with Δ = 2·x_max/levels.

    c(x) = x_max·ln(1 + μ|x|/x_max)/ln(1 + μ)·s(x);  x̂ = (x_max/μ)·((1 + μ)^(|ĉ|/x_max) − 1)·s(ĉ).
    `clip`: limit |x| to x_max first; otherwise the curve is continued. Source: Tonin eqs. 2.27–2.28, corrected;
    it takes x_max = 1 and μ = levels.
    """

    levels: int
    mu: float
    x_max: float = 1.0
    exponent: float | None = None
    clip: bool = field(default=False, compare=False)
    kind: ClassVar[str] = "mu-law"

    def __post_init__(self) -> None:
        if not 2 <= self.levels <= 1 << 24:
            raise UsageError(f"μ-law takes 2 to 2**24 levels, not {self.levels}")
        if not (0 < self.mu <= 2.0**32 and 0 < self.x_max < 1e30):
            raise UsageError(f"μ-law needs μ and x_max above 0, not {self.mu} and {self.x_max}")
        if not math.isfinite(self.x_max / self.mu):
            raise UsageError(f"μ-law needs a larger μ than {self.mu} for x_max {self.x_max}")
        if self.exponent is None:
            # log2(1 + μ) goes into the file as a number, so that no decoder needs a logarithm.
            object.__setattr__(self, "exponent", math.log1p(self.mu) / math.log(2))
        elif not 0 < self.exponent <= 64:
            raise UsageError(f"the μ-law exponent must lie in (0, 64], not {self.exponent}")

    def quantize(self, x: Float32) -> Int32:
        """Return the level of every element of `x` (any shape)."""
        flat = np.ascontiguousarray(x, np.float32).reshape(-1)
        out = np.empty(flat.size, np.int32)
        for i in range(0, flat.size, _BLOCK):
            value = flat[i : i + _BLOCK].astype(np.float64)
            size = np.abs(value) / self.x_max
            if self.clip:
                size = np.minimum(size, 1.0)
            compressed = np.log1p(self.mu * size) / math.log1p(self.mu)
            level = np.rint(compressed * (self.levels / 2))
            if level.max(initial=0) > 2**31 - 2:
                raise UsageError("μ-law levels would exceed 31 bits; use fewer levels or a larger x_max")
            out[i : i + _BLOCK] = np.where(value < 0, -level, level)
        return out.reshape(x.shape)

    def reconstruct(self, levels: Int32) -> Float32:
        """Return, per level: float32((exp2(|level|·(2·exponent/levels)) − 1)·(x_max/μ)) with its sign."""
        flat = np.ascontiguousarray(levels, np.int32).reshape(-1)
        out = np.empty(flat.size, np.float32)
        largest = int(np.abs(flat.astype(np.int64)).max(initial=0))
        if largest * (2.0 * self._exponent / self.levels) > 1000:
            raise UsageError("μ-law levels lie beyond float32; the levels are damaged")
        # Few distinct levels: compute each once.
        lookup = self._values(np.arange(largest + 1)) if largest < min(flat.size, 1 << 20) else None
        for i in range(0, flat.size, _BLOCK):
            level = flat[i : i + _BLOCK].astype(np.int64)
            size = np.abs(level)
            value = self._values(size) if lookup is None else lookup[size]
            out[i : i + _BLOCK] = np.where(level < 0, -value, value)
        return out.reshape(levels.shape)

    @property
    def _exponent(self) -> float:
        assert self.exponent is not None, "set when made"
        return self.exponent

    def _values(self, sizes: npt.NDArray[np.int64]) -> Float32:
        y = sizes.astype(np.float64) * (2.0 * self._exponent / self.levels)
        with np.errstate(over="ignore"):
            return ((exp2_exact(y) - 1.0) * (self.x_max / self.mu)).astype(np.float32)


@dataclass(frozen=True)
class Minifloat:
    """Small floating point numbers, normalised values only: ±scale·2^(e − bias)·(1 + m/2^q).

    e has p bits, m has q; bias = 2^(p−1) − 1, taken as 0 for p = 0, where the formula gives −½. There is no zero:
    0 becomes the smallest positive value, as in the source. A value goes to the nearest one, the smaller of two
    equally near. Levels: s·(1 + e·2^q + m). Source: Tonin eq. 2.30 and its table 3.5.
    """

    p: int
    q: int
    scale: float = 1.0
    kind: ClassVar[str] = "minifloat"

    def __post_init__(self) -> None:
        if not (0 <= self.p <= 7 and 0 <= self.q <= 12 and self.p + self.q >= 1):
            raise UsageError(
                f"a minifloat has 0–7 exponent and 0–12 mantissa bits, not {self.p} and {self.q}"
            )
        if not 2.0**-60 <= self.scale <= 2.0**60:
            raise UsageError(f"a minifloat's scale must lie between 2**-60 and 2**60, not {self.scale}")

    @cached_property
    def values(self) -> Float64:
        """All positive values, ascending (2^(p+q),), as exact float64 products with the float32 scale."""
        bias = 2 ** (self.p - 1) - 1 if self.p > 0 else 0
        codes = np.arange(1 << (self.p + self.q))
        exponent = (codes >> self.q) - bias
        fraction = 1.0 + (codes & ((1 << self.q) - 1)) / float(1 << self.q)
        return np.ldexp(fraction, exponent) * float(np.float32(self.scale))

    def quantize(self, x: Float32) -> Int32:
        """Return the level of every element of `x` (any shape); none is 0."""
        middles = (self.values[1:] + self.values[:-1]) / 2
        flat = np.ascontiguousarray(x, np.float32).reshape(-1)
        out = np.empty(flat.size, np.int32)
        for i in range(0, flat.size, _BLOCK):
            value = flat[i : i + _BLOCK].astype(np.float64)
            code = 1 + np.searchsorted(middles, np.abs(value), side="left")
            out[i : i + _BLOCK] = np.where(value < 0, -code, code)
        return out.reshape(x.shape)

    def reconstruct(self, levels: Int32) -> Float32:
        """Return each level's value, rounded once to float32; a level no minifloat has is a `UsageError`."""
        size = np.abs(levels.astype(np.int64))
        if size.size and (size.min() < 1 or size.max() > len(self.values)):
            raise UsageError(f"levels outside the minifloat format ({self.p}, {self.q})")
        table = np.concatenate([[0.0], self.values]).astype(np.float32)
        return np.where(levels < 0, -table[size], table[size]).astype(np.float32)


@dataclass(frozen=True)
class Half:
    """IEEE 754 binary16, subnormals included. Levels: s·(the 15 lower bits); −0 becomes +0."""

    kind: ClassVar[str] = "half"

    def quantize(self, x: Float32) -> Int32:
        """Return the level of every element of `x`; values that round to infinity are a `UsageError`."""
        with np.errstate(over="ignore"):
            bits = np.ascontiguousarray(x, np.float32).astype(np.float16).view(np.uint16).astype(np.int32)
        size = bits & 0x7FFF
        if size.size and size.max() >= 0x7C00:
            raise UsageError("values above 65504 do not fit half precision; use another quantizer for them")
        return np.where(bits & 0x8000, -size, size).astype(np.int32)

    def reconstruct(self, levels: Int32) -> Float32:
        """Return the value of every level (any shape)."""
        size = np.abs(levels.astype(np.int64))
        if size.size and size.max() >= 0x7C00:
            raise UsageError("levels outside half precision")
        value = size.astype(np.uint16).view(np.float16).astype(np.float32)
        return np.where(levels < 0, -value, value).astype(np.float32)
