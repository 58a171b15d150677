"""The charts of a report as PNG or SVG, drawn by matplotlib from the same values as the page's.

A picture shows the first choice of each axis, and a chart with several frames gives a picture of each, the first
`MOST_FRAMES` of them: more than that are for looking through on the page.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from enxuto.drawing import COLOURS, DASHES, MARKERS, new_figure, save, whole_numbers
from enxuto.escaping import legend_label
from enxuto.report.exhibit import Cell, Chart, Frame, Measure, Series
from enxuto.report.results import Results
from enxuto.report.texts import file_names, folder_at

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ticker import Locator

__all__ = ["MOST_FRAMES", "write_pictures"]

MOST_FRAMES = 24
_MANY = 60  # points of a line, beyond which markers would hide it
_NAMED = 24  # bars whose names have room
_MARKERS = 6  # one fewer than colours, so that not both repeat at once
_LARGE = 1e4  # numbers from here on are written in full, with commas


def write_pictures(results: Results, folder: str | Path, kind: Literal["png", "svg"] = "png") -> list[Path]:
    """Write a picture for each chart; their paths. Raises `UsageError` without matplotlib or where writing fails."""
    place = folder_at(folder)
    shown = [
        (one, chart, frame)
        for one in results.exhibits
        for chart in one.charts
        for frame in chart.frames[:MOST_FRAMES]
    ]
    titles = [
        f"{chart.title[:48]} {frame.name[-30:]}" if len(chart.frames) > 1 else chart.title
        for _, chart, frame in shown
    ]
    return [
        _draw(chart, frame, one.about, place / f"{name}.{kind}")
        for (one, chart, frame), name in zip(shown, file_names(titles), strict=True)
    ]


def _draw(chart: Chart, frame: Frame, about: str, path: Path) -> Path:
    across = chart.bars == "across"
    names = list(dict.fromkeys(str(row[0]) for series in frame.series for row in series.rows))
    figure, (axes,) = new_figure(8, _height(chart, frame, len(names)))
    x, y = chart.x[0], chart.y[0]
    if chart.bars == "cells":
        _cells(axes, chart, frame, names)
    elif chart.bars:
        _bars(axes, chart, frame, names)
    else:
        for series in frame.series:
            _series(axes, chart, series)
        _scale(axes, chart, frame)
    axes.set_xlabel(y.label if across else x.label)
    axes.set_ylabel("" if across or chart.bars == "cells" else y.label)
    told = [frame.name] if len(chart.frames) > 1 else [y.label] if chart.bars == "cells" else []
    lines = [chart.title, *told, about]
    axes.set_title("\n".join(filter(None, lines)), fontsize=9)
    if len(frame.series) > 1:
        figure.legend(frameon=False, loc="outside lower center", ncols=3, fontsize=8)
    return save(figure, path)


def _column(chart: Chart, series: Series, name: str | None) -> list[float | None]:
    """Numbers of a column; None for gaps and texts."""
    if name is None:
        return [None] * len(series.rows)
    place = chart.columns.index(name)
    return [cell if isinstance(cell, (int, float)) else None for cell in (row[place] for row in series.rows)]


def _series(axes: Axes, chart: Chart, series: Series) -> None:
    x, y = chart.x[0], chart.y[0]
    pairs = zip(_column(chart, series, x.key), _column(chart, series, y.key), strict=True)
    points = [(a, b) for a, b in pairs if a is not None and b is not None]
    name, colour = legend_label(series.name), COLOURS[series.style % len(COLOURS)]
    if series.form == "rule":
        for value in _column(chart, series, y.key):
            if value is not None:
                axes.axhline(value, color="#555555", linestyle="--", linewidth=1.2, label=name)
        return
    if series.form == "steps" and len(points) > 1:
        edges = [a for a, _ in points]
        axes.stairs([b for _, b in points[:-1]], edges, fill=True, color="#c8c8c8", label=name)
        return
    low, high = _column(chart, series, y.low), _column(chart, series, y.high)
    ends = [(a, b, c) for a, b, c in zip(_column(chart, series, x.key), low, high, strict=True)
            if a is not None and b is not None and c is not None]  # fmt: skip
    across, lows, highs = ([end[place] for end in ends] for place in range(3))
    if ends and series.form == "band":
        axes.fill_between(across, lows, highs, color=colour, alpha=0.16, linewidth=0)
    elif ends:
        axes.vlines(across, lows, highs, color=colour, alpha=0.45, linewidth=0.8)
    axes.plot(
        [a for a, _ in points], [b for _, b in points], label=name, color=colour, linewidth=1.4, markersize=4,
        linestyle="none" if series.form == "points" else DASHES[series.style % len(DASHES)],
        marker=MARKERS[series.style % _MARKERS] if len(points) <= _MANY else None,
    )  # fmt: skip
    if chart.mark is not None:
        marks = _column(chart, series, chart.mark[0])
        ringed = [point for point, mark in zip(points, marks, strict=False) if mark]
        axes.plot([a for a, _ in ringed], [b for _, b in ringed], linestyle="none", marker="o", markersize=9,
                  fillstyle="none", color="#000000")  # fmt: skip


def _scale(axes: Axes, chart: Chart, frame: Frame) -> None:
    """Logarithms, directions and starts; a histogram leads over the lines fitted to it."""
    x, y = chart.x[0], chart.y[0]
    if x.log is not None:
        axes.set_xscale("log", base=x.log)
        if x.log == 10:
            axes.xaxis.set_major_locator(_fine_decades())
        axes.xaxis.set_major_formatter("{x:g}")
    if y.log is not None:
        axes.set_yscale("log", base=y.log)
    elif y.near and y.close is not None:
        axes.set_ylim(*y.close)
    elif y.start is not None and _lowest(chart, frame, y) >= y.start:
        axes.set_ylim(bottom=y.start)
    if x.whole:
        axes.xaxis.set_major_locator(whole_numbers())
    if x.down:
        axes.invert_xaxis()
    leading = [series for series in frame.series if series.form == "steps"]
    if leading:
        values = [value for series in leading for value in _column(chart, series, y.key) if value is not None]
        axes.set_ylim(top=1.15 * max(values))


def _lowest(chart: Chart, frame: Frame, measure: Measure) -> float:
    values = [
        value for series in frame.series for value in _column(chart, series, measure.key) if value is not None
    ]
    return min(values, default=0.0)


def _bars(axes: Axes, chart: Chart, frame: Frame, names: list[str]) -> None:
    across = chart.bars == "across"
    lanes = 1 if chart.stacked else max(1, len(frame.series))
    thick = 0.84 / lanes
    base = dict.fromkeys(names, 0.0)
    for lane, series in enumerate(frame.series):
        values = _heights(chart, series)
        kept = [name for name in names if name in values]
        shift = 0.0 if chart.stacked else (lane - (lanes - 1) / 2) * thick
        places = [names.index(name) + shift for name in kept]
        sizes = [values[name] for name in kept]
        start = [base[name] for name in kept] if chart.stacked else [0.0] * len(kept)
        colour = COLOURS[series.style % len(COLOURS)]
        if across:
            axes.barh(places, sizes, thick, start, color=colour, label=legend_label(series.name))
        else:
            axes.bar(places, sizes, thick, start, color=colour, label=legend_label(series.name))
        for name in kept:
            base[name] += values[name]
    if max((abs(size) for size in base.values()), default=0) >= _LARGE:
        (axes.xaxis if across else axes.yaxis).set_major_formatter("{x:,.0f}")
    shown = [name if len(name) <= 44 else f"{name[:43]}…" for name in names]
    if across:
        axes.set_yticks(range(len(names)), shown, fontsize=8)
        axes.invert_yaxis()
    elif len(names) <= _NAMED:
        axes.set_xticks(range(len(names)), shown, rotation=45, ha="right", fontsize=7)


def _height(chart: Chart, frame: Frame, names: int) -> float:
    """Inches that leave each name its line."""
    if chart.bars == "cells":
        return 1.6 + 0.17 * len({row[1] for series in frame.series for row in series.rows})
    return max(2.5, 0.45 * names + 1.5) if chart.bars == "across" else 4.8


def _cells(axes: Axes, chart: Chart, frame: Frame, names: list[str]) -> None:
    """The map; colours run from the largest below 0, if there are such, to the largest above."""
    down = list(dict.fromkeys(str(row[1]) for series in frame.series for row in series.rows))
    table = np.full((len(down), len(names)), np.nan)
    for series in frame.series:
        for row, value in zip(series.rows, _column(chart, series, chart.y[0].key), strict=True):
            if value is not None:
                table[down.index(str(row[1])), names.index(str(row[0]))] = value
    signed = chart.y[0].start is None
    most = float(np.nanmax(np.abs(table))) if np.isfinite(table).any() else 1.0
    image = axes.imshow(
        table, aspect="auto", interpolation="nearest", cmap="RdBu_r" if signed else "viridis",
        vmin=-most if signed else 0.0, vmax=most or 1.0,
    )  # fmt: skip
    figure = axes.get_figure()
    assert figure is not None
    figure.colorbar(image, ax=axes)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(down)), [f"…{one[-33:]}" if len(one) > 34 else one for one in down], fontsize=7)
    axes.grid(visible=False)


def _fine_decades() -> Locator:
    """Ticks at 1, 2 and 5 in every decade."""
    from matplotlib.ticker import LogLocator

    return LogLocator(base=10, subs=(1, 2, 5))


def _heights(chart: Chart, series: Series) -> Mapping[str, float]:
    values: list[tuple[Cell, float | None]] = list(
        zip((row[0] for row in series.rows), _column(chart, series, chart.y[0].key), strict=True)
    )
    return {str(name): value for name, value in values if value is not None}
