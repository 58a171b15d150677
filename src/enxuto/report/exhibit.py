"""What a report shows of one result: charts, tables, and how to repeat them; plain values, not yet drawn.

A chart is rows of numbers under named columns, and a choice of columns for each axis: the page's script and matplotlib
draw the same charts from it. Not here: how anything looks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from enxuto.tables import Table

__all__ = ["KINDS", "Cell", "Chart", "Exhibit", "Frame", "Measure", "Series", "origin"]

Cell = float | str | None

KINDS: Mapping[str, str] = {
    "ledger": "Size",
    "rate-curve": "Rate and accuracy",
    "layers": "Layers",
    "histograms": "Weights",
    "tickets": "Lottery tickets",
    "removed-filters": "Filters removed",
    "speed-up": "Speed",
    "training": "Training",
    "networks": "Networks beside published ones",
    "evaluation": "Accuracy",
    "comparison": "Comparison",
    "table": "Other results",
}
"""Kinds of exhibits and the heading of their part of the page, in its order."""


@dataclass(frozen=True)
class Measure:
    """A column that an axis can show.

    log: base of a logarithmic axis at first, None for a linear one; it can be switched. low, high: columns with the
    ends of an interval. start: where a linear axis begins, None for the least value. close: the part of the axis that
    is shown close up, at first where `near`. whole: only whole numbers make sense. down: values fall to the right.
    """

    key: str
    label: str
    log: int | None = None
    low: str | None = None
    high: str | None = None
    start: float | None = None
    close: tuple[float, float] | None = None
    near: bool = False
    whole: bool = False
    down: bool = False


@dataclass(frozen=True)
class Series:
    """Rows of one look: `form` says how they are drawn, `style` is the number of its colour, dash and marker.

    rule: one row, a line across the chart at its y. band: a line with the area between `low` and `high`. cells: see
    `Chart.bars`.
    """

    name: str
    rows: tuple[tuple[Cell, ...], ...]
    form: Literal["line", "points", "steps", "bars", "band", "rule", "cells"] = "line"
    style: int = 0


@dataclass(frozen=True)
class Frame:
    """What is shown at a time: of several frames of a chart, one is chosen by name."""

    name: str
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Chart:
    """Frames of series whose rows have these columns, and the measures that the axes can show.

    bars: for series of bars, whether they go up or across; stacked: on each other, else beside. The first column is
    then the category. Cells are a map of the first column by the second, both categories, coloured by the value.
    hover: further columns shown beside a point, with their labels. mark: column that is true for points to be
    ringed, with its label.
    """

    title: str
    columns: tuple[str, ...]
    x: tuple[Measure, ...]
    y: tuple[Measure, ...]
    frames: tuple[Frame, ...]
    bars: Literal["up", "across", "cells"] | None = None
    stacked: bool = False
    hover: tuple[tuple[str, str], ...] = ()
    mark: tuple[str, str] | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values, numbers to six digits, for the page's script."""
        copied = ("title", "columns", "bars", "stacked", "hover", "mark", "note")
        return {
            **{name: getattr(self, name) for name in copied},
            "x": [vars(one) for one in self.x],
            "y": [vars(one) for one in self.y],
            "frames": [
                {
                    "name": frame.name,
                    "series": [
                        {**vars(one), "rows": [[_shorten(cell) for cell in row] for row in one.rows]}
                        for one in frame.series
                    ],
                }
                for frame in self.frames
            ],
        }


@dataclass(frozen=True)
class Exhibit:
    """A result: its kind (of `KINDS`), charts, tables, and `origin`, pairs that show how it was made."""

    kind: str
    title: str
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    origin: tuple[tuple[str, str], ...] = ()

    @property
    def about(self) -> str:
        """Samples, seeds and data, as far as they are known: a figure without them says nothing."""
        return " · ".join(
            f"{name} {value}" for name, value in self.origin if name in ("samples", "seed", "data")
        )


_STAND_INS = re.compile(r"(?<!\S)[A-Z]{4,}(?:\.\w+)?(?!\S)")  # DATA, MODEL.onnx
_ORIGIN_ORDER = (
    "command",
    "command, rebuilt",
    "not recorded",
    "samples",
    "seed",
    "data",
    "versions",
    "machine",
    "finished",
)


def origin(
    source: str, values: Mapping[str, Any] | None = None, *, unsaid: str = "", **more: Any
) -> tuple[tuple[str, str], ...]:
    """Pairs of how a result was made, from the file it is in and from values by names such as `seed`; None is left out.

    values: what a result's file says of itself under `provenance`, which goes before `more`. A command that the file
    does not hold is told as rebuilt, beside what of it is not recorded: what DATA and the like stand for, and options
    that leave no trace in results, such as those in `unsaid`.
    """
    known = {key: value for key, value in more.items() if value not in (None, "", {}, [])}
    if "command" in known:
        known["command, rebuilt"] = known.pop("command")
        stand_ins = " and ".join(dict.fromkeys(_STAND_INS.findall(known["command, rebuilt"])))
        unknown = f"what {stand_ins} stands for, and options" if stand_ins else "options"
        known["not recorded"] = f"{unknown} that leave no trace in results{unsaid and f', such as {unsaid}'}"
    stated = {key: value for key, value in (values or {}).items() if value not in (None, "", {}, [])}
    if "command" in stated:
        known.pop("command, rebuilt", None)
        known.pop("not recorded", None)
    known |= stated
    names = [name for name in _ORIGIN_ORDER if name in known] + [
        name for name in known if name not in _ORIGIN_ORDER
    ]
    return (("file", source), *((name.replace("_", " "), _as_text(known[name])) for name in names))


def _as_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_as_text(part)}" for key, part in value.items() if part is not None)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " / ".join(dict.fromkeys(_as_text(part) for part in value))
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)


def _shorten(cell: Cell) -> Cell | int:
    """Six digits are more than a chart shows; numbers that JSON cannot hold become gaps."""
    if isinstance(cell, float):
        if not math.isfinite(cell):
            return None
        return int(cell) if cell.is_integer() and abs(cell) < 1e15 else float(f"{cell:.6g}")
    return cell
