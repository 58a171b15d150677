"""The table and the lines of a curve of outputs (`studies.curve.outputs`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from enxuto.metrics.losses import decibels
from enxuto.studies.curve.tables import ORIGINALS_FILE, Curve
from enxuto.tables import Table
from enxuto.weights.tables import rows_to_csv

__all__ = ["outputs_csv", "outputs_table", "snr_of"]

_NONE = "–"


def snr_of(row: Mapping[str, Any]) -> float | None:
    """Return the signal-to-noise ratio of a point's values in dB, None where it has none."""
    lost = row.get("values_loss")
    return None if lost is None else decibels(float(lost))


def outputs_table(curve: Curve) -> Table:
    """Every point of a model, the original first, and of several outputs each apart."""
    original = {**curve.original, "setting": "original"}
    several = [one["name"] for one in curve.original["outputs"]] if len(curve.original["outputs"]) > 1 else []
    labelled = curve.original.get("top1") is not None
    rows = []
    for row in (original, *curve.rows):
        apart = {one["name"]: one for one in row["outputs"]}
        rows.append((
            row["setting"], f"{row['entropy_bits']:.3f}", f"{row['file_bytes']:,}", f"{row['file_bits']:.3f}",
            _decibels(snr_of(row)), _NONE if row["agreement"] is None else f"{row['agreement']:.2f}",
            _NONE if row["kl"] is None or row["agreement"] is None else f"{row['kl']:.3g}",
            *(_right(row) if labelled else ()), *(_output(apart[name]) for name in several),
        ))  # fmt: skip
    columns = (
        "setting", "entropy, bits/weight", "file, bytes", "file, bits/weight", "SNR dB", "same answers %", "KL, nats",
        *(("top-1 %", "points lost (95 % interval)") if labelled else ()), *several,
    )  # fmt: skip
    about = curve.about.replace(" images,", " samples,")
    return Table(
        f"{curve.model}: all points",
        columns,
        tuple(rows),
        f"{about}. {ORIGINALS_FILE}. SNR of values; answers of classes{_doubt(curve)}",
    )


def outputs_csv(curves: Sequence[Curve]) -> str:
    """Return a line for each point in full precision."""
    names = (
        "method", "i", "setting", "entropy_bits", "file_bytes", "file_bits", "weights", "quantized", "agreement", "kl",
        "values_loss", "top1", "lost", "samples", "seed",
    )  # fmt: skip
    rows = []
    for curve in curves:
        original = {**curve.original, "method": "original", "i": 32, "setting": "original"}
        for row in (original, *curve.rows):
            known = {name: "" if row.get(name) is None else row[name] for name in names}
            snr = snr_of(row)
            rows.append(
                {"model": curve.model, **known, "snr_db": "" if snr is None else snr, "data": curve.data_hash}
            )
    return rows_to_csv(rows)


def _right(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return top-1, and what was lost of it with its interval."""
    if row.get("top1") is None:
        return _NONE, _NONE
    if row["setting"] == "original":
        return f"{100 * row['top1']:.2f}", _NONE
    low, high = (100 * end for end in row["lost_interval"])
    return f"{100 * row['top1']:.2f}", f"{100 * row['lost']:+.2f} ({low:+.2f} to {high:+.2f})"


def _doubt(curve: Curve) -> str:
    """Say where top-1 means nothing."""
    if curve.original.get("above_chance", True):
        return ""
    return ". The original's top-1 is no better than chance: are the labels those of the model, in its order?"


def _output(one: Mapping[str, Any]) -> str:
    if one["loss"] is None:
        return "no numbers"
    return f"{_decibels(decibels(one['loss']))} dB" if one["kind"] == "values" else f"{one['loss']:.3g} nats"


def _decibels(value: float | None) -> str:
    return _NONE if value is None else "exact" if math.isinf(value) else f"{value:.2f}"
