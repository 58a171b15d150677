"""Whether one model's losses are lower than another's on the same samples by more than chance between samples."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["is_lower"]

_FEWEST = 4  # samples: below, the quantile is not what two terms make it
_ERRORS = 2.0  # standard ones: chance alone goes so far once in 44 times


def is_lower(losses: ArrayLike, than: ArrayLike) -> bool:
    """Say whether the mean of losses (N,) lies below that of others of the same samples by more than chance.

    False for fewer than 4 samples, and where any loss is no number.

    Source: Student's one-sided paired test; its quantile by Abramowitz & Stegun 1964, 26.7.5, two terms.
    """
    differences = np.asarray(than, np.float64) - np.asarray(losses, np.float64)
    free = len(differences) - 1
    if len(differences) < _FEWEST or not np.isfinite(differences).all():
        return False
    z = _ERRORS
    quantile = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    mean, deviation = float(differences.mean()), float(differences.std(ddof=1))
    return mean > quantile * deviation / math.sqrt(free + 1)
