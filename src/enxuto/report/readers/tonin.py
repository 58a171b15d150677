"""The study of Tonin's kind (`enxuto study tonin`): its tables, rate against accuracy, and staircases of quantizers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from enxuto.errors import DataError
from enxuto.report.documents import Document, kinds_of, provenance_of
from enxuto.report.exhibit import Chart, Exhibit, Frame, Measure, Series, origin
from enxuto.report.readers.printed_curves import PrintedPoints
from enxuto.report.readers.rates import PointValues, Tensors, rate_chart
from enxuto.report.values import Checked, Count, Number, Share, WithProvenance
from enxuto.studies.kinds import TONIN_MEASURE
from enxuto.studies.tonin.results import MAX_DROP, NetworkResults, collect
from enxuto.studies.tonin.staircases import staircases
from enxuto.studies.tonin.tables import tables
from enxuto.weights.tonin_published import BEST, find_published

__all__ = ["matches", "read", "staircase_chart"]


class _Values(PointValues):
    better_than_chance: bool = True
    by_class: dict[str, list[Share]] | None = None
    labels: list[str] | None = None
    left: Tensors | None = None
    model_bytes: Count | None = None
    weight_bytes: Count | None = None
    published: str = ""
    model: str = ""


class _Row(_Values):
    method: str
    i: Number
    setting: str
    format: tuple[int, int] | None = None


class _Network(Checked):
    network: str
    use: str = "image"
    max_drop: Number = MAX_DROP
    split: dict[str, Any] | None = None
    choosing: PrintedPoints[_Values, _Row]
    reporting: PrintedPoints[_Values, _Row] | None = None


class _Study(WithProvenance):
    networks: list[_Network]


def matches(values: Mapping[str, Any]) -> bool:
    """Whether these are points of that study, or what the verb prints of them."""
    return TONIN_MEASURE in kinds_of(values) or (values.get("study") == "tonin" and "networks" in values)


def read(document: Document) -> list[Exhibit]:
    """One exhibit for all networks. Raises `DataError` where none is finished."""
    found = _from_records(document) if document.results else _from_json(document)
    if not found:
        raise DataError("no network is finished yet", code="E080")
    samples = [f"{one.reported.original['samples']:,} of {one.name}" for one in found]
    return [
        Exhibit(
            "networks",
            "Quantizers of Tonin 2021 and enxuto, networks beside published ones",
            (*(rate_chart(one.choosing) for one in found), staircase_chart()),
            tuple(tables(found)),
            origin(
                document.name,
                provenance_of(document),
                command="enxuto study tonin FILE.toml",
                samples=samples,
                seed=[one.reported.original["seed"] for one in found],
                data=[one.reported.data_hash for one in found],
                versions=[result.versions for one in found for result in one.results[:1]],
                machine=[result.machine for one in found for result in one.results[:1]],
            ),
        )
    ]


def staircase_chart() -> Chart:
    """Return the staircase of each quantizer as a frame of one chart."""
    frames = tuple(
        Frame(name, (Series("value after rounding", tuple(corners)),))
        for name, corners in staircases().items()
    )
    return Chart(
        title="Staircases of the quantizers",
        columns=("x", "y"),
        x=(Measure("x", "weight"),),
        y=(Measure("y", "weight after rounding"),),
        frames=frames,
        note="From −1 to 1 in 2^3 steps (odd quantizers have 9 levels), minifloats with p 2 and q 2; fit: the largest "
        "weight is 1.",
    )


def _from_records(document: Document) -> list[NetworkResults]:
    mine = [one for one in document.results if one.kind == TONIN_MEASURE]
    for result in mine:
        if result.values is not None:
            _Values.model_validate(result.values)
    return [one for one in collect(mine) if one.choosing.rows]  # of others only the original is done yet


def _from_json(document: Document) -> list[NetworkResults]:
    return [
        NetworkResults(
            one.network,
            one.use,
            find_published(BEST, one.network),
            one.choosing.curve(one.network),
            None if one.reporting is None else one.reporting.curve(one.network),
            one.max_drop,
            one.split,
        )
        for one in _Study.model_validate(document.values).networks
    ]
