"""The size ledger of `enxuto compress --json` and `enxuto inspect --json`: bars of bytes, and the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from enxuto.report.documents import Document
from enxuto.report.exhibit import Chart, Exhibit, Frame, Measure, Series, origin
from enxuto.report.values import (
    Calibration,
    Checked,
    Count,
    Number,
    WithProvenance,
    compress_command,
    file_name,
    shell_command,
)
from enxuto.tables import Table

__all__ = ["matches", "read"]


class _Row(Checked):
    name: str
    bytes: Number
    measured: bool
    ratio: Number | None = None
    bits_per_parameter: Number


class _Ledger(WithProvenance):
    parameters: Count
    rows: list[_Row]
    output: str | None = None
    file: str | None = None
    calibration: Calibration | None = None


def matches(values: Mapping[str, Any]) -> bool:
    """Whether there is a ledger."""
    return {"parameters", "rows"} <= set(values)


def read(document: Document) -> list[Exhibit]:
    """One exhibit."""
    ledger = _Ledger.model_validate(document.values)
    name = ledger.output or ledger.file
    title = ledger.title or (file_name(name) if name else document.name)
    command = compress_command(ledger.output, ledger.calibration)
    if ledger.file:
        command = shell_command("enxuto inspect", ledger.file, "--json")
    return [
        Exhibit(
            "ledger",
            f"{title}: what {ledger.parameters:,} parameters cost",
            (_chart(ledger, title),),
            (_table(ledger, title),),
            origin(document.name, ledger.provenance, command=command),
        )
    ]


def _chart(ledger: _Ledger, title: str) -> Chart:
    series = []
    for style, (name, measured) in enumerate((("measured file", True), ("calculated", False))):
        # Every form has a row in both series, so that bars stand in the order of the ledger.
        rows = tuple(
            (row.name, round(row.bytes), row.bits_per_parameter, row.ratio) if row.measured is measured
            else (row.name, None, None, None)
            for row in ledger.rows
        )  # fmt: skip
        if any(row.measured is measured for row in ledger.rows):
            series.append(Series(name, rows, "bars", style))
    return Chart(
        title=f"{title}: size by form",
        columns=("form", "bytes", "bits", "ratio"),
        x=(Measure("form", "form"),),
        y=(
            Measure("bytes", "bytes", start=0),
            Measure("bits", "bits per parameter, every byte counted", start=0),
            Measure("ratio", "times smaller than float32", start=0),
        ),
        frames=(Frame(title, tuple(series)),),
        bars="across",
        stacked=True,  # a form is either measured or calculated, so that one bar stands on each line
    )


def _table(ledger: _Ledger, title: str) -> Table:
    rows = tuple(
        (
            row.name,
            f"{'' if row.measured else '≈ '}{row.bytes:,.0f}",
            "–" if row.ratio is None else f"{row.ratio:.2f}",
            f"{row.bits_per_parameter:.3f}",
        )
        for row in ledger.rows
    )
    columns = ("form", "bytes", "times smaller", "bits/parameter")
    caption = "≈ calculated; all others are measured files. Bits count every byte of the file"
    return Table(f"{title}: size ledger", columns, rows, caption)
