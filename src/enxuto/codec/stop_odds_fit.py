"""Fit hazards and signs to counts. The bits that writing a number takes count as part of its cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from enxuto.codec.bits import FURTHEST
from enxuto.codec.context_model import USUAL_SIGNS, expected_exponent, first_hazards
from enxuto.codec.stop_odds import HAZARD, LOWEST
from enxuto.machine.kernels import clamp, compiled, inlined

__all__ = [
    "fit_exponents",
    "fit_firsts",
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


def fit_exponents(counts: Floats, direct: int, hazards: int, own: int = 1) -> tuple[Int64, float]:
    """Fit hazards' exponents; the bits that writing them takes count too.

    The first hazards are fitted to the first counts alone, the others to all together.

    Args:
        counts: weights (contexts, K, tokens), by the end of the trellis's state, class and token.
        direct: the last magnitude that has a token of its own.
        hazards: how many exponents each class gets, at least 2.
        own: how many of them each end of the state has for itself.

    Returns:
        The exponents (K, hazards), and about how many bits writing them takes.
    """
    out = np.zeros((counts.shape[1], hazards), np.int64)
    whole = counts.sum(axis=0)
    pooled = whole.sum(axis=0)
    bits = _fit_exponents(counts[0], whole, 0.02 * pooled / pooled.sum(), direct, own, out)
    return out, bits


@compiled
def _fit_exponents(first: Floats, whole: Floats, usual: Floats, direct: int, own: int, out: Int64) -> float:
    """Fill `out` (K, hazards); return about what writing it takes.

    first, whole (K, tokens): counts in states that end in 0 and in all of them; usual (tokens,): what is added to each.
    """
    hazards, bits = out.shape[1], 0.0
    for c in range(out.shape[0] - 1, -1, -1):
        for m in range(hazards):
            stops, goes = 0.0, 0.0
            for token in range(m, usual.shape[0]):
                seen = (first[c, token] if m < own else whole[c, token]) + usual[token]
                magnitude = float(token) if token <= direct else direct + 1.4 * 2.0 ** (token - direct - 1)
                if m < hazards - 1:
                    stops += seen if token == m else 0.0
                    goes += seen if token > m else 0.0
                else:
                    stops += seen
                    goes += seen * (magnitude - m)
            expected = expected_exponent(out, c, m)
            out[c, m] = _cheapest(stops, goes, expected)
            bits += _rice_bits(out[c, m] - expected)
    return bits


def fit_firsts(counts: Floats, exponents: Int64, usual: Sequence[int]) -> Int64:
    """Return the first hazards (F, K) for the counts (K, tokens) of one end of the state; writing them counts too.

    usual (F,): what they differ by as a rule from those of states that end in 0.
    """
    pairs = zip(first_hazards(exponents, len(usual)), usual, strict=True)
    return np.stack([_fit_hazard(counts[:, m:], *pair) for m, pair in enumerate(pairs)])


def _fit_hazard(counts: Floats, others: Int64, usual: int) -> Int64:
    """Return a hazard (K,) for counts (K, tokens) of magnitudes that it stops at the first of, beside `others` (K,)."""
    out = np.zeros(len(others), np.int64)
    _fit_one(counts[:, :1].sum(axis=1), counts[:, 1:].sum(axis=1), others, usual, out)
    return out


@compiled
def _fit_one(stops: Floats, goes: Floats, others: Int64, usual: int, out: Int64) -> None:
    """Fill a hazard (K,) for how often it stops and goes on (K,), beside `others` (K,)."""
    narrower = usual
    for c in range(len(others) - 1, -1, -1):
        found = _cheapest(stops[c], goes[c], clamp(others[c] + narrower, LOWEST, -LOWEST - 1))
        # Differences of differences have to fit the code that writes them.
        narrower = clamp(found - others[c], -60, 60)
        out[c] = others[c] + narrower


def sign_bits(signs: Int64, odds: Int64) -> float:
    """Return the bits of signs counted (B, 3, 2) as like the neighbours' and not, where those have odds (B, 3)."""
    return float(np.sum(signs[..., 0] * _STOP[odds - LOWEST] + signs[..., 1] * _GO[odds - LOWEST]))
