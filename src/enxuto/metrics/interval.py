"""How far a measured share, or a difference of two shares of the same samples, can be from the true one."""

from __future__ import annotations

from collections.abc import Callable
from math import copysign, exp, inf, lgamma, log, log1p, sqrt
from statistics import NormalDist

from enxuto.errors import UsageError

__all__ = ["binomial_tail", "paired_interval", "wilson_interval"]

_HALVINGS = 60  # of the interval −1…1: down to the last bit


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share of `successes` out of `n` (Wilson 1927), both ends in 0…1.

    Raises `UsageError` for counts or a confidence that make no sense.
    """
    if n < 1 or not 0 <= successes <= n:
        raise UsageError(f"{successes} successes out of {n} is no share; n must be 1 or more")
    z = _normal_quantile(confidence)
    share = successes / n
    scale = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    # Rounding must not push the ends past the share itself, nor past 0 and 1.
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))


def paired_interval(
    only_first: int, only_second: int, n: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Tango's score interval for the difference of two shares of the same `n` samples, both ends in −1…1.

    only_first: samples that count for the first share alone, only_second: for the second alone; the difference is
    (only_first − only_second)/n. The interval holds every difference that a score test does not reject, its variance
    taken with the likeliest shares that have this difference. So it has a width where no sample differs, ±z²/(n + z²),
    as an interval from the observed variance (Wald's) has not.

    Source: Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", Statistics in Medicine 17:891–908. Raises `UsageError` as `wilson_interval` does.
    """
    if n < 1 or only_first < 0 or only_second < 0 or only_first + only_second > n:
        raise UsageError(f"{only_first} and {only_second} of {n} samples are no paired counts")
    z = _normal_quantile(confidence)
    found = (only_first - only_second) / n

    def distance(difference: float) -> float:
        """The test's statistic, which falls as the difference rises."""
        slack = difference * (1 - difference)
        linear = (2 * n - only_first + only_second) * difference - only_first - only_second
        likeliest = (sqrt(max(0.0, linear**2 + 8 * n * only_second * slack)) - linear) / (4 * n)
        variance = n * (2 * likeliest + slack)
        apart = only_first - only_second - n * difference
        if variance > 0:
            return apart / sqrt(variance)
        return copysign(inf, apart) if apart else 0.0

    low = -1.0 if distance(-1.0) < z else _crossing(distance, z, -1.0, found)
    high = 1.0 if distance(1.0) > -z else _crossing(distance, -z, found, 1.0)
    return low, high


def binomial_tail(successes: int, n: int, chance: float) -> float:
    """Return the chance of `successes` or more out of `n`, each with `chance`: the exact binomial test's p-value.

    Raises `UsageError` for counts or a chance that make no sense.
    """
    if n < 1 or not 0 <= successes <= n or not 0 <= chance <= 1:
        raise UsageError(f"{successes} successes out of {n} at a chance of {chance} make no sense")
    if chance in (0.0, 1.0):
        return float(chance == 1 or successes == 0)
    # By ratios from the term nearest to the mean on, that from its logarithm: powers underflow, factorials overflow.
    upper = successes > n * chance
    count = successes if upper else successes - 1
    if count < 0:
        return 1.0
    start = lgamma(n + 1) - lgamma(count + 1) - lgamma(n - count + 1)
    term = exp(start + count * log(chance) + (n - count) * log1p(-chance))
    odds = chance / (1 - chance)
    total = 0.0
    while term > 0 and 0 <= count <= n:
        total += term
        term *= odds * (n - count) / (count + 1) if upper else count / (odds * (n - count + 1))
        count += 1 if upper else -1
    return min(1.0, total) if upper else max(0.0, 1 - total)


def _normal_quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise UsageError(f"confidence is {confidence}; it must lie between 0 and 1")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _crossing(function: Callable[[float], float], level: float, low: float, high: float) -> float:
    """Where a falling function crosses a level."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if function(middle) > level:
            low = middle
        else:
            high = middle
    return (low + high) / 2
