"""Tables 3.7 and 3.9 of Tonin 2021: classifiers of faces, with recall, precision and F1 where there are two classes."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from enxuto.studies.tonin.cells import (
    NONE,
    Measured,
    Row,
    about,
    best_caption,
    by_kind,
    mean_rate_cells,
    mean_text,
    published_mean_rates,
    published_rate_cells,
    published_rows,
    rate_cells,
    rows_of_kinds,
)
from enxuto.studies.tonin.published import FACES, corrected, original_shares
from enxuto.studies.tonin.results import NetworkResults
from enxuto.tables import Table
from enxuto.weights.tonin_published import PublishedQuantization

__all__ = ["faces_best", "faces_originals"]


def _two_classes(one: NetworkResults) -> bool:
    return len(one.reported.original.get("by_class", {}).get("recall", ())) == 2


def _class_cells(one: NetworkResults, row: Row, *, lost: bool) -> list[str]:
    """Recall, precision and F1 of both classes, and in brackets what is lost of each; dashes for more classes."""
    if not _two_classes(one):
        return [NONE] * 3
    cells = []
    for name in ("recall", "precision", "f1"):
        values, before = row["by_class"][name], one.reported.original["by_class"][name]
        texts = [
            f"{value:.3f}" + (f" ({was - value:+.3f})" if lost else "")
            for value, was in zip(values, before, strict=True)
        ]
        cells.append(" / ".join(texts))
    return cells


def _class_means(measured: Measured, *, lost: bool) -> list[str]:
    """Means of recall, precision and F1 by class, or of what is lost of each; dashes unless all have the same two."""
    if not all(_two_classes(one) for one, _ in measured) or len({_classes(one) for one, _ in measured}) != 1:
        return [NONE] * 3
    cells = []
    for name in ("recall", "precision", "f1"):
        found = [row["by_class"][name] for _, row in measured]
        if lost:
            before = [one.reported.original["by_class"][name] for one, _ in measured]
            found = [
                [was - now for was, now in zip(*pair, strict=True)]
                for pair in zip(before, found, strict=True)
            ]
        form = "({:+.3f})" if lost else "{:.3f}"
        cells.append(" / ".join(form.format(fmean(values)) for values in zip(*found, strict=True)))
    return cells


def _classes(one: NetworkResults) -> tuple[str, ...]:
    return tuple(map(str, one.reported.original.get("labels") or (0, 1)))


def _class_note(networks: Sequence[NetworkResults]) -> str:
    notes = [
        f"{one.name}: of the classes {' / '.join(_classes(one))}" for one in networks if _two_classes(one)
    ]
    text = f"Recall, precision and F1 of both classes. {'. '.join(notes)}. " if notes else ""
    return f"{text}The source does not say of which class its own are. " if notes else ""


def faces_originals(networks: Sequence[NetworkResults]) -> Table:
    """Return table 3.7."""
    rows = []
    for one in networks:
        o = one.reported.original
        cells = _class_cells(one, o, lost=False)
        rows.append((one.name, f"{o['entropy_bits']:.3f}", f"{100 * o['top1']:.3f}", *cells))
    if networks:
        originals = [(one, one.reported.original) for one in networks]
        rows.append((
            f"mean of {len(networks)}", mean_text([o["entropy_bits"] for _, o in originals], ".3f"),
            mean_text([100 * o["top1"] for _, o in originals], ".3f"), *_class_means(originals, lost=False),
        ))  # fmt: skip
    known_rows = published_rows(faces=True)
    for row in known_rows:
        known = FACES.get(row.key)
        cells = (
            [NONE] * 3 if known is None else [f"{v:.3f}" for v in (known.recall, known.precision, known.f1)]
        )
        rows.append((
            f"published: {row.network}", f"{row.original_entropy:.3f}", f"{original_shares(row)[0]:.3f}", *cells,
        ))  # fmt: skip
    rows.append((
        f"published: mean of {len(known_rows)}", mean_text([row.original_entropy for row in known_rows], ".3f"),
        mean_text([original_shares(row)[0] for row in known_rows], ".3f"), *[NONE] * 3,
    ))  # fmt: skip
    columns = ("network", "entropy", "accuracy %", "recall", "precision", "F1")
    caption = f"{_class_note(networks)}{about(networks)}"
    return Table("Table 3.7: classifiers of faces before quantization", columns, tuple(rows), caption)


def faces_best(networks: Sequence[NetworkResults]) -> Table:
    """Return table 3.9."""
    rows: list[tuple[str, ...]] = []
    for one in networks:
        for kind, row in rows_of_kinds(one):
            if row is None:
                rows.append((one.name, f"{kind}: none within {one.max_drop:g} points", *[NONE] * 9))
                continue
            lost = one.reported.points_lost(row)
            rows.append((
                one.name, str(row["setting"]), f"{100 * row['top1']:.3f} ({lost:+.3f})",
                *_class_cells(one, row, lost=True), *rate_cells(one, row),
            ))  # fmt: skip
    for kind, measured in by_kind(networks).items():
        accuracy = fmean(one.reported.points_lost(row) for one, row in measured)
        rows.append((
            f"mean of {len(measured)}", kind, f"({accuracy:+.3f})", *_class_means(measured, lost=True),
            *mean_rate_cells(measured),
        ))  # fmt: skip
    known = published_rows(faces=True)
    rows += map(_published_faces, known)
    rows.append((
        f"published: mean of {len(known)}", "", f"({fmean(row.top1_lost for row in known):+.3f})", *[NONE] * 3,
        *published_mean_rates(known),
    ))  # fmt: skip
    columns = (
        "network", "best method, level", "accuracy % (lost)", "recall (lost)", "precision (lost)", "F1 (lost)",
        "entropy (saved)", "CR", "RE", "file, bits/weight", "32-bit weights / file",
    )  # fmt: skip
    caption = f"{_class_note(networks)}{best_caption(networks)}"
    return Table("Table 3.9: best settings of classifiers of faces", columns, tuple(rows), caption, texts=2)


def _published_faces(row: PublishedQuantization) -> tuple[str, ...]:
    known = FACES.get(row.key)
    cells = [NONE] * 3
    if known is not None:
        precision, f1 = corrected("3.9", row.key, "precision lost"), corrected("3.9", row.key, "F1")
        cells = [
            f"{known.recall_after:.3f} ({known.recall - known.recall_after:+.3f})",
            f"{known.precision_after:.3f} ({known.precision - known.precision_after:+.3f}{precision})",
            f"{known.f1_after:.3f}{f1} ({known.f1 - known.f1_after:+.3f})",
        ]
    return (
        f"published: {row.network}", f"{row.method}, {row.levels}", f"{row.top1:.3f} ({row.top1_lost:+.3f})", *cells,
        *published_rate_cells(row, "3.9"),
    )  # fmt: skip
