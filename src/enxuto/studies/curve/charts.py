"""The charts of `enxuto curve`: rate against every metric, as the source's figures 3.6 to 3.11, and against bytes.

The rate is on a logarithmic axis of base 2; the dotted line is the original. A point's vertical line is Wilson's 95 %
interval, where the metric is a share of images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enxuto.drawing import COLOURS, DASHES, MARKERS, new_figure, save
from enxuto.studies.curve.modes import CALIBRATED, OWN
from enxuto.studies.curve.tables import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_bytes", "draw_metrics"]

_METRICS: Mapping[str, str] = {
    "top1": "top-1 %",
    "top5": "top-5 %",
    "macro_precision": "macro precision %",
    "macro_recall": "macro recall %",
    "macro_f1": "macro F1 %",
    "mrr": "MRR",
}
UNIFORM_OR_NOT = ("midrise", "midtread", "μ-law", "minifloat", "half", OWN, CALIBRATED)
ZONES = (
    "midrise", "dead-zone 0.1", "dead-zone 0.25", "dead-zone 0.4", "midtread", "dead-zone 0.7", OWN, CALIBRATED,
)  # fmt: skip
FILES = ("midtread", "dead-zone 0.4", "dead-zone 0.7", "μ-law", "minifloat", OWN, CALIBRATED)
_CLOSE = 5.0  # points of top-1
# The same method looks the same in every chart.
_STYLES = {
    OWN: (COLOURS[1], DASHES[0], MARKERS[0]),
    CALIBRATED: (COLOURS[1], DASHES[1], MARKERS[5]),
    "midtread": (COLOURS[0], DASHES[0], MARKERS[1]),
    "midrise": (COLOURS[5], DASHES[1], MARKERS[2]),
    "μ-law": (COLOURS[2], DASHES[2], MARKERS[3]),
    "minifloat": (COLOURS[3], DASHES[3], MARKERS[4]),
    "half": (COLOURS[6], DASHES[0], MARKERS[6]),
    "dead-zone 0.1": (COLOURS[2], DASHES[1], MARKERS[3]),
    "dead-zone 0.25": (COLOURS[3], DASHES[2], MARKERS[4]),
    "dead-zone 0.4": (COLOURS[4], DASHES[3], MARKERS[5]),
    "dead-zone 0.7": (COLOURS[6], DASHES[4], MARKERS[6]),
}


def draw_metrics(curve: Curve, methods: Sequence[str], path: str | Path) -> Path | None:
    """Entropy against each metric for some methods and enxuto's own; None where none of them has a point."""
    lines = _lines(curve, methods)
    if not lines:
        return None
    metrics = [name for name in _METRICS if name in curve.original]
    columns = 3
    rows = -(-len(metrics) // columns)
    figure, axes = new_figure(3.8 * columns, 3.0 * rows + 0.9, rows=rows, columns=columns)
    for place, metric in zip(axes, metrics, strict=False):
        for method, points in lines.items():
            _line(place, method, [(row["entropy_bits"], row) for row in points], metric)
        _frame(place, curve, metric, "entropy of the levels, bits/weight")
    for place in axes[len(metrics) :]:
        place.set_visible(False)
    figure.suptitle(f"{curve.model}: {curve.about}", fontsize=11)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, loc="outside lower center", ncols=len(names))
    return save(figure, path)


def draw_bytes(curve: Curve, path: str | Path) -> Path | None:
    """The file in bits per weight against top-1, from 0 on and close to the original; None without points."""
    lines = _lines(curve, FILES)
    if not lines:
        return None
    figure, axes = new_figure(11, 5, columns=2)
    for place in axes:
        for method, points in lines.items():
            # Close by, the intervals of all points would hide them; that of the original stands for them there.
            _line(
                place, method, [(row["file_bits"], row) for row in points], "top1", intervals=place is axes[0]
            )
        _frame(place, curve, "top1", "whole file, bits/weight")
    low, high = curve.original["top1_interval"]
    axes[1].axhspan(100 * low, 100 * high, color="#888888", alpha=0.13, linewidth=0)
    top = 100 * curve.original["top1"]
    axes[1].set_ylim(top - _CLOSE, min(100.2, top + 0.4 * _CLOSE))
    axes[1].set_title(f"within {_CLOSE:g} points of the original; grey: its 95 % interval", fontsize=9)
    figure.suptitle(f"{curve.model}: {curve.about}", fontsize=11)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, loc="outside lower center", ncols=len(names))
    return save(figure, path)


def _lines(curve: Curve, methods: Sequence[str]) -> dict[str, list[Mapping[str, Any]]]:
    """Rows by method, in the order of the rate."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for method in methods:
        rows = [row for row in curve.rows if row["method"] == method]
        if rows:
            found[method] = sorted(rows, key=lambda row: float(row["entropy_bits"]))
    return found


def _line(
    axes: Axes,
    method: str,
    points: Sequence[tuple[float, Mapping[str, Any]]],
    metric: str,
    *,
    intervals: bool = True,
) -> None:
    colour, dash, marker = _STYLES[method]
    factor = 1 if metric == "mrr" else 100
    ordered = sorted(points, key=lambda point: point[0])
    x = [max(rate, 0.05) for rate, _ in ordered]
    y = [factor * row[metric] for _, row in ordered]
    axes.plot(x, y, label=method, color=colour, linestyle=dash, marker=marker, markersize=3.5, linewidth=1.2)
    if intervals and f"{metric}_interval" in ordered[0][1]:
        ends = [row[f"{metric}_interval"] for _, row in ordered]
        axes.vlines(x, [factor * low for low, _ in ends], [factor * high for _, high in ends], color=colour,
                    linewidth=0.7, alpha=0.45)  # fmt: skip


def _frame(axes: Axes, curve: Curve, metric: str, rate: str) -> None:
    factor = 1 if metric == "mrr" else 100
    axes.axhline(factor * curve.original[metric], color="#555555", linestyle=":", linewidth=1.2)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(rate)
    axes.set_ylabel(_METRICS[metric])
