"""Ten families of distributions and their maximum-likelihood fits: the source's eight, and two with a free shape.

Gaussian, uniform, exponential and Laplace have closed forms; the others are searched by Nelder–Mead over parameters
that have no bounds (logarithms), on standardised values, from the moments. Shapes are kept in ranges within which the
likelihood is bounded where many values are equal. Needs SciPy (extra `[report]`), when used.

Source: Tonin 2021, section 2.6 (with the absolute value and sign of its eq. 2.38 mended); densities as in scipy.stats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from enxuto.errors import import_optional
from enxuto.weights.densities import density

__all__ = ["FAMILIES", "Family", "FittedFamily"]

Float64 = npt.NDArray[np.float64]
Parameters = tuple[float, ...]

_CLEAR = 1e-6  # standard deviations between a location and the least value, so that rounding does not exchange them
_EVALUATIONS = 600


@dataclass(frozen=True)
class Family:
    """A family: its name here and in scipy.stats, its parameters in that order, and how they are found.

    source: whether Tonin 2021 compares it too. closed: whether they follow from the values as they are, without search.
    """

    name: str
    scipy: str
    parameters: tuple[str, ...]
    source: bool
    closed: bool
    search: Callable[[Float64], Parameters]

    def fit(self, values: Float64) -> FittedFamily:
        """Fit the family to at least two different values. Raises `UsageError` without SciPy."""
        _import_special()
        if self.closed:
            return FittedFamily(self, self.search(values))
        centre, spread = float(np.mean(values)), float(np.std(values))
        *shapes, location, scale = self.search((values - centre) / spread)
        return FittedFamily(self, (*shapes, centre + spread * location, spread * scale))


@dataclass(frozen=True)
class FittedFamily:
    """A member of a family; `arguments` in the order of `family.parameters`."""

    family: Family
    arguments: Parameters

    def named_parameters(self) -> dict[str, float]:
        """Arguments by the names of the parameters."""
        return dict(zip(self.family.parameters, self.arguments, strict=True))

    def density(self, x: Float64) -> Float64:
        """The probability density at each `x`."""
        return density(self.family.scipy, self.arguments, np.asarray(x, np.float64))

    def masses(self, edges: Float64) -> Float64:
        """Probabilities of the bins between ascending `edges` (n,), below the first and above the last: (n + 1,)."""
        frozen = self._scipy_distribution()
        below, above = frozen.cdf(edges), frozen.sf(edges)
        # Above the median the difference of the complements keeps the digits.
        inner = np.where(below[1:] < 0.5, np.diff(below), -np.diff(above))
        return np.concatenate([below[:1], np.maximum(inner, 0.0), above[-1:]])

    def _scipy_distribution(self) -> Any:  # SciPy has no types
        from scipy import stats

        return getattr(stats, self.family.scipy)(*self.arguments)


def _import_special() -> Any:
    return import_optional("scipy.special", "fits of distributions", "SciPy", "report")


def _gaussian(x: Float64) -> Parameters:
    return float(np.mean(x)), float(np.std(x))


def _uniform(x: Float64) -> Parameters:
    return float(x.min()), float(np.ptp(x))


def _exponential(x: Float64) -> Parameters:
    return float(x.min()), float(np.mean(x) - x.min())


def _laplace(x: Float64) -> Parameters:
    middle = float(np.median(x))
    return middle, float(np.mean(np.abs(x - middle)))


def _logistic(x: Float64) -> Parameters:
    def negative_log_likelihood(point: Float64) -> float:
        z = np.abs(x - point[0]) / math.exp(point[1])
        return float(np.mean(z + 2 * np.log1p(np.exp(-z)))) + float(point[1])

    location, scale = _minimise(
        negative_log_likelihood, [float(np.median(x)), math.log(math.sqrt(3) / math.pi)]
    )
    return location, math.exp(scale)


def _cauchy(x: Float64) -> Parameters:
    low, middle, high = np.quantile(x, [0.25, 0.5, 0.75])

    def negative_log_likelihood(point: Float64) -> float:
        z = (x - point[0]) / math.exp(point[1])
        return float(np.mean(np.log1p(z * z))) + float(point[1])

    location, scale = _minimise(
        negative_log_likelihood, [float(middle), math.log(max(0.01, (high - low) / 2))]
    )
    return location, math.exp(scale)


def _student(x: Float64) -> Parameters:
    special = _import_special()

    def negative_log_likelihood(point: Float64) -> float:
        freedom, scale = _bounded_exp(point[0], 0.3, 1e4), math.exp(point[2])
        z = (x - point[1]) / scale
        constant = special.gammaln((freedom + 1) / 2) - special.gammaln(freedom / 2)
        constant -= 0.5 * math.log(freedom * math.pi)
        return float((freedom + 1) / 2 * np.mean(np.log1p(z * z / freedom)) - constant) + float(point[2])

    freedom, location, scale = _minimise(
        negative_log_likelihood, [math.log(5), float(np.median(x)), math.log(0.8)]
    )
    return _bounded_exp(freedom, 0.3, 1e4), location, math.exp(scale)


def _generalised(x: Float64) -> Parameters:
    special = _import_special()

    def negative_log_likelihood(point: Float64) -> float:
        shape, scale = _bounded_exp(point[0], 0.2, 500), math.exp(point[2])
        z = np.abs(x - point[1]) / scale
        constant = math.log(shape / 2) - special.gammaln(1 / shape)
        return float(np.mean(z**shape) - constant) + float(point[2])

    shape, location, scale = _minimise(
        negative_log_likelihood, [math.log(1.2), float(np.median(x)), math.log(0.9)]
    )
    return _bounded_exp(shape, 0.2, 500), location, math.exp(scale)


def _gamma(x: Float64) -> Parameters:
    """Location and shape searched; the scale of most likelihood follows from them."""
    special = _import_special()
    least = float(x.min()) - _CLEAR

    def unpack(point: Float64) -> Parameters:
        location, shape = least - math.exp(point[0]), _bounded_exp(point[1], 0.05, 1e6)
        return shape, location, -location / shape  # the mean of the values is 0

    def negative_log_likelihood(point: Float64) -> float:
        shape, location, scale = unpack(point)
        logs = np.log((x - location) / scale)
        return float(special.gammaln(shape) - (shape - 1) * np.mean(logs) + shape) + math.log(scale)

    skew = max(0.05, float(np.mean(x**3)))  # by moments: shape = 4/skew², location = −2/skew
    start = [math.log(max(1e-3, least + 2 / skew)), math.log(4 / skew**2)]
    return unpack(np.asarray(_minimise(negative_log_likelihood, start)))


def _alpha(x: Float64) -> Parameters:
    special = _import_special()
    least = float(x.min()) - _CLEAR

    def unpack(point: Float64) -> Parameters:
        return _bounded_exp(point[0], 1e-3, 1e3), least - math.exp(point[1]), math.exp(point[2])

    def negative_log_likelihood(point: Float64) -> float:
        shape, location, scale = unpack(point)
        y = (x - location) / scale
        exponent = 0.5 * np.mean((shape - 1 / y) ** 2) + 2 * np.mean(np.log(y))
        return float(exponent + special.log_ndtr(shape)) + 0.5 * math.log(2 * math.pi) + math.log(scale)

    # The middle of y is near 1/a, and its spread 1/a².
    start = [math.log(10.0), math.log(10.0), math.log(10.0 * (10.0 - least))]
    return unpack(np.asarray(_minimise(negative_log_likelihood, start)))


def _bounded_exp(logarithm: float, low: float, high: float) -> float:
    """exp, limited to a range; beyond it the likelihood is flat, and the search turns back."""
    return math.exp(min(max(logarithm, math.log(low)), math.log(high)))


def _minimise(negative_log_likelihood: Callable[[Float64], float], start: list[float]) -> list[float]:
    """The point of least negative log-likelihood found from `start`."""
    from scipy import optimize

    def finite_or_infinite(point: Float64) -> float:
        if not (np.abs(point) < 60).all():
            return math.inf
        value = negative_log_likelihood(point)
        return value if math.isfinite(value) else math.inf

    options = {"xatol": 1e-5, "fatol": 1e-9, "maxfev": _EVALUATIONS, "initial_simplex": _simplex(start)}
    with np.errstate(all="ignore"):
        found = optimize.minimize(finite_or_infinite, start, method="Nelder-Mead", options=options)
    return [float(value) for value in found.x]


def _simplex(start: list[float]) -> Float64:
    """The start, and a corner at half a unit along each parameter."""
    return np.asarray(start) + np.vstack([np.zeros(len(start)), 0.5 * np.eye(len(start))])


FAMILIES: tuple[Family, ...] = (
    Family("Gaussian", "norm", ("mean", "std"), True, True, _gaussian),
    Family("uniform", "uniform", ("least", "width"), True, True, _uniform),
    Family("Cauchy", "cauchy", ("location", "scale"), True, False, _cauchy),
    Family("exponential", "expon", ("least", "scale"), True, True, _exponential),
    Family("gamma", "gamma", ("shape", "location", "scale"), True, False, _gamma),
    Family("Laplace", "laplace", ("location", "scale"), True, True, _laplace),
    Family("alpha", "alpha", ("shape", "location", "scale"), True, False, _alpha),
    Family("logistic", "logistic", ("location", "scale"), True, False, _logistic),
    Family("generalised Gaussian", "gennorm", ("shape", "location", "scale"), False, False, _generalised),
    Family("Student t", "t", ("freedom", "location", "scale"), False, False, _student),
)
"""In the order of the source's section 2.6, then the two it leaves out."""
