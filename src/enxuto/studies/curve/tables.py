"""The tables of `enxuto curve`: every point, and the best of each model as in the source's tables 3.9 and 3.10."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from enxuto.errors import DataError
from enxuto.studies.curve.modes import CALIBRATED_METHOD, DEFAULT_METHOD, method_names
from enxuto.studies.kinds import CURVE_MEASURE
from enxuto.study.identity import content_hash
from enxuto.study.store_result import Result
from enxuto.tables import Table
from enxuto.weights.tables import rows_to_csv
from enxuto.weights.tonin_published import BEST, find_published

__all__ = [
    "KINDS",
    "MAX_DROP",
    "ORIGINALS_FILE",
    "Curve",
    "best_table",
    "curve_csv",
    "curves_of",
    "kind_of",
    "model_name",
    "points_table",
    "setting_name",
]

MAX_DROP = 0.8
"""Points of top-1 that the source's best settings may lose (its section 4)."""
ORIGINALS_FILE = "The original's file is an .enx file of exact weights"
"""What the bytes in the row of the original are of, for captions."""

_GRID = "the source's grid"
KINDS = (_GRID, DEFAULT_METHOD, CALIBRATED_METHOD)
"""What methods belong to; each has its best setting."""
_NONE = "–"
_PUBLISHED = "published: "
_SHOWN = 6  # names of tensors in a caption


@dataclass(frozen=True)
class Curve:
    """The points of one model on one set of images: values of the original, and rows of all settings.

    A row holds the values of `measure_point` with `method`, `i` and `setting`, its name. results: those of the points.
    """

    model: str
    original: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...]
    data_hash: str | None
    results: tuple[Result, ...] = field(default=(), compare=False, repr=False)

    @property
    def about(self) -> str:
        """Samples, seed and data: an accuracy without them says nothing."""
        samples, seed = self.original["samples"], self.original["seed"]
        return f"{samples:,} images, seed {seed}, data {self.data_hash}"

    def points_lost(self, row: Mapping[str, Any], metric: str = "top1") -> float:
        """Points of a share that a row loses against the original."""
        return 100 * float(self.original[metric] - row[metric])

    def best(self, kind: str, max_drop: float = MAX_DROP) -> Mapping[str, Any] | None:
        """The row of least rate, of one of the `KINDS`, that loses at most `max_drop` points of top-1.

        Of enxuto's own modes by the bytes of the file; of the source's grid by entropy, as the source does.
        """
        rows = [row for row in self.rows if kind_of(row) == kind and self.points_lost(row) <= max_drop + 1e-9]
        rate = "entropy_bits" if kind == _GRID else "file_bytes"
        return min(rows, key=lambda row: float(row[rate]), default=None)


def kind_of(row: Mapping[str, Any]) -> str:
    """Which of the `KINDS` a row belongs to."""
    method = str(row["method"])
    return method if method in KINDS else _GRID


def curves_of(
    results: Iterable[Result], names: Mapping[str, str] | None = None, kind: str = CURVE_MEASURE
) -> list[Curve]:
    """Curves by model, images and all else that their points share; failed points are left out.

    names: what models are called by their hashes; others as they were when they were measured. kind: of the points.
    Raises `DataError` where an original is missing.
    """
    groups: dict[str, list[Result]] = {}
    for result in results:
        if result.kind == kind:
            shared = {key: value for key, value in result.settings.items() if key != "compress"}
            key = content_hash({**shared, "data_hash": result.data_hash, "code": result.code})
            groups.setdefault(key, []).append(result)
    curves = []
    for group in groups.values():
        model, data_hash = model_name(group, names or {}), group[0].data_hash
        done = [result for result in group if result.values is not None]
        original = next((r.values for r in done if r.settings["compress"]["mode"] == "original"), None)
        if original is None:
            failed = next(
                (r.error for r in group if r.settings["compress"]["mode"] == "original"), "it was not run"
            )
            raise DataError(
                f"{model}: the original was not evaluated, and nothing can be compared with it: {failed}",
                code="E081",
            )
        rows = [
            {
                **result.settings["compress"],
                "setting": setting_name(result.settings["compress"]),
                **_without_name(result.values or {}),
            }
            for result in done
            if result.settings["compress"]["mode"] != "original"
        ]
        rows.sort(key=lambda row: (_rank(row["method"]), row["method"], row["i"]))
        curves.append(Curve(model, _without_name(original), tuple(rows), data_hash, tuple(group)))
    return curves


def model_name(group: Sequence[Result], names: Mapping[str, str]) -> str:
    """The name of the model of these points: from `names`, else as it was measured, else its hash."""
    known = str(group[0].settings["model_hash"])
    recorded = (str(one.values["model"]) for one in group if one.values is not None and "model" in one.values)
    return names.get(known) or next(recorded, None) or str(group[0].settings.get("model", known))


def _without_name(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values without what the model was called when they were measured."""
    return {key: value for key, value in values.items() if key != "model"}


def best_table(curves: Sequence[Curve], max_drop: float = MAX_DROP) -> Table:
    """Best settings of the source's grid and of enxuto for each model, beside what the source found for its family."""
    rows: list[tuple[str, ...]] = []
    for curve in curves:
        top5 = "top5" in curve.original
        for kind in KINDS:
            best = curve.best(kind, max_drop)
            if best is not None:
                rows.append(_best_row(curve, best, top5=top5))
            elif any(kind_of(row) == kind for row in curve.rows):
                rows.append((curve.model, f"{kind}: none within {max_drop:g} points", *[_NONE] * 7))
        known = find_published(BEST, curve.model)
        if known is not None:
            fifth = _NONE if known.top5 is None else f"{known.top5:.2f} ({known.top5_lost:+.2f})"
            rows.append((
                f"{_PUBLISHED}{known.network}", f"{known.method}, {known.levels}",
                f"{known.top1:.2f} ({known.top1_lost:+.2f})", fifth,
                f"{known.entropy:.3f} ({known.original_entropy - known.entropy:.3f})", f"{known.ratio:.2f}",
                f"{(32 - known.entropy) / 32:.3f}", _NONE, _NONE,
            ))  # fmt: skip
    about = "; ".join(dict.fromkeys(f"{curve.model}: {curve.about}" for curve in curves))
    caption = (
        f"Least entropy (enxuto: least file) within {max_drop:g} points of top-1, chosen on these very images. "
        "CR = 32/H and RE = (32 − H)/32 are of the entropy: of one histogram for the source's grid, so that the file, "
        f"whose coder adapts to each tensor, can be smaller. {_calibration_note(curves)}{about}"
    )
    if any(row[0].startswith(_PUBLISHED) for row in rows):
        caption += (
            ". Published: Tonin 2021, tables 3.9 and 3.10, misprints corrected, other files of the same families on "
            "other images"
        )
    columns = (
        "model", "best method, level", "top-1 % (lost, 95 %), 95 %", "top-5 % (lost)", "entropy (saved)", "CR", "RE",
        "file, bits/weight", "32-bit weights / file",
    )  # fmt: skip
    return Table("Best settings", columns, tuple(rows), caption, texts=2)


def _calibration_note(curves: Sequence[Curve]) -> str:
    """A sentence on the images that calibrated, where any did."""
    notes = [
        f"{row['calibrated']['images']:,} images ({row['calibrated']['data']}, seed {row['calibrated']['seed']})"
        for curve in curves
        for row in curve.rows
        if row.get("calibrated")
    ]
    return (
        f"Calibrated on {' / '.join(dict.fromkeys(notes))}, none of them among those judged. "
        if notes
        else ""
    )


def _best_row(curve: Curve, row: Mapping[str, Any], *, top5: bool) -> tuple[str, ...]:
    bound = float(row["entropy_bits"])
    low, high = row["top1_interval"]
    fifth = f"{100 * row['top5']:.2f} ({curve.points_lost(row, 'top5'):+.2f})" if top5 else _NONE
    lost = f"{curve.points_lost(row):+.2f}"
    if row.get("lost_interval") is not None:  # points of earlier versions have none
        least, most = (100 * end for end in row["lost_interval"])
        lost += f", {least:+.2f} to {most:+.2f}"
    first = f"{100 * row['top1']:.2f} ({lost}), {100 * low:.1f} – {100 * high:.1f}"
    saved = float(curve.original["entropy_bits"]) - bound
    return (
        curve.model, row["setting"], first, fifth, f"{bound:.3f} ({saved:.3f})", f"{32 / bound:.2f}",
        f"{(32 - bound) / 32:.3f}", f"{row['file_bits']:.3f}", f"{4 * row['weights'] / row['file_bytes']:.2f}",
    )  # fmt: skip


def points_table(curve: Curve) -> Table:
    """Every point of a model, the original first."""
    original = {**curve.original, "setting": "original"}
    rows = []
    for row in (original, *curve.rows):
        low, high = row["top1_interval"]
        rows.append((
            row["setting"], f"{row['entropy_bits']:.3f}", f"{row['file_bytes']:,}", f"{row['file_bits']:.3f}",
            f"{100 * row['top1']:.2f}", f"{100 * low:.1f} – {100 * high:.1f}",
            f"{100 * row['top5']:.2f}" if "top5" in row else _NONE,
            *(f"{100 * row[name]:.2f}" for name in ("macro_precision", "macro_recall", "macro_f1")),
            f"{row['mrr']:.4f}", f"{100 * row['agreement']:.2f}", f"{row['kl']:.3g}",
        ))  # fmt: skip
    columns = (
        "setting", "entropy, bits/weight", "file, bytes", "file, bits/weight", "top-1 %", "95 % interval", "top-5 %",
        "precision %", "recall %", "F1 %", "MRR", "agreement %", "KL, nats",
    )  # fmt: skip
    return Table(
        f"{curve.model}: all points",
        columns,
        tuple(rows),
        f"{curve.about}. {ORIGINALS_FILE}. Precision, recall, F1: macro averages{_exact_note(curve)}",
    )


def _exact_note(curve: Curve) -> str:
    """Which tensors files of the source's grid keep exactly, as that is shorter than coding their levels."""
    found = [row["exact"] for row in curve.rows if row.get("exact", {}).get("names")]
    if not found:
        return ""
    most = max(found, key=lambda one: int(one["weights"]))
    names = most["names"]
    more = f" and {len(names) - _SHOWN} more, which the CSV names" if len(names) > _SHOWN else ""
    return (
        f". Files of {_GRID} keep up to {most['weights']:,} of {curve.original['weights']:,} weights exactly, where "
        f"that is shorter: {', '.join(names[:_SHOWN])}{more}"
    )


def curve_csv(curves: Sequence[Curve]) -> str:
    """A line for each point in full precision."""
    columns = (
        "method", "i", "setting", "entropy_bits", "file_bytes", "file_bits", "weights", "quantized", "top1", "top5",
        "macro_precision", "macro_recall", "macro_f1", "mrr", "lost", "agreement", "kl", "broken", "samples", "seed",
    )  # fmt: skip
    rows = []
    for curve in curves:
        original = {**curve.original, "method": "original", "i": 32, "setting": "original"}
        for row in (original, *curve.rows):
            low, high = row["top1_interval"]
            values = {name: row.get(name, "") for name in columns}
            least, most = row.get("lost_interval") or ("", "")
            ends = {"top1_low": low, "top1_high": high, "lost_low": least, "lost_high": most}
            exact = row.get("exact") or {}
            stored = {
                "stored_exactly": exact.get("weights", ""), "stored_exactly_names": "; ".join(exact.get("names", ())),
            }  # fmt: skip
            rows.append({"model": curve.model, **values, **ends, **stored, "data": curve.data_hash})
    return rows_to_csv(rows)


def _rank(method: str) -> int:
    """Methods in the order of `method_names`, further ones behind."""
    known = method_names()
    return known.index(method) if method in known else len(known)


def setting_name(settings: Mapping[str, Any]) -> str:
    """Return what a row of these settings is called in a table."""
    if settings["mode"] == "grid":
        if settings["method"] == "half":
            return "half"
        if "format" in settings:
            return "{} {}, {}".format(settings["method"], *settings["format"])
        return f"{settings['method']}, {settings['i']}"
    if settings["mode"] == "file":
        return f"{settings['method']}, file {settings['i']}"
    bits, about = settings.get("bits"), "about " if settings["mode"] == "calibrated" else ""
    if bits is None:
        return f"{settings['method']}, default"
    return f"{settings['method']}, {about}{bits:g} bit{'' if bits == 1 else 's'}"
