"""Filters removed per layer and round: for each round, what it removed, what was gone before, and what is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from enxuto.errors import DataError
from enxuto.report.documents import Document
from enxuto.report.exhibit import Chart, Exhibit, Frame, Measure, Series, origin
from enxuto.report.values import Checked, Count, Told
from enxuto.study.souza_tables import Table

__all__ = ["PrunedRound", "knows", "read", "removal_exhibit"]


class PrunedRound(Checked):
    """How many filters of each layer are kept after a round, in the order of the layers."""

    method: str
    seed: int
    round: Annotated[int, Field(ge=1)]
    kept: list[Count]


class _Removed(Told):
    layers: Annotated[list[str], Field(min_length=1)]
    filters: list[Count]
    rounds: Annotated[list[PrunedRound], Field(min_length=1)]


def knows(values: Mapping[str, Any]) -> bool:
    """Whether there are filters of layers, and rounds."""
    return {"layers", "filters", "rounds"} <= set(values)


def read(document: Document) -> list[Exhibit]:
    """One exhibit. Raises `DataError` where counts and layers do not fit each other."""
    found = _Removed.model_validate(document.values)
    told = origin(document.name, found.provenance)
    return [removal_exhibit(found.title or document.name, found.layers, found.filters, found.rounds, told)]


def removal_exhibit(
    title: str,
    layers: Sequence[str],
    filters: Sequence[int],
    rounds: Sequence[PrunedRound],
    told: tuple[tuple[str, str], ...],
) -> Exhibit:
    """Bars and table; `filters` are the counts before any round. Raises `DataError` for counts that do not fit."""
    for one in rounds:
        if len(one.kept) != len(layers) or len(filters) != len(layers):
            raise DataError(f"{title}: {len(layers)} layers, but {len(one.kept)} counts in round {one.round}")
    runs: dict[tuple[str, int], list[PrunedRound]] = {}
    for one in sorted(rounds, key=lambda one: one.round):
        runs.setdefault((one.method, one.seed), []).append(one)
    frames: list[Frame] = []
    rows: list[tuple[str, ...]] = []
    for (method, seed), steps in runs.items():
        before: Sequence[int] = filters
        for one in steps:
            frames.append(
                _frame(f"{method}, seed {seed}, round {one.round}", layers, filters, before, one.kept)
            )
            rows += _rows(method, seed, one, layers, filters, before)
            before = one.kept
    chart = Chart(
        title=f"{title}: filters removed by layer and round",
        columns=("layer", "filters", "share"),
        x=(Measure("layer", "layer, in the order of the network"),),
        y=(Measure("filters", "filters", start=0), Measure("share", "% of the layer's filters", start=0)),
        frames=tuple(frames),
        bars="up",
        stacked=True,
    )
    columns = ("method", "layer", "seed", "round", "filters", "removed in this round", "kept", "kept %")
    caption = "Filters: before any round"
    return Exhibit(
        "removed-filters",
        title,
        (chart,),
        (Table(f"{title}: filters", columns, tuple(rows), caption, 2),),
        told,
    )


def _frame(
    name: str, layers: Sequence[str], filters: Sequence[int], before: Sequence[int], kept: Sequence[int]
) -> Frame:
    parts = (
        ("kept", kept, 0),
        ("removed in this round", [a - b for a, b in zip(before, kept, strict=True)], 1),
        ("removed before", [a - b for a, b in zip(filters, before, strict=True)], 4),
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


def _rows(
    method: str,
    seed: int,
    one: PrunedRound,
    layers: Sequence[str],
    filters: Sequence[int],
    before: Sequence[int],
) -> list[tuple[str, ...]]:
    return [
        (method, layer, str(seed), str(one.round), str(most), str(was - kept), str(kept),
         f"{100 * kept / most:.1f}" if most else "–")
        for layer, most, was, kept in zip(layers, filters, before, one.kept, strict=True)
    ]  # fmt: skip
