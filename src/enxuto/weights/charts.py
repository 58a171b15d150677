"""The charts of `enxuto weights`: histograms with fits, families over the layers, dependence along the axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from enxuto.drawing import COLOURS, DASHES, MARKERS, new_figure, save, whole_numbers
from enxuto.weights.dependency import LayerDependency
from enxuto.weights.distribution import WeightDistribution
from enxuto.weights.families import FAMILIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_dependency", "draw_families", "draw_layers", "draw_model"]

_FITS = 3
_SHOWN = 6
# The same family looks the same in every chart.
_ORDER = ("Laplace", "generalised Gaussian", "Student t", "Cauchy", "logistic", "Gaussian", "alpha")
_STYLES = {name: (COLOURS[index], DASHES[index], MARKERS[index]) for index, name in enumerate(_ORDER)}
_STYLES |= {
    "gamma": ("#777777", "-", "<"),
    "uniform": ("#777777", "--", ">"),
    "exponential": ("#777777", ":", "*"),
}
_MOST_LAYERS = 24
_AXES = ("outputs", "inputs", "kernel rows", "kernel columns")


def draw_model(shape: WeightDistribution, path: str | Path) -> Path:
    """Histogram and the best three fits by SSE, on a linear axis and on a logarithmic one, which shows the tails."""
    figure, axes = new_figure(9, 4, columns=2)
    for one in axes:
        _histogram(one, shape, labelled=True)
        one.set_xlabel("weight")
        one.set_ylabel("density")
    _logarithmic(axes[1], shape)
    figure.suptitle(f"{shape.name}: {shape.count:,} weights, {1 - shape.inside:.2%} of them outside the axis")
    lines, names = axes[0].get_legend_handles_labels()
    figure.legend(lines, names, frameon=False, loc="outside lower center", ncols=4)
    return save(figure, path)


def draw_layers(name: str, layers: Sequence[WeightDistribution], path: str | Path) -> Path:
    """Small histograms of the largest layers, with the best three fits of each by SSE."""
    largest = sorted(layers, key=lambda layer: -layer.count)[:_MOST_LAYERS]
    shown = [layer for layer in layers if layer in largest]
    columns = min(4, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure, axes = new_figure(3.2 * columns, 2.2 * rows + 0.4, rows=rows, columns=columns)
    for panel, layer in zip(axes, shown, strict=False):
        _histogram(panel, layer, labelled=True)
        panel.set_title(
            f"{_shorten_name(layer.name, 28)}\n{'×'.join(map(str, layer.shape or ()))}", fontsize=8
        )
        panel.legend(frameon=False, fontsize=6.5, loc="upper right", handlelength=1.4)
        panel.set_yticks([])
        panel.tick_params(labelsize=7)
    for panel in axes[len(shown) :]:
        panel.set_visible(False)
    left_out = "" if len(shown) == len(layers) else f" (the largest {len(shown)} of {len(layers)})"
    figure.suptitle(f"{name}: density of the weights by layer{left_out}", fontsize=11)
    return save(figure, path)


def draw_families(name: str, layers: Sequence[WeightDistribution], path: str | Path) -> Path:
    """How far the six families of the best mean rank are from each layer by D(P‖Q)."""
    figure, (axes,) = new_figure(8, 4.4)
    ranks = [
        sum(layer.rank_fits("kl").index(layer.similar[number]) for layer in layers)
        for number in range(len(FAMILIES))
    ]
    kept = sorted(np.argsort(ranks, kind="stable")[:_SHOWN].tolist())
    for number in kept:
        colour, _, marker = _STYLES[FAMILIES[number].name]
        axes.plot(
            range(1, len(layers) + 1), [max(layer.similar[number].kl, 1e-6) for layer in layers],
            label=FAMILIES[number].name, color=colour, linestyle="none", marker=marker, markersize=4,
        )  # fmt: skip
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(whole_numbers())
    axes.set_xlabel("layer, in the order of the file")
    axes.set_ylabel("D(P‖Q), nats")
    axes.set_title(f"{name}: distance of families of distributions from {len(layers)} layers")
    figure.legend(frameon=False, loc="outside lower center", ncols=4)
    return save(figure, path)


def draw_dependency(name: str, layers: Sequence[LayerDependency], path: str | Path, *, seed: int) -> Path:
    """Layers × axes as maps: correlation of neighbours, information in bits, share of scale; empty: no neighbours."""
    present = {one.axis for layer in layers for one in layer.axes}
    columns = [axis for axis in _AXES if axis in present] + sorted(present - set(_AXES))
    figure, axes = new_figure(10, 1.6 + 0.17 * len(layers), columns=3)
    panels: tuple[tuple[str, str, Any], ...] = (
        ("correlation", "RdBu_r", lambda one: one.correlation[0]),
        ("information, bits", "viridis", lambda one: max(0.0, one.information)),
        ("share of scale", "viridis", lambda one: one.scale_share),
    )
    for number, (axis, (title, colours, value)) in enumerate(zip(axes, panels, strict=True)):
        table = np.full((len(layers), len(columns)), np.nan)
        for row, layer in enumerate(layers):
            for one in layer.axes:
                table[row, columns.index(one.axis)] = value(one)
        lowest = -1.0 if title == "correlation" else 0.0
        highest = 1.0 if title != "information, bits" else max(0.01, float(np.nanmax(table)))
        image = axis.imshow(
            table, aspect="auto", cmap=colours, vmin=lowest, vmax=highest, interpolation="nearest"
        )
        figure.colorbar(image, ax=axis, shrink=0.6)
        axis.set_title(title, fontsize=9)
        axis.set_xticks(range(len(columns)), columns, rotation=45, ha="right", fontsize=7)
        axis.set_yticks(
            range(len(layers)),
            [_shorten_name(layer.name, 26) for layer in layers] if number == 0 else [],
            fontsize=6,
        )
        axis.grid(visible=False)
    pairs = max(one.pairs for layer in layers for one in layer.axes)
    figure.suptitle(
        f"{name}: neighbouring weights, up to {pairs:,} pairs a layer and axis, seed {seed}", fontsize=10
    )
    return save(figure, path)


def _histogram(axes: Axes, shape: WeightDistribution, *, labelled: bool) -> None:
    axes.stairs(shape.density, shape.edges, fill=True, color="#c8c8c8", label="weights" if labelled else None)
    x = np.linspace(shape.edges[0], shape.edges[-1], 801)
    for one in shape.rank_fits("sse")[:_FITS]:
        colour, dash, _ = _STYLES[one.name]
        axes.plot(x, one.fitted.density(x), color=colour, linestyle=dash, linewidth=1.2, label=one.name)
    axes.set_xlim(shape.edges[0], shape.edges[-1])
    axes.set_ylim(0, 1.15 * float(shape.density.max()))


def _logarithmic(axes: Axes, shape: WeightDistribution) -> None:
    least = float(shape.density[shape.density > 0].min())
    axes.set_yscale("log")
    axes.set_ylim(least / 2, 3 * float(shape.density.max()))


def _shorten_name(name: str, most: int) -> str:
    """The end of a name, at most `most` characters: the ends differ between layers."""
    return name if len(name) <= most else "…" + name[1 - most :]
