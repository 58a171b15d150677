"""What weights look like: a histogram centred on their mean, and how close each family of distributions comes.

Each family is fitted by maximum likelihood to 2,001 evenly spaced order statistics (all values where there are fewer),
so that a network of a hundred million weights takes as long as a layer. It is then compared with the histogram of all
values: SSE between densities at the middle of the bins, and D(P‖Q) in nats over the bins and the two ends outside.

Source: Tonin 2021, sections 2.8 and 3.3, which compares eight families and ranks them in its tables 3.2 and 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from enxuto.onnx_model import Model, Role, WeightInfo, check_finite
from enxuto.progress import ItemProgress, ProgressCounter
from enxuto.weights.families import FAMILIES, FittedFamily

__all__ = [
    "BINS",
    "Measure",
    "Similarity",
    "WeightDistribution",
    "layer_distributions",
    "learned_weights",
    "model_distribution",
    "weight_distribution",
]

Float64 = npt.NDArray[np.float64]
Measure = Literal["sse", "kl"]

BINS = 201  # odd: the mean lies in the middle of a bin
FEWEST = 256
"""Elements of the smallest tensor that gets a histogram of its own."""

_ORDER_STATISTICS = 2001
_OUTSIDE = 0.001  # share of the values that may lie below the histogram, and above it
_LEAST = 1e-300  # stands for a probability of 0, which would make the divergence infinite


@dataclass(frozen=True)
class Similarity:
    """A fitted distribution, and how far it is from the histogram: `sse` of densities, `kl` = D(P‖Q) in nats."""

    fitted: FittedFamily
    sse: float
    kl: float

    @property
    def name(self) -> str:
        """The family's name."""
        return self.fitted.family.name

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values."""
        return {
            "name": self.name,
            "parameters": self.fitted.named_parameters(),
            "sse": self.sse,
            "kl": self.kl,
        }


@dataclass(frozen=True)
class WeightDistribution:
    """The distribution of `count` values: moments, histogram, and all fits in the order of `FAMILIES`.

    kurtosis: excess, 0 for a Gaussian and 3 for Laplace. edges (BINS + 1,), density (BINS,): share of all values per
    unit; inside: the share of the values that lie within the edges. role, shape: of a layer's tensor, else None.
    """

    name: str
    count: int
    mean: float
    std: float
    least: float
    most: float
    kurtosis: float
    inside: float
    edges: Float64
    density: Float64
    similar: tuple[Similarity, ...]
    role: str | None = None
    shape: tuple[int, ...] | None = None

    def rank_fits(self, measure: Measure, *, source_only: bool = False) -> list[Similarity]:
        """Fits from the most similar to the least; `source_only`: of the source's eight families."""
        kept = [one for one in self.similar if one.fitted.family.source or not source_only]
        return sorted(kept, key=lambda one: one.sse if measure == "sse" else one.kl)

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values; fits ranked by SSE."""
        copied = ("name", "role", "count", "mean", "std", "least", "most", "kurtosis", "inside")
        return {
            **{key: getattr(self, key) for key in copied},
            "shape": None if self.shape is None else list(self.shape),
            "edges": [float(self.edges[0]), float(self.edges[-1])],
            "density": [float(value) for value in self.density],
            "fits": [one.to_dict() for one in self.rank_fits("sse")],
        }


def learned_weights(model: Model) -> list[WeightInfo]:
    """All tensors of learned values: kernels, matrices, biases and normalisation, as the source counts them."""
    return [info for info in model.infos() if info.role is not Role.OTHER and info.elements]


def model_distribution(model: Model, name: str) -> WeightDistribution | None:
    """The distribution of all learned values of a model; None where there are none or they are all equal.

    Raises `ModelError` for NaN and infinite values, `UsageError` without SciPy.
    """
    tensors = [_values(model, info) for info in learned_weights(model)]
    return weight_distribution(np.concatenate(tensors), name) if tensors else None


def layer_distributions(model: Model, progress: ItemProgress | None = None) -> list[WeightDistribution]:
    """The distribution of each tensor of `FEWEST` values and more that are not all equal, in the model's order."""
    infos = [info for info in learned_weights(model) if info.elements >= FEWEST]
    found = []
    done = ProgressCounter(sum(info.elements for info in infos), progress)
    for info in infos:
        one = weight_distribution(_values(model, info), info.name, info)
        if one is not None:
            found.append(one)
        done.add(info.elements)
    return found


def weight_distribution(
    values: npt.NDArray[Any], name: str, info: WeightInfo | None = None
) -> WeightDistribution | None:
    """The distribution of finite values (any shape); None where they are all equal."""
    flat = np.asarray(values, np.float64).reshape(-1)
    mean, std = float(flat.mean()) if flat.size else 0.0, float(flat.std()) if flat.size else 0.0
    if not flat.size or flat.min() == flat.max() or not std > 0:
        return None
    edges = _edges(flat, mean)
    counts = np.histogram(flat, edges)[0]
    below = int(np.count_nonzero(flat < edges[0]))
    shares = np.concatenate([[below], counts, [flat.size - below - counts.sum()]]) / flat.size
    density = shares[1:-1] / np.diff(edges)
    sample = _order_statistics(flat)
    similar = tuple(_similarity(family.fit(sample), edges, density, shares) for family in FAMILIES)
    return WeightDistribution(
        name=name,
        count=flat.size,
        mean=mean,
        std=std,
        least=float(flat.min()),
        most=float(flat.max()),
        kurtosis=float(np.mean(((flat - mean) / std) ** 4)) - 3,
        inside=float(shares[1:-1].sum()),
        edges=edges,
        density=density,
        similar=similar,
        role=None if info is None else str(info.role),
        shape=None if info is None else info.shape,
    )


def _values(model: Model, info: WeightInfo) -> npt.NDArray[np.float32]:
    array = model.load(info.name)
    check_finite(info.name, array)
    return np.asarray(array, np.float32).reshape(-1)


def _edges(values: Float64, mean: float) -> Float64:
    """Bins around the mean that leave at most a thousandth of the values outside on either side."""
    low = np.quantile(values, _OUTSIDE, method="lower")
    high = np.quantile(values, 1 - _OUTSIDE, method="higher")
    # A little further, so that rounding leaves no value outside that belongs inside.
    reach = 1.000001 * (max(mean - low, high - mean) or float(np.abs(values - mean).max()))
    edges: Float64 = mean + reach * np.linspace(-1, 1, BINS + 1)
    return edges


def _order_statistics(values: Float64) -> Float64:
    """All values, or some evenly spaced in their order, the least and the largest among them."""
    if values.size <= _ORDER_STATISTICS:
        return np.sort(values)
    ranks = np.rint(np.linspace(0, values.size - 1, _ORDER_STATISTICS)).astype(np.int64)
    sample: Float64 = np.partition(values, ranks)[ranks]
    return sample


def _similarity(fitted: FittedFamily, edges: Float64, density: Float64, shares: Float64) -> Similarity:
    middles = (edges[1:] + edges[:-1]) / 2
    with np.errstate(all="ignore"):
        sse = float(np.sum((density - np.nan_to_num(fitted.density(middles), posinf=0.0)) ** 2))
        expected = np.maximum(np.nan_to_num(fitted.masses(edges)), _LEAST)
    there = shares > 0
    kl = float(np.sum(shares[there] * np.log(shares[there] / expected[there])))
    return Similarity(fitted, sse, max(0.0, kl))
