"""Whether neighbouring weights of a layer depend on each other, along each axis of its tensor.

Along an axis (output channels, input channels, rows and columns of a kernel) each weight has a neighbour. Pairs are
drawn at random, so that a layer costs the same whatever its size. Computed from the pairs: autocovariance at lags 1, 2,
3 over the variance (correlation), and the mutual information of lag 1 in bits, over a table of 16 × 16 bins of equal
counts. A table of finite counts is never flat, so independent pairs seem to inform each other too. Shuffled pairs show
by how much: their mean is subtracted, and their spread tells what is more than chance.

Weights can be uncorrelated and yet dependent, above all when channels differ in scale; `scale_share` is the share of
the variance of log |w| that the position along an axis explains.

Source: Tonin 2021, section 3.2, which leaves this open for its cost. The correction is that by surrogates of Roulston
1999, Physica D 125.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from enxuto.onnx_model import Model, Role, WeightInfo, check_finite
from enxuto.progress import ItemProgress, ProgressCounter
from enxuto.weights.distribution import learned_weights

__all__ = [
    "AxisDependency",
    "LayerDependency",
    "layer_dependencies",
    "measure_dependency",
    "mutual_information",
]

LAGS = (1, 2, 3)
_PAIRS = 50_000
_SHUFFLES = 20
_LEVELS = 16
_FEWEST = 1000  # pairs; below that 256 cells hold too few each
_SCALES = 200_000  # weights of which scales are compared

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AxisDependency:
    """Dependence along one axis of `length`; `pairs` of neighbours were drawn.

    correlation: autocovariance over variance, at the lags that fit (`LAGS`). information: mutual information of a
    weight and its neighbour in bits, less that of chance (so it can be slightly below 0). chance, chance_std: mean and
    standard deviation of the information of shuffled pairs. scale_share: 0…1.
    """

    axis: str
    length: int
    pairs: int
    correlation: tuple[float, ...]
    information: float
    chance: float
    chance_std: float
    scale_share: float

    @property
    def significant(self) -> bool:
        """Whether the information is more than four spreads above chance."""
        return self.information > 4 * self.chance_std


@dataclass(frozen=True)
class LayerDependency:
    """Dependence within one tensor, along each axis with enough neighbours."""

    name: str
    role: str
    shape: tuple[int, ...]
    axes: tuple[AxisDependency, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values."""
        axes = [{**asdict(one), "significant": one.significant} for one in self.axes]
        return {"name": self.name, "role": self.role, "shape": list(self.shape), "axes": axes}


def layer_dependencies(
    model: Model, *, seed: int = 0, progress: ItemProgress | None = None
) -> list[LayerDependency]:
    """`measure_dependency` of every kernel and matrix of a model that has an axis with neighbours enough."""
    wanted = {Role.KERNEL, Role.DEPTHWISE, Role.MATRIX}
    infos = [info for info in learned_weights(model) if info.role in wanted and info.elements > _FEWEST]
    found = []
    done = ProgressCounter(sum(info.elements for info in infos), progress)
    for info in infos:
        array = model.load(info.name)
        check_finite(info.name, array)
        one = measure_dependency(np.asarray(array, np.float32), info, seed=seed)
        if one.axes:
            found.append(one)
        done.add(info.elements)
    return found


def measure_dependency(
    values: npt.NDArray[np.float32], info: WeightInfo, *, seed: int = 0
) -> LayerDependency:
    """Dependence along the axes of a tensor (the shape of `info`); the same seed draws the same pairs."""
    generator = np.random.default_rng(seed)
    axes = [
        _measure_axis(values, axis, name, generator)
        for axis, name in enumerate(_axis_names(info))
        if values.shape[axis] > 1 and values.size // values.shape[axis] * (values.shape[axis] - 1) >= _FEWEST
    ]
    varied = values.size > 0 and float(np.ptp(values)) > 0
    return LayerDependency(info.name, str(info.role), info.shape, tuple(axes) if varied else ())


def mutual_information(left: npt.NDArray[Any], right: npt.NDArray[Any], levels: int = _LEVELS) -> float:
    """Mutual information in bits of pairs of values (n,), by a table of levels × levels bins of equal counts.

    It is not corrected for chance: never below 0, and above 0 for independent values too. Equal values share a bin.
    """
    return _table_bits(_bins(left, levels), _bins(right, levels), levels)


def _measure_axis(
    values: npt.NDArray[np.float32], axis: int, name: str, generator: np.random.Generator
) -> AxisDependency:
    # (lines, length): each line runs along the axis
    lines = np.moveaxis(values, axis, -1).reshape(-1, values.shape[axis])
    variance = float(np.var(lines, dtype=np.float64)) or 1.0
    mean = float(np.mean(lines, dtype=np.float64))
    correlation = []
    for lag in (lag for lag in LAGS if lag < lines.shape[1]):
        left, right = _pairs(lines, lag, generator)
        correlation.append(float(np.mean((left - mean) * (right - mean))) / variance)
    left, right = _pairs(lines, 1, generator)
    first, second = _bins(left, _LEVELS), _bins(right, _LEVELS)
    measured = _table_bits(first, second, _LEVELS)
    shuffled = [_table_bits(first, generator.permutation(second), _LEVELS) for _ in range(_SHUFFLES)]
    chance = float(np.mean(shuffled))
    return AxisDependency(
        axis=name,
        length=lines.shape[1],
        pairs=left.size,
        correlation=tuple(correlation),
        information=measured - chance,
        chance=chance,
        chance_std=float(np.std(shuffled, ddof=1)),
        scale_share=_scale_share(lines, generator),
    )


def _pairs(
    lines: npt.NDArray[np.float32], lag: int, generator: np.random.Generator
) -> tuple[Float64, Float64]:
    """Weights and those `lag` further on: all pairs of (lines, length), or as many as are drawn, without return."""
    width = lines.shape[1] - lag
    total = lines.shape[0] * width
    chosen = (
        np.arange(total) if total <= _PAIRS else generator.choice(total, _PAIRS, replace=False, shuffle=False)
    )
    row, column = chosen // width, chosen % width
    return lines[row, column].astype(np.float64), lines[row, column + lag].astype(np.float64)


def _bins(values: npt.NDArray[Any], levels: int) -> npt.NDArray[np.int64]:
    """The bin of each value (n,), bins of equal counts but for equal values."""
    inner = np.quantile(values, np.arange(1, levels) / levels)
    return np.searchsorted(inner, values, side="right")


def _table_bits(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], levels: int) -> float:
    table = np.bincount(first * levels + second, minlength=levels * levels).reshape(levels, levels)
    joint = table / first.size
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    there = joint > 0
    return float(np.sum(joint[there] * np.log2(joint[there] / apart[there])))


def _scale_share(lines: npt.NDArray[np.float32], generator: np.random.Generator) -> float:
    """Share of the variance of log |w| between positions along the axis, less that of chance (ω²), without zeros."""
    rows = max(2, _SCALES // lines.shape[1])
    drawn = lines if len(lines) <= rows else lines[np.sort(generator.choice(len(lines), rows, replace=False))]
    sizes = np.abs(drawn.astype(np.float64))
    there = sizes > 0
    logs = np.log(np.where(there, sizes, 1.0))
    counts = there.sum(axis=0)
    groups, total = int(np.count_nonzero(counts)), int(counts.sum())
    if total <= groups or groups < 2:
        return 0.0
    mean = logs.sum() / total
    means = logs.sum(axis=0) / np.maximum(1, counts)
    between = float(np.sum(counts * (means - mean) ** 2))
    within = float(np.sum(np.where(there, (logs - means) ** 2, 0.0))) / (total - groups)
    if not between + within > 0:
        return 0.0
    share = (between - (groups - 1) * within) / (between + within * (total - groups) + within)
    return max(0.0, share)


def _axis_names(info: WeightInfo) -> list[str]:
    """The names of a tensor's axes: channels, then the kernel's axes, or the two of a matrix."""
    rank = len(info.shape)
    if info.role is Role.MATRIX and rank == 2:
        return ["outputs", "inputs"] if info.axis == 0 else ["inputs", "outputs"]
    if info.role in (Role.KERNEL, Role.DEPTHWISE) and rank >= 3:
        channels = ["inputs", "outputs"] if info.axis == 1 else ["outputs", "inputs"]
        places = (
            ["kernel rows", "kernel columns"] if rank == 4 else [f"kernel axis {n}" for n in range(rank - 2)]
        )
        return channels + places
    return [f"axis {number}" for number in range(rank)]
