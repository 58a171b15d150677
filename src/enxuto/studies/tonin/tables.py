"""The tables of Tonin 2021 with published rows beside ours: 3.1, 3.7 to 3.10, and what it leaves open.

Numbers in brackets are what is lost or saved against the original, as in the source. `*` marks what the source
misprints, corrected (`published.CORRECTIONS`).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

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
from enxuto.studies.tonin.face_tables import faces_best, faces_originals
from enxuto.studies.tonin.published import FILES, MEANS, MEGABYTE, corrected, original_shares
from enxuto.studies.tonin.results import NetworkResults, within
from enxuto.studies.tonin.side_tables import (
    corrections_table,
    exact_names_table,
    exact_table,
    literature_table,
    methods_table,
    minifloat_table,
)
from enxuto.tables import Table
from enxuto.weights.tables import rows_to_csv
from enxuto.weights.tonin_published import BEST, PublishedQuantization

__all__ = ["tables", "tonin_csv"]

_ALL = "All: these and the classifiers of faces of table"


def tables(networks: Sequence[NetworkResults]) -> list[Table]:
    """All tables of a study, those without rows left out."""
    images = [one for one in networks if one.use == "image"]
    faces = [one for one in networks if one.use != "image"]
    found = [
        _files_table(networks),
        faces_originals(faces),
        _image_originals(images, faces),
        faces_best(faces),
        _image_best(images, faces),
        methods_table(networks),
    ]
    found += [table for one in networks if (table := minifloat_table(one)).rows]
    found += [exact_table(networks), exact_names_table(networks), corrections_table(), literature_table()]
    return [table for table in found if table.rows]


def _files_table(networks: Sequence[NetworkResults]) -> Table:
    rows = []
    for one in networks:
        original = one.reported.original
        if "model_bytes" not in original:
            continue
        share = 100 * original["weight_bytes"] / original["model_bytes"]
        told = "–" if share > 100 else f"{share:.3f}"  # a compressed file has fewer bytes than its weights
        rows.append((one.name, one.use, f"{original['model_bytes'] / MEGABYTE:.2f}", told))
    for row in FILES:
        mark = corrected("3.1", row.key, "name")
        rows.append((f"published: {row.network}{mark}", row.use, f"{row.size:.2f}", f"{row.share:.3f}"))
    caption = (
        "MB are 2^20 bytes, as in the source. Weights are all learned values; a dash stands for a file that is "
        "compressed already. * is a misprint, corrected"
    )
    columns = ("network", "classifies", "file, MB", "weights and biases in it, %")
    return Table("Table 3.1: networks and their files", columns, tuple(rows), caption, texts=2)


def _image_originals(networks: Sequence[NetworkResults], faces: Sequence[NetworkResults]) -> Table:
    rows: list[tuple[str, ...]] = []
    for one in networks:
        o = one.reported.original
        rows.append((one.name, f"{o['entropy_bits']:.3f}", f"{100 * o['top1']:.3f}", _percent(o.get("top5"))))
    if rows:
        rows.append(_mean_row("mean", rows))
    if rows and faces:
        entropies = [one.reported.original["entropy_bits"] for one in (*networks, *faces)]
        rows.append((f"mean of all {len(entropies)}", mean_text(entropies, ".3f"), NONE, NONE))
    theirs: list[tuple[str, ...]] = []
    known = published_rows(faces=False)
    for row in known:
        top1, top5 = original_shares(row)
        mark = corrected("3.8", row.key, "top-1")
        theirs.append((
            f"published: {row.network}", f"{row.original_entropy:.3f}", f"{top1:.3f}{mark}",
            NONE if top5 is None else f"{top5:.3f}{mark}",
        ))  # fmt: skip
    shares = list(zip(*map(original_shares, known), strict=True))
    theirs += [
        (
            f"published: mean of {len(known)}", mean_text([row.original_entropy for row in known], ".3f"),
            *(mean_text(column, ".3f") for column in shares),
        ),
        (f"published: mean of all {len(BEST)}", f"{MEANS['original entropy, all']:.3f}", NONE, NONE),
    ]  # fmt: skip
    columns = ("network", "entropy", "top-1 %", "top-5 %")
    caption = (
        f"Entropy: of the distinct float32 values, bits per weight. {about(networks)}. {_ALL} 3.7. * is a misprint, "
        "corrected"
    )
    return Table("Table 3.8: image classifiers before quantization", columns, (*rows, *theirs), caption)


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.3f}"


def _mean_row(name: str, rows: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Means of the columns behind the first; a dash where a network has no number."""
    means = []
    for column in list(zip(*rows, strict=True))[1:]:
        numbers = [cell for cell in column if cell != NONE]
        means.append(f"{fmean(map(float, numbers)):.3f}" if len(numbers) == len(column) else NONE)
    return (f"{name} of {len(rows)}", *means)


def _image_best(networks: Sequence[NetworkResults], faces: Sequence[NetworkResults]) -> Table:
    rows: list[tuple[str, ...]] = []
    for one in networks:
        for kind, row in rows_of_kinds(one):
            if row is None:
                rows.append((one.name, f"{kind}: none within {one.max_drop:g} points of both", *[NONE] * 8))
            else:
                rows.append(_image_row(one, row))
    measured, others = by_kind(networks), by_kind(faces)
    rows += [_image_means(kind, pairs) for kind, pairs in measured.items()]
    for kind in (kind for kind in measured if kind in others):
        pairs = [*measured[kind], *others[kind]]
        rows.append((f"mean of all {len(pairs)}", kind, NONE, NONE, *mean_rate_cells(pairs), NONE))
    known = published_rows(faces=False)
    rows += [*map(_published_image, known), _published_mean(known)]
    rows.append((f"published: mean of all {len(BEST)}", "", NONE, NONE, *published_mean_rates(BEST), NONE))
    columns = (
        "network", "best method, level", "top-1 % (lost)", "top-5 % (lost)", "entropy (saved)", "CR", "RE",
        "file, bits/weight", "32-bit weights / file", "within both",
    )  # fmt: skip
    return Table(
        "Table 3.10: best settings of image classifiers",
        columns,
        tuple(rows),
        f"{best_caption(networks)}. {_ALL} 3.9",
        texts=2,
    )


def _image_row(one: NetworkResults, row: Row) -> tuple[str, ...]:
    curve = one.reported
    fifth = f"{100 * row['top5']:.3f} ({curve.points_lost(row, 'top5'):+.3f})" if "top5" in row else NONE
    return (
        one.name, str(row["setting"]), f"{100 * row['top1']:.3f} ({curve.points_lost(row):+.3f})", fifth,
        *rate_cells(one, row), "yes" if within(curve, row, one.max_drop, one.use) else "no",
    )  # fmt: skip


def _image_means(kind: str, measured: Measured) -> tuple[str, ...]:
    """Return the row of means over networks; a dash where one of them has no number."""
    top5 = NONE
    top1 = f"({fmean(one.reported.points_lost(row) for one, row in measured):+.3f})"
    if all("top5" in row for _, row in measured):
        top5 = f"({fmean(one.reported.points_lost(row, 'top5') for one, row in measured):+.3f})"
    return (f"mean of {len(measured)}", kind, top1, top5, *mean_rate_cells(measured), NONE)


def _published_image(row: PublishedQuantization) -> tuple[str, ...]:
    key = row.key
    first = f"{row.top1:.3f} ({row.top1_lost:+.3f}{corrected('3.10', key, 'top-1 lost')})"
    top5 = "" if corrected("3.10", key, "top-5 lost") else corrected("3.10", key, "top-5")
    fifth = f"{row.top5:.3f}{top5} ({row.top5_lost:+.3f}{corrected('3.10', key, 'top-5 lost')})"
    within_both = max(row.top1_lost, row.top5_lost or 0.0) <= 0.8
    return (
        f"published: {row.network}", f"{row.method}, {row.levels}", first, fifth, *published_rate_cells(row, "3.10"),
        "yes" if within_both else "no",
    )  # fmt: skip


def _published_mean(rows: Sequence[PublishedQuantization]) -> tuple[str, ...]:
    top1, top5 = fmean(row.top1_lost for row in rows), fmean(row.top5_lost or 0.0 for row in rows)
    return (
        f"published: mean of {len(rows)}", "", f"({top1:+.3f})", f"({top5:+.3f})", *published_mean_rates(rows), NONE,
    )  # fmt: skip


def _exact_cells(row: Row) -> dict[str, Any]:
    """How many weights a file stores exactly, rounded and not, and the names of their tensors."""
    cells: dict[str, Any] = {}
    for column, key in (("stored_exactly", "exact"), ("not_rounded", "left")):
        found = row.get(key) or {}
        cells |= {column: found.get("weights", ""), f"{column}_names": "; ".join(found.get("names", ()))}
    return cells


def tonin_csv(networks: Sequence[NetworkResults]) -> str:
    """A line for each point in full precision, of both parts."""
    columns = (
        "method", "i", "setting", "entropy_bits", "file_bytes", "file_bits", "weights", "quantized", "top1", "top5",
        "macro_precision", "macro_recall", "macro_f1", "mrr", "lost", "agreement", "kl", "broken",
        "better_than_chance", "samples", "seed",
    )  # fmt: skip
    rows = []
    for one in networks:
        parts = [("choosing", one.choosing), *([("reporting", one.reporting)] if one.reporting else [])]
        for part, curve in parts:
            original = {**curve.original, "method": "original", "i": 32, "setting": "original"}
            for row in (original, *curve.rows):
                values = {name: row.get(name, "") for name in columns}
                rows.append({
                    "network": one.name, "part": part, **values, **_exact_cells(row), "data": curve.data_hash,
                })  # fmt: skip
    return rows_to_csv(rows)
