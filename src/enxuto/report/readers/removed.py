"""Filters removed per layer and round: for each round, what it removed, what was gone before, and what is kept.

Over several seeds the median of what is kept is shown: a layer of it may have half a filter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Annotated, Any

from pydantic import Field

from enxuto.errors import DataError
from enxuto.report.documents import Document
from enxuto.report.exhibit import Chart, Exhibit, Frame, Measure, Series, origin
from enxuto.report.values import Checked, Count, WithProvenance
from enxuto.tables import Table

__all__ = ["PrunedRound", "matches", "read", "removal_exhibit"]


class PrunedRound(Checked):
    """How many filters of each layer are kept after a round, in the order of the layers."""

    method: str
    seed: int
    round: Annotated[int, Field(ge=1)]
    kept: list[Count]


class _Removed(WithProvenance):
    layers: Annotated[list[str], Field(min_length=1)]
    filters: list[Count]
    rounds: Annotated[list[PrunedRound], Field(min_length=1)]


def matches(values: Mapping[str, Any]) -> bool:
    """Whether there are filters of layers, and rounds."""
    return {"layers", "filters", "rounds"} <= set(values)


def read(document: Document) -> list[Exhibit]:
    """One exhibit. Raises `DataError` where counts and layers do not fit each other."""
    found = _Removed.model_validate(document.values)
    origin_pairs = origin(document.name, found.provenance)
    return [
        removal_exhibit(found.title or document.name, found.layers, found.filters, found.rounds, origin_pairs)
    ]


def removal_exhibit(
    title: str,
    layers: Sequence[str],
    filters: Sequence[int],
    rounds: Sequence[PrunedRound],
    origin_pairs: tuple[tuple[str, str], ...],
) -> Exhibit:
    """Bars and table; `filters` are the counts before any round. Raises `DataError` for counts that do not fit."""
    for one in rounds:
        if len(one.kept) != len(layers) or len(filters) != len(layers):
            raise DataError(f"{title}: {len(layers)} layers, but {len(one.kept)} counts in round {one.round}")
    methods: dict[str, dict[int, list[PrunedRound]]] = {}
    for one in sorted(rounds, key=lambda one: one.round):
        methods.setdefault(one.method, {}).setdefault(one.round, []).append(one)
    frames: list[Frame] = []
    rows: list[tuple[str, ...]] = []
    for method, numbered in methods.items():
        before: Sequence[float] = filters
        for number, runs in numbered.items():
            kept = [median(counts) for counts in zip(*(one.kept for one in runs), strict=True)]
            frames.append(_frame(f"{method}, round {number}", layers, filters, before, kept))
            for layer, most, was, left in zip(layers, filters, before, kept, strict=True):
                share = f"{100 * left / most:.1f}" if most else "–"
                rows.append(
                    (
                        method,
                        layer,
                        str(number),
                        str(len(runs)),
                        str(most),
                        f"{was - left:g}",
                        f"{left:g}",
                        share,
                    )
                )
            before = kept
    chart = Chart(
        title=f"{title}: filters removed by layer and round",
        columns=("layer", "filters", "share"),
        x=(Measure("layer", "layer, in the order of the network"),),
        y=(Measure("filters", "filters", start=0), Measure("share", "% of the layer's filters", start=0)),
        frames=tuple(frames),
        bars="up",
        stacked=True,
        note=f"Median over {len({one.seed for one in rounds})} seeds."
        if len({one.seed for one in rounds}) > 1
        else "",
    )
    columns = ("method", "layer", "round", "seeds", "filters", "removed in this round", "kept", "kept %")
    caption = "Filters: before any round; kept: median over the seeds"
    return Exhibit(
        "removed-filters",
        title,
        (chart,),
        (Table(f"{title}: filters", columns, tuple(rows), caption, 2),),
        origin_pairs,
    )


def _frame(
    name: str, layers: Sequence[str], filters: Sequence[int], earlier: Sequence[float], kept: Sequence[float]
) -> Frame:
    parts = (
        ("kept", kept, 0),
        ("removed in this round", [a - b for a, b in zip(earlier, kept, strict=True)], 1),
        ("removed before", [a - b for a, b in zip(filters, earlier, strict=True)], 4),
    )
    return Frame(
        name,
        tuple(
            Series(
                part,
                tuple(
                    (layer, count, 100 * count / most if most else 0.0)
                    for layer, count, most in zip(layers, counts, filters, strict=True)
                ),
                "bars",
                style,
            )
            for part, counts, style in parts
        ),
    )
