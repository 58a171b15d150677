"""The search of calibrated compression, from `enxuto compress --json` with a bound: trials, and the file that was kept.

Trials are judged on the images of the search; the kept file once more on held-out images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from enxuto.report.documents import Document
from enxuto.report.exhibit import Cell, Chart, Exhibit, Frame, Measure, Series, origin
from enxuto.report.values import (
    Calibration,
    Checked,
    Count,
    Number,
    Positive,
    WithProvenance,
    compress_command,
    file_name,
)
from enxuto.tables import Table

__all__ = ["matches", "read"]

_NONE = "–"
_COLUMNS = ("kb", "drop", "drop_low", "drop_high", "same", "same_low", "same_high", "kl", "images")


class _Judged(Checked):
    samples: Count
    original_top1: Number | None = None
    top1: Number | None = None  # where the images have labels
    drop: Number | None = None
    drop_interval: tuple[Number, Number] | None = None
    agreement: Number
    agreement_interval: tuple[Number, Number]
    kl: Number | None
    data_hash: str


class _Trial(Checked):
    bytes: Positive
    fits: bool
    judged: _Judged | None = None


class _Row(Checked):
    name: str
    bytes: Number


class _Search(WithProvenance):
    output: str | None = None
    calibration: Calibration
    trials: tuple[_Trial, ...]
    reported: _Judged | None = None
    fits: bool
    rows: tuple[_Row, ...] = ()


def matches(values: Mapping[str, Any]) -> bool:
    """Whether trials of a search are there."""
    return {"trials", "calibration", "fits"} <= set(values)


def read(document: Document) -> list[Exhibit]:
    """One exhibit; none where sizes alone were asked for, and nothing was judged."""
    search = _Search.model_validate(document.values)
    title = search.title or (file_name(search.output) if search.output else document.name)
    judged = [(one, one.judged) for one in search.trials if one.judged is not None]
    if not judged:
        return []
    hashes = [one.data_hash for _, one in judged] + ([search.reported.data_hash] if search.reported else [])
    origin_pairs = origin(
        document.name,
        search.provenance,
        command=compress_command(search.output, search.calibration),
        samples=[f"{one.samples:,} images of the search" for _, one in judged]
        + ([f"{search.reported.samples:,} others for the result"] if search.reported else []),
        seed=search.calibration.seed,
        data=hashes,
        calibrated_on=f"{search.calibration.images:,} images, {search.calibration.data}",
    )
    charts, tables = (_chart(search, judged, title),), (_table(search, judged, title),)
    return [
        Exhibit(
            "rate-curve",
            f"{title}: search for the smallest file within a bound",
            charts,
            tables,
            origin_pairs,
        )
    ]


def _kept_bytes(search: _Search) -> float | None:
    """The size of the file that was written: the last row of the ledger."""
    return search.rows[-1].bytes if search.rows else None


def _row(size: float, judged: _Judged) -> tuple[Cell, ...]:
    return (
        size / 1e3,
        judged.drop,
        *(judged.drop_interval or (None, None)),
        judged.agreement,
        *judged.agreement_interval,
        judged.kl,
        str(judged.samples),
    )


def _chart(search: _Search, judged: list[tuple[_Trial, _Judged]], title: str) -> Chart:
    series = [
        Series(
            name,
            tuple(_row(one.bytes, answers) for one, answers in judged if one.fits is fits),
            "points",
            style,
        )
        for style, (name, fits) in enumerate((("trial within the bound", True), ("trial too far", False)))
    ]
    size = _kept_bytes(search)
    if search.reported is not None and size is not None:
        series.append(Series("result, on other images", (_row(size, search.reported),), "points", 2))
    lost = Measure("drop", "points of top-1 lost", low="drop_low", high="drop_high")
    return Chart(
        title=f"{title}: file against what it loses",
        columns=_COLUMNS,
        x=(Measure("kb", "whole file, kB"),),
        y=(
            *([lost] if all(one.drop is not None for _, one in judged) else []),
            Measure("same", "equal answers %", low="same_low", high="same_high"),
            Measure("kl", "KL from the original, nats", log=10),
        ),
        frames=(Frame(title, tuple(one for one in series if one.rows)),),
        hover=(("images", "images"),),
        note="Upright lines: 95 % intervals.",
    )


def _table(search: _Search, judged: list[tuple[_Trial, _Judged]], title: str) -> Table:
    rows = [_cells("within" if one.fits else "too far", one.bytes, answers) for one, answers in judged]
    size = _kept_bytes(search)
    if search.reported is not None and size is not None:
        rows.append(_cells("result, on other images", size, search.reported))
    columns = (
        "trial",
        "bytes",
        "original's top-1 %",
        "top-1 %",
        "points lost",
        "95 % interval",
        "equal answers %",
        "KL, nats",
        "images",
    )
    caption = "Trials are judged on the images of the search, the result on held-out images"
    return Table(f"{title}: trials", columns, tuple(rows), caption)


def _cells(name: str, size: float, judged: _Judged) -> tuple[str, ...]:
    labelled = (_NONE, _NONE, _NONE)
    if judged.top1 is not None and judged.drop is not None and judged.drop_interval is not None:
        low, high = judged.drop_interval
        labelled = f"{judged.top1:.2f}", f"{judged.drop:+.2f}", f"{low:+.2f} to {high:+.2f}"
    original = _NONE if judged.original_top1 is None else f"{judged.original_top1:.2f}"
    return (
        name, f"{size:,.0f}", original, *labelled,
        f"{judged.agreement:.2f}", _NONE if judged.kl is None else f"{judged.kl:.3g}", f"{judged.samples:,}",
    )  # fmt: skip
