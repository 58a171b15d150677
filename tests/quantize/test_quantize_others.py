"""μ-law, minifloat and half against formulas, enumeration and numpy."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enxuto.errors import UsageError
from enxuto.quantize.scalar import (
    SOURCE_MINIFLOATS,
    Half,
    Minifloat,
    MuLaw,
    exp2_exact,
    short_float32,
)

LN2 = Fraction(0)
for _k in range(1, 200):
    LN2 += Fraction(1, _k * 2**_k)  # ln 2 = Σ 1/(k·2^k), here to 2^-200


def power_of_two(y: float) -> Fraction:
    """2**y to far more than double precision: 2**⌊y⌋·Σ u^k/k!, u = (y mod 1)·ln 2."""
    whole = math.floor(y)
    u = (Fraction(y) - whole) * LN2
    u = Fraction(int(u * 2**220), 2**220)
    total = term = Fraction(1)
    for k in range(1, 40):
        term = Fraction(int(term * u / k * 2**220), 2**220)
        total += term
    return total * Fraction(2) ** whole


@settings(max_examples=150, deadline=None)
@given(st.floats(0, 900))
def test_exp2_within_three_units_in_the_last_place(y: float) -> None:
    found = float(exp2_exact(np.array([y]))[0])
    exact = power_of_two(y)
    assert abs(Fraction(found) - exact) <= 3 * Fraction(math.ulp(float(exact)))


def test_exp2_of_whole_numbers_is_exact() -> None:
    assert exp2_exact(np.arange(0.0, 1000.0)).tolist() == [2.0**n for n in range(1000)]


@pytest.mark.parametrize(("levels", "mu", "x_max"), [(256, 255.0, 1.0), (16, 16.0, 1.0), (4096, 4096.0, 0.3)])
def test_mu_law_agrees_with_the_formula(levels: int, mu: float, x_max: float) -> None:
    quantizer = MuLaw(levels, mu, x_max)
    x = np.random.default_rng(0).uniform(-x_max, x_max, 2000).astype(np.float32)
    step = 2 * x_max / levels
    for value, level, back in zip(
        x.tolist(), quantizer.quantize(x).tolist(), quantizer.reconstruct(quantizer.quantize(x)), strict=True
    ):
        compressed = x_max * math.log(1 + mu * abs(value) / x_max) / math.log(1 + mu)
        assert abs(abs(level) - compressed / step) <= 0.5 + 1e-9
        assert level == 0 or (level > 0) == (value > 0)
        coarse = abs(level) * step
        expanded = x_max / mu * ((1 + mu) ** (coarse / x_max) - 1)
        assert back == pytest.approx(math.copysign(expanded, value), rel=1e-6, abs=1e-12)


def test_mu_law_by_hand() -> None:
    """μ = 255, 256 levels: c(1) = 1 → level 128, and 255·x = 15 → ln 16/ln 256 = ½ → level 64 → x̂ = 15/255."""
    quantizer = MuLaw(256, 255.0)
    x = np.array([0, 1, -1, 15 / 255, -15 / 255], np.float32)
    assert quantizer.quantize(x).tolist() == [0, 128, -128, 64, -64]
    expected = [0, 1, -1, np.float32(15 / 255), -np.float32(15 / 255)]
    assert quantizer.reconstruct(quantizer.quantize(x)) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=40),
    st.integers(1, 16),
    st.floats(0.5, 5000),
    st.floats(0.01, 10),
)
def test_mu_law_properties(numbers: list[float], bits: int, mu: float, x_max: float) -> None:
    x = np.array(numbers, np.float32)
    quantizer = MuLaw(2**bits, mu, x_max)
    levels = quantizer.quantize(x)
    values = quantizer.reconstruct(levels)
    assert quantizer.quantize(-x).tolist() == (-levels).tolist()
    assert (np.diff(levels[np.argsort(x)]) >= 0).all()
    clipped = MuLaw(2**bits, mu, x_max, clip=True).quantize(x)
    assert np.abs(clipped).max() <= 2 ** (bits - 1)
    assert clipped.tolist() == np.clip(levels, -(2 ** (bits - 1)), 2 ** (bits - 1)).tolist()
    finite = np.isfinite(values)
    if bits <= 12 and finite.all():
        assert quantizer.quantize(values).tolist() == levels.tolist()


def test_mu_law_lookup_and_direct_computation_agree() -> None:
    quantizer = MuLaw(2**20, 1000.0, 0.7)
    levels = np.random.default_rng(0).integers(-(2**19), 2**19, 300).astype(np.int32)
    many = np.resize(levels, 2**19 + 300)  # more elements than the largest level: by lookup
    assert quantizer.reconstruct(many)[:300].tobytes() == quantizer.reconstruct(levels).tobytes()


@pytest.mark.parametrize(
    "arguments",
    [(1, 255.0), (2**25, 255.0), (256, 0.0), (256, -1.0), (256, math.nan), (256, 1.0, 0.0), (256, 1.0, math.inf),
     (256, 1.0, 1.0, 0.0), (256, 1.0, 1.0, 65.0), (256, 1.0, 1.0, math.nan)],
)  # fmt: skip
def test_mu_law_parameters_that_make_no_sense(arguments: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="μ-law"):
        MuLaw(*arguments)  # type: ignore[arg-type]


def test_mu_law_levels_that_no_quantizer_gives() -> None:
    levels = np.array([2**31 - 1, -(2**31), 0], np.int32)
    with pytest.raises(UsageError, match="damaged"):
        MuLaw(2, 255.0).reconstruct(levels)
    with pytest.raises(UsageError, match="μ-law"):
        MuLaw(2, 1e-300, 1e29, 64.0)  # x_max/μ is infinite


def every_value(p: int, q: int) -> list[Fraction]:
    """All positive values of the format, from the formula of the source: 2^(e − bias)·(1 + m/2^q)."""
    bias = 2 ** (p - 1) - 1 if p else 0
    return [Fraction(2) ** (e - bias) * (1 + Fraction(m, 2**q)) for e in range(2**p) for m in range(2**q)]


@pytest.mark.parametrize(("p", "q"), [*SOURCE_MINIFLOATS, (5, 2), (0, 1), (1, 0), (6, 0), (2, 7), (7, 1)])
@pytest.mark.parametrize("scale", [1.0, 0.125, 3.0])
def test_minifloats_take_the_nearest_value(p: int, q: int, scale: float) -> None:
    quantizer = Minifloat(p, q, scale)
    values = [value * Fraction(scale) for value in every_value(p, q)]
    assert [Fraction(float(value)) for value in quantizer.values] == values
    assert len(set(values)) == 2 ** (p + q)
    rng = np.random.default_rng(p * 16 + q)
    spread = np.exp(rng.uniform(math.log(float(values[0]) / 8), math.log(float(values[-1]) * 8), 60))
    middles = [float((a + b) / 2) for a, b in itertools.pairwise(values)]
    x = np.concatenate([spread, rng.choice(middles or [1.0], 20), [0.0, float(values[-1])]]).astype(
        np.float32
    )
    x = np.concatenate([x, -x[x > 0]])
    levels = quantizer.quantize(x)
    assert (levels != 0).all()
    back = quantizer.reconstruct(levels)
    for value, level, found in zip(x.tolist(), levels.tolist(), back.tolist(), strict=True):
        size = Fraction(abs(value))
        near = (
            range(max(0, abs(level) - 9), min(len(values), abs(level) + 9))
            if len(values) > 300
            else range(len(values))
        )
        nearest = min(near, key=lambda i: (abs(values[i] - size), values[i]))
        assert abs(level) == nearest + 1
        assert (level < 0) == (value < 0)
        assert found == math.copysign(np.float32(float(values[nearest])), value)
    assert quantizer.quantize(back).tolist() == levels.tolist()


def test_minifloat_values_by_hand() -> None:
    assert Minifloat(2, 1).values.tolist() == [0.5, 0.75, 1, 1.5, 2, 3, 4, 6]
    assert Minifloat(0, 3).values.tolist() == [1, 1.125, 1.25, 1.375, 1.5, 1.625, 1.75, 1.875]
    assert Minifloat(1, 2).values.tolist() == [1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5]
    assert Minifloat(2, 1).quantize(np.array([0, 0.1, -0.1, 0.625, 100], np.float32)).tolist() == [
        1,
        1,
        -1,
        1,
        8,
    ]


@pytest.mark.parametrize("level", [0, 17, -17, 2**31 - 1, -(2**31)])
def test_levels_no_minifloat_has(level: int) -> None:
    with pytest.raises(UsageError, match="outside the minifloat format"):
        Minifloat(2, 2).reconstruct(np.array([1, level], np.int32))


@pytest.mark.parametrize(
    "arguments", [(-1, 3), (8, 3), (3, 13), (0, 0), (3, 3, 0.0), (3, 3, 2.0**61), (3, 3, math.nan)]
)
def test_minifloats_that_make_no_sense(arguments: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="minifloat"):
        Minifloat(*arguments)  # type: ignore[arg-type]


def test_half_on_all_65536_patterns() -> None:
    patterns = np.arange(65536, dtype=np.uint16)
    halves = patterns.view(np.float16)
    finite = np.isfinite(halves)
    x = halves[finite].astype(np.float32)
    levels = Half().quantize(x)
    signed = np.where(patterns & 0x8000, -(patterns & 0x7FFF).astype(int), patterns & 0x7FFF)
    assert levels.tolist() == signed[finite].tolist()
    back = Half().reconstruct(levels)
    assert back.tolist() == x.tolist()
    assert not np.signbit(back[levels == 0]).any()
    for level in signed[~finite].tolist():
        with pytest.raises(UsageError, match="outside half"):
            Half().reconstruct(np.array([level], np.int32))
    with pytest.raises(UsageError, match="outside half"):
        Half().reconstruct(np.array([-(2**31)], np.int32))


def test_half_rounds_as_numpy_does_and_refuses_what_is_too_large() -> None:
    x = (np.random.default_rng(0).standard_normal(5000) * 10.0 ** np.arange(-9, 1).repeat(500)).astype(
        np.float32
    )
    assert Half().reconstruct(Half().quantize(x)).tolist() == x.astype(np.float16).astype(np.float32).tolist()
    assert Half().quantize(np.array([65519.0], np.float32)).tolist() == [0x7BFF]
    with pytest.raises(UsageError, match="65504"):
        Half().quantize(np.array([65520.0], np.float32))


@settings(deadline=None)
@given(st.floats(2.0**-126, 1e38))
def test_short_float32_is_short_and_the_same_float32(value: float) -> None:
    short = short_float32(value)
    assert np.float32(short) == np.float32(value)
    assert short == float(f"{short:.9g}")
