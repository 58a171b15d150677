"""Dependence of neighbouring weights, from `enxuto weights --dependence --json`: layers × axes as maps, and a table.

What is measured, and how, is in `enxuto.weights.dependency`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from enxuto.report.exhibit import Cell, Chart, Frame, Measure, Series
from enxuto.report.values import Checked, Count, Number, Share
from enxuto.weights.dependency import AxisDependency, LayerDependency

__all__ = ["DependentLayer", "dependence_charts", "rebuild"]

_LAGS = 3


class _Axis(Checked):
    axis: str
    length: Count
    pairs: Count
    correlation: Annotated[tuple[Number, ...], Field(min_length=1, max_length=_LAGS)]
    information: Number
    chance: Number
    chance_std: Number
    scale_share: Share


class DependentLayer(Checked):
    """A layer as `LayerDependency.to_dict` gives it."""

    name: str
    role: str
    shape: tuple[Count, ...]
    axes: tuple[_Axis, ...]


def rebuild(layers: Sequence[DependentLayer]) -> list[LayerDependency]:
    """The layers as they were when they were printed."""
    return [
        LayerDependency(
            one.name, one.role, one.shape, tuple(AxisDependency(**vars(axis)) for axis in one.axes)
        )
        for one in layers
    ]


def dependence_charts(name: str, layers: Sequence[LayerDependency]) -> list[Chart]:
    """Two maps of the layers that have an axis with neighbours enough; none where no layer has."""
    columns = (
        "axis", "layer", *(f"lag{lag}" for lag in range(1, _LAGS + 1)), "information", "scale", "shape", "pairs",
        "beyond",
    )  # fmt: skip
    rows = tuple(_row(layer, axis) for layer in layers for axis in layer.axes)
    if not rows:
        return []
    lags = tuple(
        Measure(f"lag{lag}", f"correlation of weights {lag} apart")
        for lag in range(1, _LAGS + 1)
        if any(row[1 + lag] is not None for row in rows)
    )
    frames = (Frame(name, (Series(name, rows, "cells"),)),)
    hover = (("layer", "layer"), ("shape", "shape"), ("pairs", "pairs of neighbours"))
    along = (Measure("axis", "along"),)
    empty = "No cell: too few neighbours along that axis."
    return [
        Chart(
            f"{name}: correlation of neighbouring weights", columns, along, lags, frames, bars="cells", hover=hover,
            note="Autocovariance over variance: 1 for equal neighbours; below 0 (another colour) for opposite ones. "
            f"{empty}",
        ),
        Chart(
            f"{name}: what a weight tells of its neighbour", columns, along,
            (
                Measure("information", "mutual information beyond chance, bits", start=0),
                Measure("scale", "share of the scale that the place explains", start=0),
            ),
            frames, bars="cells", hover=(*hover, ("beyond", "more than chance")),
            note="Uncorrelated weights may depend on each other too, above all where channels differ in scale. "
            f"{empty}",
        ),
    ]  # fmt: skip


def _row(layer: LayerDependency, axis: AxisDependency) -> tuple[Cell, ...]:
    lags = [*axis.correlation, *[None] * (_LAGS - len(axis.correlation))]
    return (
        axis.axis, layer.name, *lags, axis.information, axis.scale_share, "×".join(map(str, layer.shape)), axis.pairs,
        "yes" if axis.significant else "no",
    )  # fmt: skip
