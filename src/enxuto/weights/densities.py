"""Densities of the ten families of distributions by their formulas: what is fitted can be drawn without SciPy.

Standardised: location 0, scale 1. Source: the definitions of scipy.stats, by the families' names there.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = ["density"]

Float64 = npt.NDArray[np.float64]


def density(family: str, arguments: tuple[float, ...], x: Float64) -> Float64:
    """The density at each `x` of a family by its name in scipy.stats, arguments (shape…, location, scale) as there.

    NaN where a scale or a shape is not positive, of which there is no distribution.
    """
    *shapes, location, scale = arguments
    if not (scale > 0 and all(shape > 0 for shape in shapes)):
        return np.full(np.shape(x), np.nan)
    with np.errstate(all="ignore"):
        return np.asarray(_STANDARD[family]((x - location) / scale, *shapes) / scale, np.float64)


def _gaussian(z: Float64) -> Float64:
    return np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _uniform(z: Float64) -> Float64:
    return np.where((z >= 0) & (z <= 1), 1.0, 0.0)


def _cauchy(z: Float64) -> Float64:
    return 1 / (math.pi * (1 + z * z))


def _exponential(z: Float64) -> Float64:
    return np.where(z >= 0, np.exp(-z), 0.0)


def _gamma(z: Float64, shape: float) -> Float64:
    inside = np.exp((shape - 1) * np.log(np.maximum(z, 0.0)) - z - math.lgamma(shape))
    at_zero = math.inf if shape < 1 else 1.0 if shape == 1 else 0.0
    return np.where(z > 0, inside, np.where(z == 0, at_zero, 0.0))


def _laplace(z: Float64) -> Float64:
    return np.exp(-np.abs(z)) / 2


def _alpha(z: Float64, shape: float) -> Float64:
    below = math.erfc(-shape / math.sqrt(2)) / 2  # the normal distribution up to the shape
    inside = np.exp(-((shape - 1 / z) ** 2) / 2) / (z * z * below * math.sqrt(2 * math.pi))
    return np.where(z > 0, inside, 0.0)


def _logistic(z: Float64) -> Float64:
    tail = np.exp(-np.abs(z))
    return np.asarray(tail / (1 + tail) ** 2)


def _generalised(z: Float64, shape: float) -> Float64:
    return np.exp(math.log(shape / 2) - math.lgamma(1 / shape) - np.abs(z) ** shape)


def _student(z: Float64, freedom: float) -> Float64:
    constant = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(math.pi * freedom) / 2
    return np.exp(constant - (freedom + 1) / 2 * np.log1p(z * z / freedom))


_STANDARD: dict[str, Callable[..., Float64]] = {
    "norm": _gaussian,
    "uniform": _uniform,
    "cauchy": _cauchy,
    "expon": _exponential,
    "gamma": _gamma,
    "laplace": _laplace,
    "alpha": _alpha,
    "logistic": _logistic,
    "gennorm": _generalised,
    "t": _student,
}
