"""Charts as PNG or SVG, drawn by matplotlib from the same values that the page draws.

`write_pictures` draws what a report shows: the first choice of each axis, and a picture for each frame of a chart, the
first `MOST_FRAMES` of them. `draw_panels` puts several charts, frames or choices of axes beside each other; what verbs
write into folders is made of it (`figures`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from enxuto.escaping import legend_label
from enxuto.report.drawing import COLOURS, DASHES, MARKERS, new_figure, save, whole_numbers
from enxuto.report.exhibit import Cell, Chart, Frame, Measure, Series
from enxuto.report.results import Results
from enxuto.report.texts import file_names, make_folder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

__all__ = ["MOST_FRAMES", "Panel", "draw_panels", "make_panels", "write_pictures"]

MOST_FRAMES = 24
_MANY = 60  # points of a line, beyond which markers would hide it
_NAMED = 24  # bars whose names have room
_MARKERS = 6  # one fewer than colours, so that not both repeat at once
_LARGE = 1e4  # numbers from here on are written in full, with commas
_WIDTHS = (8.0, 5.3, 3.9, 3.2)  # inches of a panel, by the number of columns
_HEIGHTS = (4.8, 3.7, 3.1, 2.3)
_AIR = 0.06  # of an axis, above the highest value


@dataclass(frozen=True)
class Panel:
    """A frame of a chart with a choice of axes, and the title above it."""

    chart: Chart
    frame: Frame
    x: Measure
    y: Measure
    title: str = ""

    def column(self, series: Series, name: str | None) -> list[float | None]:
        """Numbers of a column; None for gaps and texts."""
        if name is None:
            return [None] * len(series.rows)
        place = self.chart.columns.index(name)
        cells = (row[place] for row in series.rows)
        return [cell if isinstance(cell, (int, float)) else None for cell in cells]

    def points(self, series: Series) -> list[tuple[float, float]]:
        """The pairs of x and y that have both."""
        pairs = zip(self.column(series, self.x.key), self.column(series, self.y.key), strict=True)
        return [(x, y) for x, y in pairs if x is not None and y is not None]

    def ends(self, series: Series) -> list[tuple[float, float, float]]:
        """x, low and high, where there is an interval."""
        columns = (self.column(series, key) for key in (self.x.key, self.y.low, self.y.high))
        return [
            (x, low, high)
            for x, low, high in zip(*columns, strict=True)
            if x is not None and low is not None and high is not None
        ]

    def values(self) -> list[float]:
        """All y of all series."""
        return [y for series in self.frame.series for y in self.column(series, self.y.key) if y is not None]

    def categories(self) -> list[str]:
        """The first column's texts, each once: names of bars, or columns of a map."""
        return list(dict.fromkeys(str(row[0]) for series in self.frame.series for row in series.rows))


def make_panels(chart: Chart, *, x: int = 0, y: Sequence[str] | None = None) -> list[Panel]:
    """A panel for each measure of the y axis, of the chart's first frame; y: keys of some measures, in this order."""
    measures = {measure.key: measure for measure in chart.y}
    return [Panel(chart, chart.frames[0], chart.x[x], measures[key]) for key in (y or measures)]


def draw_panels(
    panels: Sequence[Panel], path: str | Path, *, title: str, columns: int = 1, legends: bool = False
) -> Path:
    """Draw panels row by row into one picture, PNG or SVG by the name.

    Args:
        panels: one at least.
        path: where the picture is written.
        title: above all panels, perhaps of several lines.
        columns: of panels, 4 at most.
        legends: a legend in each panel, where each has series of its own, instead of one for all.

    Raises:
        UsageError: without matplotlib, for another ending, or where the file cannot be written.
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    height = max(_HEIGHTS[columns - 1], *(_height(panel) for panel in panels))
    figure, axes = new_figure(_WIDTHS[columns - 1] * columns, height * rows + 0.4 * (rows > 1), rows, columns)
    for place, panel in zip(axes, panels, strict=False):
        _draw(place, panel, small=columns > 2)
        if panel.title:
            place.set_title(panel.title, fontsize=10 if columns < 3 else 8)
        if legends:
            place.legend(frameon=False, fontsize=6.5, loc="upper right", handlelength=1.4)
            place.tick_params(labelsize=7)
    for place in axes[len(panels) :]:
        place.set_visible(False)
    figure.suptitle(title, fontsize=9)
    handles = {
        text: handle
        for place in axes[: len(panels)]
        for handle, text in zip(*place.get_legend_handles_labels(), strict=True)
    }
    if len(handles) > 1 and not legends:
        figure.legend(
            handles.values(), list(handles), frameon=False, loc="outside lower center", fontsize=8,
            ncols=min(len(handles), 3 if columns == 1 else 4 if columns == 2 else 6),
        )  # fmt: skip
    return save(figure, path)


def write_pictures(results: Results, folder: str | Path, kind: Literal["png", "svg"] = "png") -> list[Path]:
    """Write a picture for each chart; their paths. Raises `UsageError` without matplotlib or where writing fails."""
    place = make_folder(folder)
    shown = [
        (exhibit, chart, frame)
        for exhibit in results.exhibits
        for chart in exhibit.charts
        for frame in chart.frames[:MOST_FRAMES]
    ]
    titles = [
        f"{chart.title[:48]} {frame.name[-30:]}" if len(chart.frames) > 1 else chart.title
        for _, chart, frame in shown
    ]
    paths = []
    for (exhibit, chart, frame), name in zip(shown, file_names(titles), strict=True):
        panel = Panel(chart, frame, chart.x[0], chart.y[0])
        more = frame.name if len(chart.frames) > 1 else panel.y.label if chart.bars == "cells" else ""
        title = "\n".join(filter(None, [chart.title, more, exhibit.about]))
        paths.append(draw_panels([panel], place / f"{name}.{kind}", title=title))
    return paths


def _draw(axes: Axes, panel: Panel, *, small: bool) -> None:
    across, cells = panel.chart.bars == "across", panel.chart.bars == "cells"
    if cells:
        _cells(axes, panel)
    elif panel.chart.bars:
        _bars(axes, panel)
    else:
        for series in panel.frame.series:
            _series(axes, panel, series)
        _scale(axes, panel)
    size = 8 if small else None
    axes.set_xlabel(panel.y.label if across else panel.x.label, fontsize=size)
    axes.set_ylabel("" if across or cells else panel.y.label, fontsize=size)


def _series(axes: Axes, panel: Panel, series: Series) -> None:
    points, ends = panel.points(series), panel.ends(series)
    name, colour = legend_label(series.name), COLOURS[series.style % len(COLOURS)]
    if series.form == "rule":
        for _, low, high in ends:
            axes.axhspan(low, high, color="#444444", alpha=0.10, linewidth=0)
        for value in panel.column(series, panel.y.key):
            if value is not None:
                axes.axhline(value, color="#555555", linestyle="--", linewidth=1.2, label=name)
        return
    if not points:
        return
    if series.form == "steps" and len(points) > 1:
        edges = [x for x, _ in points]
        axes.stairs([y for _, y in points[:-1]], edges, fill=True, color="#c8c8c8", label=name)
        return
    across, lows, highs = ([end[place] for end in ends] for place in range(3))
    if ends and series.form == "band":
        axes.fill_between(across, lows, highs, color=colour, alpha=0.16, linewidth=0)
    elif ends and not panel.y.near:  # close up, the intervals of all points would hide them
        axes.vlines(across, lows, highs, color=colour, alpha=0.45, linewidth=0.8)
    axes.plot(
        [x for x, _ in points], [y for _, y in points], label=name, color=colour, linewidth=1.4, markersize=4,
        linestyle="none" if series.form == "points" else DASHES[series.style % len(DASHES)],
        marker=MARKERS[series.style % _MARKERS] if len(points) <= _MANY else None,
    )  # fmt: skip
    if panel.chart.mark is not None:
        marks = panel.column(series, panel.chart.mark[0])
        ringed = [point for point, mark in zip(points, marks, strict=False) if mark]
        axes.plot([x for x, _ in ringed], [y for _, y in ringed], linestyle="none", marker="o", markersize=9,
                  fillstyle="none", color="#000000")  # fmt: skip


def _scale(axes: Axes, panel: Panel) -> None:
    """Logarithms, directions and starts; a histogram leads over the lines fitted to it."""
    x, y, values = panel.x, panel.y, panel.values()
    if x.log is not None:
        axes.set_xscale("log", base=x.log)
        _number_log(axes.xaxis, x.log)
    steps = [
        value
        for series in panel.frame.series
        if series.form == "steps"
        for value in panel.column(series, y.key)
        if value is not None
    ]
    if y.log is not None:
        axes.set_yscale("log", base=y.log)
        _number_log(axes.yaxis, y.log)
        if steps:
            axes.set_ylim(min(value for value in steps if value > 0) / 2, 3 * max(steps))
    elif y.near and y.close is not None:
        axes.set_ylim(*y.close)
    elif y.start is not None and min(values, default=0.0) >= y.start:
        # From the highest value that counts, as matplotlib's own margin is nothing where values hardly differ.
        highest = max(
            [*values, *(high for series in panel.frame.series for _, _, high in panel.ends(series))]
        )
        most = 1.15 * max(steps) if steps else highest + _AIR * (highest - y.start)
        axes.set_ylim(y.start, most if most > y.start else None)
    if x.whole:
        low, high = axes.get_xlim()
        if high - low < 1:  # one number alone, which else would lie between fractions
            axes.set_xlim((low + high - 1) / 2, (low + high + 1) / 2)
        axes.xaxis.set_major_locator(whole_numbers())
    if x.down:
        axes.invert_xaxis()


def _number_log(axis: Axis, base: int) -> None:
    """Plain numbers; of decades 1, 2 and 5 where they have room."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = sorted(axis.get_view_interval())
    if base == 10:
        fine = low > 0 and high / low < 1e4
        axis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5) if fine else (1,)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _bars(axes: Axes, panel: Panel) -> None:
    chart, frame, names = panel.chart, panel.frame, panel.categories()
    across = chart.bars == "across"
    lanes = 1 if chart.stacked else max(1, len(frame.series))
    thick = 0.84 / lanes
    base = dict.fromkeys(names, 0.0)
    for lane, series in enumerate(frame.series):
        values = _bar_sizes(panel, series)
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


def _bar_sizes(panel: Panel, series: Series) -> Mapping[str, float]:
    values: list[tuple[Cell, float | None]] = list(
        zip((row[0] for row in series.rows), panel.column(series, panel.y.key), strict=True)
    )
    return {str(name): value for name, value in values if value is not None}


def _height(panel: Panel) -> float:
    """Inches that leave each name its line; 0 where there are no names."""
    if panel.chart.bars == "cells":
        return 1.6 + 0.17 * len({row[1] for series in panel.frame.series for row in series.rows})
    return max(2.5, 0.45 * len(panel.categories()) + 1.5) if panel.chart.bars == "across" else 0.0


def _cells(axes: Axes, panel: Panel) -> None:
    """The map; colours run from the largest below 0, if there are such, to the largest above."""
    names = panel.categories()
    down = list(dict.fromkeys(str(row[1]) for series in panel.frame.series for row in series.rows))
    table = np.full((len(down), len(names)), np.nan)
    for series in panel.frame.series:
        for row, value in zip(series.rows, panel.column(series, panel.y.key), strict=True):
            if value is not None:
                table[down.index(str(row[1])), names.index(str(row[0]))] = value
    signed = panel.y.start is None
    most = float(np.nanmax(np.abs(table))) if np.isfinite(table).any() else 1.0
    image = axes.imshow(
        table, aspect="auto", interpolation="nearest", cmap="RdBu_r" if signed else "viridis",
        vmin=-most if signed else 0.0, vmax=most or 1.0,
    )  # fmt: skip
    figure = axes.get_figure()
    assert figure is not None
    figure.colorbar(image, ax=axes)
    axes.set_xticks(range(len(names)), names, rotation=45 if len(names) > 3 else 0, fontsize=8)
    axes.set_yticks(range(len(down)), [f"…{one[-33:]}" if len(one) > 34 else one for one in down], fontsize=7)
    axes.grid(visible=False)
