"""What the tables of a Tonin study share: cells of rates, published rows, and what figures are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from enxuto.studies.curve.modes import CALIBRATED_METHOD, DEFAULT_METHOD
from enxuto.studies.tonin.points import RETRAINED
from enxuto.studies.tonin.published import corrected
from enxuto.studies.tonin.quantizers import SOURCE_METHODS
from enxuto.studies.tonin.results import MAX_DROP, NetworkResults
from enxuto.weights.tonin_published import BEST, PublishedQuantization

__all__ = [
    "NONE",
    "Measured",
    "Row",
    "about",
    "best_caption",
    "by_kind",
    "mean_rate_cells",
    "mean_text",
    "published_mean_rates",
    "published_rate_cells",
    "published_rows",
    "rate_cells",
    "rows_of_kinds",
]

NONE = "–"
"""A cell without a number."""
Row = Mapping[str, Any]
"""The values of a point."""
Measured = Sequence[tuple[NetworkResults, Row]]
"""Networks, each with one of its rows, or with the values of the original."""


def about(networks: Sequence[NetworkResults]) -> str:
    """Return samples, seed, data and what chose, of each network: figures without them say nothing."""
    parts = []
    for one in networks:
        text = f"{one.name}: {one.reported.about}"
        if one.split is not None:
            text += f"; chosen on {one.choosing.original['samples']:,} other images"
        elif one.reporting is not None:
            text += "; chosen on these very images"
        parts.append(text)
    return ". ".join(dict.fromkeys(parts)) or "None was measured here"


def published_rows(*, faces: bool) -> list[PublishedQuantization]:
    """Return the published rows of classifiers of faces, or of images."""
    return [row for row in BEST if (row.top5 is None) == faces]


def rows_of_kinds(one: NetworkResults) -> list[tuple[str, Row | None]]:
    """Return the rows of a network: the best of the source's quantizers, then enxuto's own files."""
    found: list[tuple[str, Row | None]] = [("the source's quantizers", one.best(SOURCE_METHODS))]
    methods = {row["method"] for row in one.reported.rows}
    if DEFAULT_METHOD in methods:
        found.append((DEFAULT_METHOD, one.best((DEFAULT_METHOD,)) or _only(one, DEFAULT_METHOD)))
    if CALIBRATED_METHOD in {row["method"] for row in one.choosing.rows}:
        found.append((CALIBRATED_METHOD, one.best((CALIBRATED_METHOD,))))
    found += [(RETRAINED, row) for row in one.reported.rows if row["method"] == RETRAINED]
    return found


def by_kind(networks: Sequence[NetworkResults]) -> dict[str, list[tuple[NetworkResults, Row]]]:
    """Return the rows of `rows_of_kinds` that there are, by kind, each with its network."""
    found: dict[str, list[tuple[NetworkResults, Row]]] = {}
    for one in networks:
        for kind, row in rows_of_kinds(one):
            if row is not None:
                found.setdefault(kind, []).append((one, row))
    return found


def _only(one: NetworkResults, method: str) -> Row:
    """The row of a method with one setting, however much it loses."""
    return next(row for row in one.reported.rows if row["method"] == method)


def best_caption(networks: Sequence[NetworkResults]) -> str:
    """Return what the tables of best settings say below."""
    drops = " / ".join(dict.fromkeys(f"{one.max_drop:g}" for one in networks)) or f"{MAX_DROP:g}"
    return (
        f"Best: of least entropy (enxuto: least file) within {drops} points of both top-1 and top-5 on the images that "
        "choose; of faces within these of accuracy. Figures are of the images that report, which need not "
        "keep the bound too. CR = 32/H and RE = (32 − H)/32 are of the entropy H of all weights in one "
        f"histogram; the file is measured. {about(networks)}. Published: Tonin 2021, other files on other images; "
        "* is a misprint, corrected"
    )


def rate_cells(one: NetworkResults, row: Row) -> tuple[str, ...]:
    """Return entropy (saved), CR, RE, bits per weight of the file, and how many times smaller it is."""
    bits = float(row["entropy_bits"])
    saved = float(one.reported.original["entropy_bits"]) - bits
    return (
        f"{bits:.3f} ({saved:.3f})", f"{32 / bits:.2f}" if bits else NONE, f"{(32 - bits) / 32:.3f}",
        f"{row['file_bits']:.3f}", f"{4 * row['weights'] / row['file_bytes']:.2f}",
    )  # fmt: skip


def mean_text(numbers: Sequence[float | None], form: str) -> str:
    """Return the mean in a form such as `.3f`; a dash where there are none, or where a network has no number."""
    known = [one for one in numbers if one is not None]
    return format(fmean(known), form) if known and len(known) == len(numbers) else NONE


def mean_rate_cells(measured: Measured) -> tuple[str, ...]:
    """Return the cells of `rate_cells`, as means over networks: of all but what is saved."""
    bits, files = ([float(row[name]) for _, row in measured] for name in ("entropy_bits", "file_bits"))
    return (
        f"{fmean(bits):.3f}", mean_text([32 / one if one else None for one in bits], ".2f"),
        f"{1 - fmean(bits) / 32:.3f}", f"{fmean(files):.3f}", f"{fmean(32 / one for one in files):.2f}",
    )  # fmt: skip


def published_mean_rates(rows: Sequence[PublishedQuantization]) -> tuple[str, ...]:
    """Return the same cells of published rows; there are no files."""
    bits, ratio = fmean(row.entropy for row in rows), fmean(row.ratio for row in rows)
    return (f"{bits:.3f}", f"{ratio:.2f}", f"{1 - bits / 32:.3f}", NONE, NONE)


def published_rate_cells(row: PublishedQuantization, table: str) -> tuple[str, ...]:
    """Return the same cells of a published row; there are no files."""
    saved = row.original_entropy - row.entropy
    mark = corrected(table, row.key, "entropy saved")
    return (
        f"{row.entropy:.3f} ({saved:.3f}{mark})", f"{row.ratio:.2f}", f"{(32 - row.entropy) / 32:.3f}", NONE, NONE,
    )  # fmt: skip
