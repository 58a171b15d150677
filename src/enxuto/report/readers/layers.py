"""What each layer costs: bits and bytes of every tensor, and where known step, share of the loss and sensitivity.

From a report of calibrated compression (a list `layers`) or from `enxuto inspect --json` (a list `tensors`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from enxuto.report.documents import Document
from enxuto.report.exhibit import Chart, Exhibit, Frame, Measure, Series, origin
from enxuto.report.values import (
    Calibration,
    Checked,
    Number,
    WithProvenance,
    compress_command,
    file_name,
    shell_command,
)
from enxuto.tables import Table

__all__ = ["matches", "read"]


class _Layer(Checked):
    name: str
    step: Number | str | None = None
    bits: Number | None = None
    bytes: Number | None = None
    share_of_file: Number | None = None
    share_of_loss: Number | None = None
    sensitivity: Number | None = None
    entropy: Number | None = None
    method: str | None = None
    quantizer: str | None = None


class _Layers(WithProvenance):
    layers: tuple[_Layer, ...] = ()
    tensors: tuple[_Layer, ...] = ()
    output: str | None = None
    file: str | None = None
    calibration: Calibration | None = None


def matches(values: Mapping[str, Any]) -> bool:
    """Whether layers come with their bits."""
    lists = [values.get(name) for name in ("layers", "tensors")]
    return any(
        isinstance(one, list) and any(isinstance(row, dict) and "bits" in row for row in one) for one in lists
    )


def read(document: Document) -> list[Exhibit]:
    """One exhibit; layers that share their bytes with others have no bits of their own and are left out of charts."""
    found = _Layers.model_validate(document.values)
    name = found.output or found.file
    title = found.title or (file_name(name) if name else document.name)
    layers = found.layers or found.tensors
    command = compress_command(found.output, found.calibration)
    if found.file:
        command = shell_command("enxuto inspect", found.file, "--json")
    calibrated = found.calibration
    charts = (_bits(layers, title), _shares(layers, title), _sensitivity(layers, title))
    return [
        Exhibit(
            "layers",
            f"{title}: layer by layer",
            tuple(chart for chart in charts if chart is not None),
            (_table(layers, title),),
            origin(
                document.name,
                found.provenance,
                command=command,
                calibrated_on=calibrated
                and f"{calibrated.images:,} images, {calibrated.data}, seed {calibrated.seed}",
            ),
        )
    ]


def _bits(layers: Sequence[_Layer], title: str) -> Chart | None:
    rows = tuple((one.name, one.bits, one.bytes, one.entropy) for one in layers if one.bits is not None)
    if not rows:
        return None
    measures = [Measure("bits", "bits per weight", start=0)]
    if any(row[2] is not None for row in rows):
        measures.append(Measure("bytes", "bytes in the file", start=0))
    if any(row[3] is not None for row in rows):
        measures.append(Measure("entropy", "entropy of the levels, bits per weight", start=0))
    return Chart(
        title=f"{title}: bits of each layer",
        columns=("layer", "bits", "bytes", "entropy"),
        x=(Measure("layer", "layer, in the order of the file"),),
        y=tuple(measures),
        frames=(Frame(title, (Series("layers", rows, "bars"),)),),
        bars="up",
    )


def _shares(layers: Sequence[_Layer], title: str) -> Chart | None:
    columns: tuple[tuple[str, Callable[[_Layer], float | None]], ...] = (
        ("share of the file", lambda one: one.share_of_file),
        ("share of the loss", lambda one: one.share_of_loss),
    )
    series = []
    for style, (name, value) in enumerate(columns):
        shares = [(one.name, value(one)) for one in layers]
        rows = tuple((layer, 100 * share) for layer, share in shares if share is not None)
        if rows:
            series.append(Series(name, rows, "bars", style))
    if not series:
        return None
    return Chart(
        title=f"{title}: where the bytes go, and where the loss comes from",
        columns=("layer", "share"),
        x=(Measure("layer", "layer, in the order of the file"),),
        y=(Measure("share", "%", start=0),),
        frames=(Frame(title, tuple(series)),),
        bars="up",
    )


def _sensitivity(layers: Sequence[_Layer], title: str) -> Chart | None:
    rows = tuple(
        (place, one.sensitivity, one.name)
        for place, one in enumerate(layers, 1)
        if one.sensitivity is not None and one.sensitivity > 0
    )
    if not rows:
        return None
    return Chart(
        title=f"{title}: sensitivity of each layer",
        columns=("place", "sensitivity", "layer"),
        x=(Measure("place", "layer, in the order of the file", whole=True),),
        y=(Measure("sensitivity", "sensitivity", log=10),),
        frames=(Frame(title, (Series("sensitivity", rows, "line"),)),),
        hover=(("layer", "layer"),),
    )


_COLUMNS: tuple[tuple[str, Callable[[_Layer], float | str | None], str], ...] = (
    ("quantizer", lambda one: one.quantizer, ""),
    ("method", lambda one: one.method, ""),
    ("step", lambda one: one.step, ".4g"),
    ("bits/weight", lambda one: one.bits, ".3f"),
    ("entropy", lambda one: one.entropy, ".3f"),
    ("bytes", lambda one: one.bytes, ",.0f"),
    ("% of the file", lambda one: _to_percent(one.share_of_file), ".2f"),
    ("% of the loss", lambda one: _to_percent(one.share_of_loss), ".2f"),
    ("sensitivity", lambda one: one.sensitivity, ".4g"),
)


def _to_percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _table(layers: Sequence[_Layer], title: str) -> Table:
    """The columns that any layer has."""
    kept = [column for column in _COLUMNS if any(column[1](one) not in (None, "") for one in layers)]
    rows = tuple((one.name, *(_cell(value(one), form) for _, value, form in kept)) for one in layers)
    texts = 1 + sum(name in ("quantizer", "method") for name, _, _ in kept)
    caption = "A dash: the layer shares its bytes with others, or is kept as it is"
    return Table(f"{title}: layers", ("layer", *(name for name, _, _ in kept)), rows, caption, texts)


def _cell(value: float | str | None, form: str) -> str:
    if value is None or value == "":
        return "–"
    return value if isinstance(value, str) else format(value, form)
