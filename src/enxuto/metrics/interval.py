"""How far a measured share can be from the true one."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

from enxuto.errors import UsageError

__all__ = ["wilson_interval"]


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share of `successes` out of `n` (Wilson 1927), both ends in 0…1.

    Raises `UsageError` for counts or a confidence that make no sense.
    """
    if n < 1 or not 0 <= successes <= n:
        raise UsageError(f"{successes} successes out of {n} is no share; n must be 1 or more")
    if not 0 < confidence < 1:
        raise UsageError(f"confidence is {confidence}; it must lie between 0 and 1")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / n
    scale = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    # Rounding must not push the ends past the share itself, nor past 0 and 1.
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))
