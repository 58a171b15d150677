"""Fit hazards and signs to counts. The bits that writing a number takes count as part of its cost."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from enxuto.codec.bits import FURTHEST
from enxuto.codec.context_model import USUAL_NARROWER, USUAL_SIGNS, expected_exponent
from enxuto.codec.stop_odds import HAZARD, LOWEST
from enxuto.machine.kernels import clamp, compiled, inlined

__all__ = [
    "fit_exponents",
    "fit_zeros",
    "laplacian_exponents",
    "sign_bits",
    "sign_exponents",
]

Int64 = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_STOP = np.log2(65536.0 / HAZARD)
_GO = np.log2(65536.0 / (65536.0 - HAZARD))


def laplacian_exponents(scales: Floats) -> Int64:
    """Hazards of Laplacians of those mean magnitudes, rounded to nearest."""
    decay = scales[:, None] / (1 + scales[:, None])
    stay = np.concatenate([np.sqrt(decay), decay], axis=1)
    odds = np.rint(4 * np.log2((1 - stay) / stay))
    return np.asarray(np.clip(odds, LOWEST, -LOWEST - 1), np.int64)


def sign_exponents(signs: Int64) -> Int64:
    """Odds (B, 3) that signs are the neighbours'; the bits of writing each after the one before count too."""
    out = np.zeros(signs.shape[:2], np.int64)
    for sure, size in np.ndindex(*out.shape):
        before = out[sure - 1, size] - USUAL_SIGNS[sure - 1, size] if sure else 0
        expected = int(before + USUAL_SIGNS[sure, size])
        out[sure, size] = _cheapest(float(signs[sure, size, 0]), float(signs[sure, size, 1]), expected)
    return out


@inlined
def _rice_bits(difference: int) -> int:
    """Bits of a signed number in a Golomb–Rice code with one low bit."""
    folded = 2 * difference - 1 if difference > 0 else -2 * difference
    bits: int = clamp((folded >> 1) + 2, 2, 20)
    return bits


@compiled
def _cheapest(stops: float, goes: float, expected: int) -> int:
    """Return the exponent that makes `stops`, `goes` and its own writing take the fewest bits in all."""
    best, least = expected, np.inf
    for index in range(HAZARD.shape[0]):
        # What signs are expected to be may lie beyond the odds there are, and further away than can be written.
        if abs(index + LOWEST - expected) > FURTHEST:
            continue
        bits = stops * _STOP[index] + goes * _GO[index] + _rice_bits(index + LOWEST - expected)
        if bits < least:
            best, least = index + LOWEST, bits
    return best


def fit_exponents(counts: Floats, direct: int, hazards: int) -> tuple[Int64, float]:
    """Fit hazards' exponents; the bits that writing them takes count too.

    The hazard of zero is fitted to even states alone, the others to even and odd states together.

    Args:
        counts: weights (1 or 2, K, tokens), in even and odd states, by class and token.
        direct: the last magnitude that has a token of its own.
        hazards: how many exponents each class gets, at least 2.

    Returns:
        The exponents (K, hazards), and about how many bits writing them takes.
    """
    out = np.zeros((counts.shape[1], hazards), np.int64)
    whole = counts.sum(axis=0)
    pooled = whole.sum(axis=0)
    bits = _fit_exponents(counts[0], whole, 0.02 * pooled / pooled.sum(), direct, out)
    return out, bits


@compiled
def _fit_exponents(even: Floats, whole: Floats, usual: Floats, direct: int, out: Int64) -> float:
    """Fill `out` (K, hazards); return about what writing it takes.

    even, whole (K, tokens): counts in even states and in all of them; usual (tokens,): counts added to every class.
    """
    hazards, bits = out.shape[1], 0.0
    for c in range(out.shape[0] - 1, -1, -1):
        for m in range(hazards):
            stops, goes = 0.0, 0.0
            for token in range(m, usual.shape[0]):
                own = (even[c, token] if m == 0 else whole[c, token]) + usual[token]
                magnitude = float(token) if token <= direct else direct + 1.4 * 2.0 ** (token - direct - 1)
                if m < hazards - 1:
                    stops += own if token == m else 0.0
                    goes += own if token > m else 0.0
                else:
                    stops += own
                    goes += own * (magnitude - m)
            expected = expected_exponent(out, c, m)
            out[c, m] = _cheapest(stops, goes, expected)
            bits += _rice_bits(out[c, m] - expected)
    return bits


def fit_zeros(counts: Floats, exponents: Int64) -> Int64:
    """Return the odds of zero (K,) in odd states for their counts (K, tokens); the bits of writing them count too."""
    out = np.zeros(exponents.shape[0], np.int64)
    narrower = USUAL_NARROWER
    for c in range(exponents.shape[0] - 1, -1, -1):
        own = int(exponents[c, 0])
        expected = min(max(own + narrower, LOWEST), -LOWEST - 1)
        found = _cheapest(float(counts[c, 0]), float(counts[c, 1:].sum()), expected)
        # Differences of differences have to fit the code that writes them.
        narrower = min(max(found - own, -60), 60)
        out[c] = own + narrower
    return out


def sign_bits(signs: Int64, odds: Int64) -> float:
    """Return the bits of signs counted (B, 3, 2) as like the neighbours' and not, where those have odds (B, 3)."""
    return float(np.sum(signs[..., 0] * _STOP[odds - LOWEST] + signs[..., 1] * _GO[odds - LOWEST]))
