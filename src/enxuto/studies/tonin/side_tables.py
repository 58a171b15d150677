"""Tables beside the source's own: every method, minifloats, what files store exactly, misprints, literature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from enxuto.studies.tonin.cells import NONE, Row, rows_of_kinds
from enxuto.studies.tonin.published import CORRECTIONS, LITERATURE
from enxuto.studies.tonin.quantizers import BIAS, FIT, FIT_TENSOR, SOURCE_METHODS
from enxuto.studies.tonin.results import NetworkResults, within
from enxuto.tables import Table

__all__ = [
    "corrections_table",
    "exact_names_table",
    "exact_table",
    "literature_table",
    "methods_table",
    "minifloat_table",
]

_MINIFLOATS = ("minifloat", BIAS, FIT, FIT_TENSOR)


def methods_table(networks: Sequence[NetworkResults]) -> Table:
    """Return the least entropy of every method within the loss: figures 3.6 to 3.11 in one table."""
    rows = []
    for method in SOURCE_METHODS:
        cells = []
        for one in networks:
            mine = [row for row in one.choosing.rows if row["method"] == method]
            good = [row for row in mine if within(one.choosing, row, one.max_drop, one.use)]
            best = min(good, key=lambda row: float(row["entropy_bits"]), default=None)
            cells.append(NONE if not mine else "none" if best is None else _short_setting(best))
        if any(cell != NONE for cell in cells):
            rows.append((method, *cells))
    names = tuple(one.name for one in networks)
    caption = (
        "Entropy in bits per weight and setting of least entropy, on the images that choose. None: no setting"
    )
    return Table("Every method within the loss", ("method", *names), tuple(rows), caption)


def _short_setting(row: Row) -> str:
    setting = "{}, {}".format(*row["format"]) if "format" in row else f"i {row['i']:g}"
    return f"{row['entropy_bits']:.3f} ({setting})"


def minifloat_table(one: NetworkResults) -> Table:
    """Return top-1 with each format of table 3.5: as printed, with the other bias, and with a scale."""
    found: dict[tuple[int, int], dict[str, Row]] = {}
    for row in one.choosing.rows:
        if row["method"] in _MINIFLOATS:
            found.setdefault(tuple(row["format"]), {})[row["method"]] = row
    rows = [
        (f"{1 + p + q}", f"{p}, {q}", *(_top1(by_method.get(name)) for name in _MINIFLOATS))
        for (p, q), by_method in found.items()
    ]
    printed = [by["minifloat"] for by in found.values() if "minifloat" in by]
    lost = sum(not row["better_than_chance"] for row in printed)
    fitted = [by[FIT] for by in found.values() if FIT in by]
    still = sum(not row["better_than_chance"] for row in fitted)
    caption = (
        f"Top-1 %, bits of entropy in brackets, on {one.choosing.about}; °: no better than chance ({lost} of "
        f"{len(printed)} as printed, {still} of {len(fitted)} with a scale for the network). Bias 3: that of table 2.5"
    )
    columns = ("bits", "p, q", "as printed", "bias 3", "fit", "fit per tensor")
    return Table(f"{one.name}: minifloats", columns, tuple(rows), caption, texts=2)


def _top1(row: Row | None) -> str:
    if row is None:
        return NONE
    return f"{100 * row['top1']:.2f}{'' if row['better_than_chance'] else '°'} ({row['entropy_bits']:.2f})"


def exact_table(networks: Sequence[NetworkResults]) -> Table:
    """Return how much the files of tables 3.9 and 3.10 store exactly and how much is not rounded; names are below."""
    rows = []
    for one, row in _rows_of_best(networks):
        rounded, left = row.get("exact"), row.get("left")
        rows.append((
            one.name, str(row["setting"]), f"{row['weights']:,}", _tensors(rounded), _weights(rounded), _tensors(left),
            _weights(left),
        ))  # fmt: skip
    columns = (
        "network", "setting", "weights", "tensors rounded, stored exactly", "weights in them", "tensors not rounded",
        "weights in these",
    )  # fmt: skip
    caption = (
        "The source's quantizers round all weights. A file stores short tensors' rounded values exactly where coding "
        "their levels would not be shorter; what no level can hold is not rounded. enxuto's own files leave short "
        "tensors as they are. A dash: no .enx file, or recorded before this was"
    )
    return Table("What the best files store exactly", columns, tuple(rows), caption, texts=2)


def exact_names_table(networks: Sequence[NetworkResults]) -> Table:
    """Return the names of these tensors: a row for each list, with all settings of a network that have it."""
    found: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for one, row in _rows_of_best(networks):
        for what, key in (("rounded", "exact"), ("not rounded", "left")):
            if names := tuple((row.get(key) or {}).get("names", ())):
                found.setdefault((one.name, what, names), []).append(str(row["setting"]))
    rows = tuple((name, "; ".join(of), what, ", ".join(names)) for (name, what, names), of in found.items())
    columns = ("network", "setting", "stored exactly", "tensors")
    return Table(
        "Tensors that the best files store exactly", columns, rows, "Names as the models have them", texts=4
    )


def _rows_of_best(networks: Sequence[NetworkResults]) -> list[tuple[NetworkResults, Row]]:
    return [(one, row) for one in networks for _, row in rows_of_kinds(one) if row is not None]


def _tensors(found: Mapping[str, Any] | None) -> str:
    return NONE if found is None else f"{len(found['names']):,}"


def _weights(found: Mapping[str, Any] | None) -> str:
    return NONE if found is None else f"{found['weights']:,}"


def corrections_table() -> Table:
    """Return the misprints of the source."""
    rows = tuple((one.table, one.key, one.what, one.printed, one.right, one.why) for one in CORRECTIONS)
    columns = ("table", "network", "number", "printed", "right", "why")
    return Table(
        "Misprints of the source, corrected above",
        columns,
        rows,
        "Each follows from its other numbers",
        texts=6,
    )


def literature_table() -> Table:
    """Return the results that the source compares with."""
    rows = tuple(
        (
            one.work,
            one.source,
            "yes" if one.retrained else "no",
            one.networks,
            NONE if one.ratio is None else f"{one.ratio:.1f}",
            NONE if one.kept is None else f"{one.kept:g}",
            one.lost,
        )
        for one in LITERATURE
    )
    columns = ("work", "source", "retrained", "networks", "times smaller", "weights kept, %", "lost")
    notes = "".join(f". {one.work.split(',')[0]}: {one.note}" for one in LITERATURE if one.note)
    caption = f"As Tonin 2021, section 2.9, reports them. Sizes are estimates of different kinds{notes}"
    return Table("Literature", columns, rows, caption, texts=4)
