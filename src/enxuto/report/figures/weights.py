"""The charts of `enxuto weights`: histograms with the closest distributions, families by layer, dependence as maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from enxuto.report.pictures import Panel, draw_panels, make_panels
from enxuto.report.readers.dependence import dependence_charts
from enxuto.report.readers.weights import families_chart, histogram_chart
from enxuto.weights.dependency import LayerDependency
from enxuto.weights.distribution import WeightDistribution
from enxuto.weights.families import FAMILIES

__all__ = ["draw_weights"]

_MOST_LAYERS = 24
_FAMILIES = 6  # those of the best mean rank


def draw_weights(
    name: str,
    shape: WeightDistribution,
    layers: Sequence[WeightDistribution],
    dependence: Sequence[LayerDependency],
    folder: str | Path,
    ending: str,
    *,
    seed: int,
) -> list[Path]:
    """Draw what is known of a model's weights, called by its name: `-weights`, `-layers`, `-families`, `-dependence`.

    Args:
        name: of the model; slashes become dashes in names of files.
        shape: of all weights.
        layers: none for no charts of layers.
        dependence: of neighbouring weights by layer, none for no maps.
        folder: where the charts are written.
        ending: `.png` or `.svg`.
        seed: of the pairs that dependence was measured on.

    Returns:
        The files written.

    Raises:
        UsageError: without matplotlib, or where a file cannot be written.
    """
    place = Path(folder) / name.replace("/", "-")
    chart = histogram_chart(name, shape, layers)
    whole = make_panels(chart)[0]
    tails = replace(whole, y=replace(whole.y, log=10), title="the same with its tails")
    title = f"{shape.name}: {shape.count:,} weights, {1 - shape.inside:.2%} of them outside the axis"
    written = [draw_panels([whole, tails], f"{place}-weights{ending}", title=title, columns=2)]
    if layers:
        largest = sorted(range(len(layers)), key=lambda number: -layers[number].count)[:_MOST_LAYERS]
        panels = [
            Panel(chart, chart.frames[1 + number], chart.x[0], chart.y[0], _layer_title(layers[number]))
            for number in sorted(largest)
        ]
        left_out = "" if len(panels) == len(layers) else f" (the largest {len(panels)} of {len(layers)})"
        title = f"{name}: density of the weights by layer{left_out}"
        written.append(draw_panels(panels, f"{place}-layers{ending}", title=title, columns=4, legends=True))
        closest = _closest(layers)
        chart = families_chart(name, layers)
        series = tuple(one for one in chart.frames[0].series if one.name in closest)
        chart = replace(chart, frames=(replace(chart.frames[0], series=series),))
        written.append(draw_panels(make_panels(chart), f"{place}-families{ending}", title=chart.title))
    maps = [
        panel
        for one in dependence_charts(name, dependence)
        for panel in make_panels(one)
        if panel.y.key in ("lag1", "information", "scale")
    ]
    if maps:
        pairs = max(axis.pairs for layer in dependence for axis in layer.axes)
        title = f"{name}: neighbouring weights, up to {pairs:,} pairs a layer and axis, seed {seed}"
        maps = [replace(panel, title=panel.y.label) for panel in maps]
        written.append(draw_panels(maps, f"{place}-dependence{ending}", title=title, columns=3))
    return written


def _layer_title(layer: WeightDistribution) -> str:
    """The end of a layer's name, which tells layers apart, and its shape."""
    name = layer.name if len(layer.name) <= 28 else "…" + layer.name[-27:]
    return f"{name}\n{'×'.join(map(str, layer.shape or ()))}"


def _closest(layers: Sequence[WeightDistribution]) -> set[str]:
    """The families of the best mean rank by D(P‖Q) over the layers."""
    orders = [[family.name for family in layer.rank_fits("kl")] for layer in layers]
    ranks = {family.name: sum(order.index(family.name) for order in orders) for family in FAMILIES}
    return set(sorted(ranks, key=ranks.__getitem__)[:_FAMILIES])
