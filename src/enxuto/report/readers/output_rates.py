"""Rate against what is kept of all outputs: points of `enxuto curve` for models that are no image classifiers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from enxuto.report.documents import Document, provenance_of
from enxuto.report.exhibit import Chart, Exhibit, Frame, Measure, Series, origin
from enxuto.report.readers.printed_curves import PrintedCurves
from enxuto.report.values import Checked, Count, Number, Positive, Share, shell_command
from enxuto.studies.curve.output_tables import outputs_table, snr_of
from enxuto.studies.curve.tables import Curve, curves_of
from enxuto.studies.kinds import CURVE_OUTPUTS

__all__ = ["holds_outputs", "outputs_chart", "read_outputs"]

_MEASURES = (Measure("snr", "signal to error, dB"), Measure("agreement", "same answers %"))


class _Output(Checked):
    name: str
    kind: str
    loss: Number | None


class _Values(Checked):
    entropy_bits: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    file_bits: Positive
    file_bytes: Annotated[int, Field(gt=0)]
    agreement: Annotated[float, Field(ge=0, le=100)] | None
    kl: Number | None
    values_loss: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    outputs: list[_Output]
    top1: Share | None = None
    lost: Number | None = None
    lost_interval: tuple[Number, ...] = ()
    above_chance: bool = True
    samples: Count
    seed: Count


class _Point(_Values):
    method: str
    i: Number
    setting: str


def holds_outputs(values: Mapping[str, Any]) -> bool:
    """Say whether what `curve` printed is of all outputs, not of classes and labels."""
    models = values.get("models")
    originals = (
        [one.get("original") for one in models if isinstance(one, dict)] if isinstance(models, list) else []
    )
    return any(isinstance(one, dict) and "outputs" in one for one in originals)


def read_outputs(document: Document) -> list[Exhibit]:
    """Return one exhibit a model, from what `curve` printed or from the records of its study."""
    if document.results:
        mine = [one for one in document.results if one.kind == CURVE_OUTPUTS]
        for result in mine:
            if result.values is not None:
                _Values.model_validate(result.values)
        curves = curves_of(mine, kind=CURVE_OUTPUTS)
    else:
        found = PrintedCurves[_Values, _Point].model_validate(document.values)
        curves = [one.curve(one.model, exclude_none=False) for one in found.models]
    return [_exhibit(curve, document) for curve in curves]


def outputs_chart(curve: Curve) -> Chart | None:
    """Return rate against signal-to-noise ratio and equal answers; None where no point has a finite figure."""
    methods = list(dict.fromkeys(str(row["method"]) for row in curve.rows))
    series = []
    for number, method in enumerate(methods):
        rows = sorted(
            (row for row in curve.rows if row["method"] == method), key=lambda row: float(row["file_bits"])
        )
        points = tuple(
            (row["file_bits"], _finite(snr_of(row)), row["agreement"], row["setting"]) for row in rows
        )
        series.append(Series(method, points, "line", number))
    known = tuple(
        measure
        for place, measure in enumerate(_MEASURES, 1)
        if any(row[place] is not None for one in series for row in one.rows)
    )
    if not known:
        return None
    return Chart(
        title=f"{curve.model}: rate and what is kept",
        columns=("file_bits", "snr", "agreement", "setting"),
        x=(Measure("file_bits", "whole file, bits per weight", log=2),),
        y=known,
        frames=(Frame(curve.model, tuple(series)),),
        hover=(("setting", "setting"),),
    )


def _exhibit(curve: Curve, document: Document) -> Exhibit:
    chart = outputs_chart(curve)
    return Exhibit(
        "rate-curve",
        f"{curve.model}: rate and what is kept",
        () if chart is None else (chart,),
        (outputs_table(curve),),
        origin(
            document.name,
            provenance_of(document, curve.data_hash),
            command=shell_command("enxuto curve", f"{curve.model}.onnx", "--data", "DATA"),
            samples=curve.original["samples"],
            seed=curve.original["seed"],
            data=curve.data_hash,
        ),
    )


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
