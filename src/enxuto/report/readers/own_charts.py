"""Charts and tables that a file brings itself, and the points of studies that a report knows nothing else of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from enxuto.errors import DataError
from enxuto.report.documents import Document, kinds_of, provenance_of
from enxuto.report.exhibit import Cell, Chart, Exhibit, Frame, Measure, Series, origin
from enxuto.report.values import Checked, Number, WithProvenance
from enxuto.studies.kinds import FUNCTIONS
from enxuto.tables import Table

__all__ = ["matches", "read"]

_KNOWN = set(FUNCTIONS)


class _Series(Checked):
    name: str
    points: Annotated[list[tuple[Number, Number]], Field(min_length=1)]
    published: bool = False


class _Axis(Checked):
    label: str
    log: Literal[2, 10] | None = None


class _Chart(Checked):
    title: str
    x: _Axis
    y: _Axis
    series: Annotated[list[_Series], Field(min_length=1)]


class _Table(Checked):
    title: str
    columns: Annotated[list[str], Field(min_length=1)]
    rows: list[list[str | Number | None]]
    caption: str = ""


class _Own(WithProvenance):
    title: str = "Own charts and tables"
    charts: tuple[_Chart, ...] = ()
    tables: tuple[_Table, ...] = ()


def matches(values: Mapping[str, Any]) -> bool:
    """Whether these are points of a kind that no other reader knows; files of the schema say it themselves."""
    return bool(kinds_of(values) - _KNOWN)


def read(document: Document) -> list[Exhibit]:
    """One exhibit."""
    if document.results:
        kinds = kinds_of(document.values) - _KNOWN
        return [_points(document, kind) for kind in sorted(kinds)]
    found = _Own.model_validate(document.values)
    if not found.charts and not found.tables:
        raise DataError(f"{found.title}: neither charts nor tables")
    origin_pairs = origin(document.name, found.provenance)
    charts = tuple(_chart(one) for one in found.charts)
    return [Exhibit("table", found.title, charts, tuple(_table(one) for one in found.tables), origin_pairs)]


def _chart(chart: _Chart) -> Chart:
    series = tuple(
        Series(one.name, tuple(one.points), "points" if one.published else "line", style)
        for style, one in enumerate(chart.series)
    )
    return Chart(
        chart.title,
        ("x", "y"),
        (Measure("x", chart.x.label, log=chart.x.log),),
        (Measure("y", chart.y.label, log=chart.y.log, start=0),),
        (Frame(chart.title, series),),
    )


def _table(table: _Table) -> Table:
    width = len(table.columns)
    if any(len(row) != width for row in table.rows):
        raise DataError(f"{table.title}: a row has another number of cells than the {width} columns")
    rows = tuple(tuple(_text(cell) for cell in row) for row in table.rows)
    return Table(table.title, tuple(table.columns), rows, table.caption.rstrip("."))


def _text(cell: Cell) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:.0f}" if cell.is_integer() and abs(cell) < 1e15 else f"{cell:.6g}"
    return str(cell)


def _points(document: Document, kind: str) -> Exhibit:
    """All points of a kind in one table: settings, seed, and the values that are numbers or texts."""
    done = [one for one in document.results if one.kind == kind and one.values is not None]
    if not done:
        raise DataError(f"no point of the kind {kind} is done", code="E081")
    flat = [
        {
            **_flatten(one.settings),
            "seed": one.seed,
            **_flatten(one.values or {}),
            "seconds": round(one.seconds, 3),
        }
        for one in done
    ]
    columns = tuple(dict.fromkeys(name for row in flat for name in row))
    rows = tuple(tuple(_text(row.get(name)) for name in columns) for row in flat)
    title = f"Points of {kind}"
    origin_pairs = origin(
        document.name,
        provenance_of(document),
        seed=[one.seed for one in done],
        data=[one.data_hash for one in done if one.data_hash],
        versions=[one.versions for one in done if one.versions],
        machine=[one.machine for one in done if one.machine],
        finished=max(one.finished for one in done),
    )
    return Exhibit("table", title, (), (Table(title, columns, rows, f"{len(done)} points"),), origin_pairs)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Cell]:
    """Numbers and texts by the path of their keys; lists are left out."""
    found: dict[str, Cell] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flatten(value, f"{prefix}{key}.")
        elif isinstance(value, (int, float, str)):
            found[f"{prefix}{key}"] = value
    return found
