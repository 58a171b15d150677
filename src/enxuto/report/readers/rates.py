"""Rate against accuracy: the points of `enxuto curve`, from its `--json` or from the records of its study.

The best settings stand beside the published ones (`enxuto.studies.curve.tables`); every metric and every rate can be
chosen for the axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from enxuto.report.documents import Document, kinds_of, provenance_of
from enxuto.report.exhibit import Cell, Chart, Exhibit, Frame, Measure, Series, origin
from enxuto.report.readers.output_rates import holds_outputs, read_outputs
from enxuto.report.readers.printed_curves import PrintedCurves
from enxuto.report.values import Checked, Count, Interval, Number, Positive, Share, shell_command
from enxuto.studies.curve.modes import CALIBRATED_METHOD, DEFAULT_METHOD, method_names
from enxuto.studies.curve.tables import Curve, best_table, curves_of, points_table
from enxuto.studies.kinds import CURVE_MEASURE, CURVE_OUTPUTS

__all__ = ["PointValues", "Tensors", "matches", "rate_chart", "read"]

_FURTHER = {"A-law": 16, "minifloat bias 3": 11, "minifloat fit": 13}  # styles of other studies' methods
_CLOSE = 5.0  # points of a share around the original, close up
_SHARES = {
    "top1": "top-1 %",
    "top5": "top-5 %",
    "macro_precision": "macro precision %",
    "macro_recall": "macro recall %",
    "macro_f1": "macro F1 %",
    "agreement": "equal answers %",
}


class _Calibrated(Checked):
    images: Count
    data: str
    seed: Count
    price: Number


class Tensors(Checked):
    """Some tensors by name, and how many weights they have."""

    weights: Count
    names: list[str]


class PointValues(Checked):
    """The values of a point of a curve."""

    entropy_bits: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    file_bits: Positive
    file_bytes: Annotated[int, Field(gt=0)]
    weights: Annotated[int, Field(gt=0)]
    top1: Share
    top1_interval: Interval
    top5: Share | None = None
    top5_interval: Interval | None = None
    macro_precision: Share
    macro_recall: Share
    macro_f1: Share
    mrr: Share
    agreement: Share | None
    kl: Number | None
    lost: Number | None = None
    lost_interval: tuple[Number, Number] | None = None
    samples: Count
    seed: Count
    calibrated: _Calibrated | None = None
    exact: Tensors | None = None


class _Compress(Checked):
    mode: str
    method: str
    i: Number
    bits: Number | None = None
    format: tuple[int, int] | None = None


class _Settings(Checked):
    model_hash: str
    compress: _Compress


class _Point(PointValues):
    method: str
    i: Number
    setting: str


def matches(values: Mapping[str, Any]) -> bool:
    """Whether these are points of curves."""
    models = values.get("models")
    printed = isinstance(models, list) and any(isinstance(one, dict) and "points" in one for one in models)
    return printed or bool({CURVE_MEASURE, CURVE_OUTPUTS} & set(kinds_of(values)))


def read(document: Document) -> list[Exhibit]:
    """One exhibit a model."""
    if not document.results and holds_outputs(document.values):
        return read_outputs(document)
    if document.results:
        mine = [one for one in document.results if one.kind == CURVE_MEASURE]
        for result in mine:
            _Settings.model_validate(result.settings)
            if result.values is not None:
                PointValues.model_validate(result.values)
        shown = [_exhibit(curve, document, _collect_origin(curve)) for curve in curves_of(mine)]
        return shown + read_outputs(document)
    found = PrintedCurves[PointValues, _Point].model_validate(document.values)
    return [_exhibit(one.curve(one.model), document, {}) for one in found.models]


def _exhibit(curve: Curve, document: Document, extra_origin: Mapping[str, Any]) -> Exhibit:
    samples, seed = curve.original["samples"], curve.original["seed"]
    limit = ("--limit", samples, "--seed", seed)
    command = shell_command("enxuto curve", f"{curve.model}.onnx", "--data", "DATA", *limit)
    return Exhibit(
        "rate-curve",
        f"{curve.model}: rate and accuracy",
        (rate_chart(curve),),
        (best_table([curve]), points_table(curve)),
        origin(
            document.name,
            provenance_of(document, curve.data_hash),
            command=command,
            samples=samples,
            seed=seed,
            data=curve.data_hash,
            calibrated_on=_calibration_note(curve),
            **extra_origin,
        ),
    )


def _calibration_note(curve: Curve) -> list[str]:
    """The images that calibrated, which are not among those judged."""
    calibrated = [row["calibrated"] for row in curve.rows if row.get("calibrated")]
    return [f"{one['images']:,} other images, {one['data']}, seed {one['seed']}" for one in calibrated]


def rate_chart(curve: Curve) -> Chart:
    """All methods of a curve as lines, beside the original: every rate for x, every metric for y."""
    shares = [name for name in _SHARES if name in curve.original]
    ends = [f"{name}_{end}" for name in ("top1", "top5") if name in shares for end in ("low", "high")]
    columns = ("entropy_bits", "file_bits", "file_kb", *shares, "mrr", *ends, "setting")
    methods = list(dict.fromkeys(str(row["method"]) for row in curve.rows))
    order = method_names()
    methods.sort(key=lambda name: order.index(name) if name in order else len(order))
    series = [
        Series(
            method,
            tuple(
                _row(row, shares)
                for row in sorted(curve.rows, key=lambda row: (row["file_bits"], row["i"]))
                if row["method"] == method
            ),
            "line",
            _style(method, order),
        )
        for method in methods
    ]
    series.append(Series("original", (_row({**curve.original, "setting": "original"}, shares),), "rule"))
    return Chart(
        title=f"{curve.model}: rate against accuracy",
        columns=columns,
        x=(
            Measure("file_bits", "whole file, bits per weight", log=2),
            Measure("entropy_bits", "entropy of the levels, bits per weight", log=2),
            Measure("file_kb", "whole file, kB", log=10),
        ),
        y=(*(_share(curve, name) for name in shares), Measure("mrr", "MRR", start=0)),
        frames=(Frame(curve.model, tuple(series)),),
        hover=(("setting", "setting"),),
        note="Upright lines: Wilson's 95 % interval. Dashed: the original.",
    )


def _style(method: str, order: Sequence[str]) -> int:
    """The same method looks the same in every report, and the second colour is for enxuto's own alone."""
    if method in (DEFAULT_METHOD, CALIBRATED_METHOD):
        return 1 if method == DEFAULT_METHOD else 8
    if method not in order:
        return 15 if method.startswith(DEFAULT_METHOD) else _FURTHER.get(method, 12)
    return (3, 7, 4, 5, 0, 6, 2, 10, 9)[order.index(method) % 9]


def _share(curve: Curve, name: str) -> Measure:
    interval = f"{name}_interval" in curve.original
    top = 100 * float(curve.original[name])
    return Measure(
        name,
        _SHARES[name],
        low=f"{name}_low" if interval else None,
        high=f"{name}_high" if interval else None,
        start=0,
        close=(max(0.0, top - _CLOSE), min(100.0, top + _CLOSE / 2)),
    )


def _row(row: Mapping[str, Any], shares: Sequence[str]) -> tuple[Cell, ...]:
    ends = [
        100 * end
        for name in ("top1", "top5")
        if name in shares
        for end in row.get(f"{name}_interval") or (row[name], row[name])
    ]
    values = [None if row.get(name) is None else 100 * row[name] for name in shares]
    return (
        row["entropy_bits"],
        row["file_bits"],
        row["file_bytes"] / 1e3,
        *values,
        row["mrr"],
        *ends,
        row["setting"],
    )


def _collect_origin(curve: Curve) -> dict[str, Any]:
    """Versions and machines of a curve's points."""
    mine = curve.results
    return {
        "versions": list({str(one.versions): one.versions for one in mine}.values()),
        "machine": list({str(one.machine): one.machine for one in mine}.values()),
        "finished": max((one.finished for one in mine), default=None),
        "points": len(mine),
    }
