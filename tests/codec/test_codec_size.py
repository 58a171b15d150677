"""What the coder promises of size: within 0.5 % of the order-0 entropy plus 64 bytes, from 10,000 levels on.

No static coder can promise that of *every* tensor of 10,000 levels: its payload holds the levels and the table, and
where the alphabet is comparable to the number of levels the table is as much information as the levels. 10,000
levels that are all different have an entropy of log2 10,000 = 13.3 bits each, 16.6 KB, but an ideal code for which
of the 2^20 possible levels they are needs log2 C(2^20, 10,000)/10,000 = 8.1 bits more for each. The promise is
therefore tested where a table is small beside its levels: up to 7.5 bits at 10,000 levels, more with more levels.
"""

from __future__ import annotations

import constriction
import numpy as np
import pytest

from enxuto.codec import decode_levels, encode_levels, entropy

RNG = np.random.default_rng


def laplace(size: int, scale: float) -> np.ndarray:
    return np.rint(RNG(1).laplace(0, scale, size))


def gauss(size: int, scale: float) -> np.ndarray:
    return np.rint(RNG(2).normal(0, scale, size))


def uniform(size: int, scale: float) -> np.ndarray:
    return RNG(3).integers(-int(scale), int(scale) + 1, size)


def sparse(size: int, share: float) -> np.ndarray:
    return np.where(RNG(4).random(size) < share, RNG(5).integers(-3, 4, size), 0)


def skewed(size: int, scale: float) -> np.ndarray:
    return np.floor(RNG(6).exponential(scale, size))


def bounded(levels: np.ndarray) -> tuple[int, float]:
    """(measured bytes, allowed bytes)"""
    levels = levels.astype(np.int32)
    data = encode_levels(levels)
    assert np.array_equal(decode_levels(data, levels.size), levels)
    return len(data), 1.005 * entropy(levels) * levels.size / 8 + 64


@pytest.mark.parametrize(
    ("source", "size", "parameter"),
    [
        *((laplace, 10_000, scale) for scale in (0.1, 0.5, 0.8, 2, 8, 16, 33)),
        *((gauss, 10_000, scale) for scale in (0.3, 1, 5, 20, 40)),
        *((uniform, 10_000, half) for half in (1, 3, 7, 60, 90)),
        *((sparse, 10_000, share) for share in (0.0, 0.0001, 0.002, 0.02, 0.3)),
        *((skewed, 10_000, scale) for scale in (0.5, 3, 30)),
        *((laplace, 100_000, scale) for scale in (0.8, 16, 130)),
        *((gauss, 100_000, scale) for scale in (20, 100)),
        *((uniform, 100_000, half) for half in (90, 500)),
        (sparse, 1_000_000, 0.02),
        (laplace, 1_000_000, 8),
        (laplace, 1_000_000, 1000),
        (gauss, 1_000_000, 500),
        (uniform, 1_000_000, 2000),
    ],
    ids=lambda value: value.__name__ if callable(value) else f"{value}",
)
def test_within_half_a_percent_of_entropy(source: object, size: int, parameter: float) -> None:
    measured, allowed = bounded(source(size, parameter))  # type: ignore[operator]
    assert measured <= allowed


@pytest.mark.parametrize("outliers", [1, 20])
@pytest.mark.parametrize("largest", [3000, 10**5, 10**6, 2**31 - 1])
@pytest.mark.parametrize("scale", [3.0, 8.0, 30.0])
def test_a_few_outliers_do_not_spoil_a_tensor(scale: float, largest: int, outliers: int) -> None:
    """One weight far out must not cost the others raw bits; each may cost its own."""
    levels = laplace(20_000, scale)
    levels[:outliers] = RNG(0).integers(-largest, largest, outliers)
    levels[0] = largest
    measured, allowed = bounded(levels)
    assert measured <= allowed + 4 * outliers


@pytest.mark.parametrize("share", [0.0, 1e-5, 0.001])
def test_nearly_empty_tensors_pay_for_their_chunks(share: float) -> None:
    """Below 0.15 bits per level the chunks' states and lengths, 23 bytes per 2^18 levels, exceed 0.5 %."""
    levels = sparse(1_000_000, share)
    measured, allowed = bounded(levels)
    assert entropy(levels.astype(np.int32)) < 0.15
    assert measured <= allowed + 23 * -(-levels.size // 2**18)


def test_gaps_between_levels_cost_little() -> None:
    """Only even levels occur: half of the table is empty."""
    measured, allowed = bounded(2 * gauss(200_000, 20))
    assert measured <= allowed


@pytest.mark.parametrize("scale", [0.5, 3.0, 16.0])
def test_as_short_as_constriction_with_the_true_frequencies(scale: float) -> None:
    """Independent oracle: an ANS coder of another project, given the exact frequencies for nothing."""
    levels = laplace(200_000, scale).astype(np.int32)
    values, symbols, counts = np.unique(levels, return_inverse=True, return_counts=True)
    assert values.size > 2
    model = constriction.stream.model.Categorical(counts / levels.size, perfect=False)
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(symbols.astype(np.int32), model)
    theirs = 4 * len(coder.get_compressed())
    assert len(encode_levels(levels)) <= 1.005 * theirs + 64


def test_the_bound_fails_where_the_table_is_the_information() -> None:
    """The module's docstring in numbers: all levels different, and what the best code could do."""
    levels = RNG(7).choice(2**20, 10_000, replace=False).astype(np.int32)
    measured, allowed = bounded(levels)
    assert entropy(levels) == pytest.approx(np.log2(10_000))
    assert measured > allowed
    assert measured <= 1.01 * 20 * 10_000 / 8 + 64  # but no more than the 20 bits each that they are wide
