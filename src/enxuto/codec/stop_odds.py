"""Frequencies of magnitudes from few small numbers: for each magnitude the odds of stopping there.

A class of weights is described by its hazards h_0, h_1, …: of the weights whose magnitude is at least m, the share
whose magnitude is m. The last one holds for all larger magnitudes too, which makes the tail geometric; a Laplacian
needs two, one for the zone rounded to zero and one for all else. Hazards are written as odds, in quarter octaves.

Magnitudes above `direct` share tokens, direct + 1 + e for direct + 2^e … direct + 2^(e+1) − 1. Everything is
integer arithmetic (`docs/format.md`, "Coders contexts and trellis"), so that all decoders get the same frequencies.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from enxuto.machine.kernels import clamp, compiled, inlined

__all__ = [
    "BITS",
    "HAZARD",
    "LOWEST",
    "UNIT",
    "frequencies",
    "hazard_of",
    "mean_magnitudes",
    "nearest_odds",
    "with_firsts",
]

BITS = 12  # frequencies of a class sum to 2**BITS
LOWEST = -64  # odds of 2**(LOWEST / 4), the smallest; there are 128
UNIT = 64  # mean magnitudes are multiples of 1/UNIT
_ROOTS = (32768, 38968, 46341, 55109)  # 2**15 · 2**(i/4)

Int64 = npt.NDArray[np.int64]


def hazard_of(exponent: int) -> int:
    """Return 2**16 · o / (1 + o), rounded down, at least 1, for odds o = 2**(exponent / 4), |exponent| ≤ 64."""
    odds = _ROOTS[exponent % 4] << (16 + exponent // 4)  # times 2**31
    return max(1, (odds << 16) // (odds + (1 << 31)))


HAZARD = np.array([hazard_of(exponent) for exponent in range(LOWEST, -LOWEST)], np.int64)
"""`hazard_of` for exponents from `LOWEST`."""


def nearest_odds(share: float) -> int:
    """Return the exponent whose odds are those of `share`, as nearly as it can be written."""
    share = min(max(share, 1e-6), 1 - 1e-6)
    return int(min(max(np.rint(4 * np.log2(share / (1 - share))), LOWEST), -LOWEST - 1))


@inlined
def _at_least_one(value: np.int64) -> np.int64:
    return value if value > 1 else np.int64(1)


@compiled
def frequencies(exponents: Int64, direct: int, groups: int) -> Int64:
    """Return the frequencies (K, direct + 1 + groups) of magnitude tokens for hazards' exponents (K, M).

    Each is at least 1, each class sums to 2**BITS; with up to 64 tokens the most frequent always has enough to
    give. M may exceed what tokens there are.
    """
    tokens = direct + 1 + groups
    out = np.empty((exponents.shape[0], tokens), np.int64)
    last = exponents.shape[1] - 1
    for c in range(exponents.shape[0]):
        left = np.int64(1) << 30
        for m in range(direct + 1):
            hazard = HAZARD[exponents[c, m if m < last else last] - LOWEST]
            mass = left if m == tokens - 1 else (left * hazard) >> 16
            out[c, m] = _at_least_one(mass >> (30 - BITS))
            left -= mass
        stay = 65536 - HAZARD[exponents[c, last] - LOWEST]
        for e in range(groups):
            mass = left if e == groups - 1 else (left * (65536 - stay)) >> 16
            out[c, direct + 1 + e] = _at_least_one(mass >> (30 - BITS))
            left -= mass
            stay = (stay * stay) >> 16
        rest = np.int64(1) << BITS
        largest: Any = np.int64(0)
        for token in range(tokens):
            rest -= out[c, token]
            largest = token if out[c, token] > out[c, largest] else largest
        out[c, largest] += rest
    return out


def with_firsts(exponents: Int64, firsts: Int64) -> Int64:
    """Return `exponents` (K, M) with other first hazards, `firsts` (F, K); one that held for all magnitudes stays last.

    In some states of a trellis the zone of zero is narrower; what lies beyond falls off as in the others.
    """
    rest = exponents[:, min(len(firsts), exponents.shape[1] - 1) :]
    return np.concatenate([firsts.T, rest], axis=1)


@compiled
def mean_magnitudes(table: Int64, direct: int) -> Int64:
    """Return each class's mean magnitude (K,) in 1/UNIT, at least 1; shared tokens count as their smallest."""
    out = np.empty(table.shape[0], np.int64)
    for c in range(table.shape[0]):
        total = np.int64(0)
        for token in range(table.shape[1]):
            magnitude = token if token <= direct else direct + (np.int64(1) << (token - direct - 1))
            total += table[c, token] * clamp(magnitude, np.int64(0), np.int64(1) << 20)
        out[c] = _at_least_one((total * UNIT) >> BITS)
    return out
