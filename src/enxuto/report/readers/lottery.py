"""Lottery studies as `enxuto.studies.lottery.points` records them: tickets, filters removed, speed-ups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from enxuto.errors import DataError
from enxuto.report.documents import Document, kinds_of, provenance_of
from enxuto.report.exhibit import Chart, Exhibit, Frame, Measure, Series, origin
from enxuto.report.readers.lottery_groups import group_comparable
from enxuto.report.readers.removed import PrunedRound, removal_exhibit
from enxuto.report.readers.tickets import PrunedRun, UnprunedRun, lottery_exhibit
from enxuto.report.values import Checked, Count, Number, Positive, Share, WithProvenance
from enxuto.studies.kinds import LOTTERY_ROUND, LOTTERY_SPEED, LOTTERY_START, LOTTERY_UNPRUNED
from enxuto.studies.lottery.arms import Arm
from enxuto.studies.lottery.chance import explain_void
from enxuto.studies.lottery.published import NETWORK, SPEEDS
from enxuto.study import Result
from enxuto.tables import Table

__all__ = ["KINDS", "matches", "read"]

_UNPRUNED = (LOTTERY_UNPRUNED, LOTTERY_START)
KINDS = (*_UNPRUNED, LOTTERY_ROUND, LOTTERY_SPEED)


class _Arm(Checked):
    criterion: str
    mode: str
    scope: str
    schedule: str
    rewind_epoch: Count
    control: str = ""

    @property
    def arm(self) -> Arm:
        """The arm of these names."""
        return Arm(self.criterion, self.mode, self.scope, self.schedule, self.rewind_epoch, self.control)


class _Network(Checked):
    name: str


class _Settings(Checked):
    network: _Network
    arm: _Arm | None = None
    round: Count | None = None


class _Trained(Checked):
    top1: Share
    samples: Count
    left: dict[str, Positive]
    widths: dict[str, Count]


class _Row(Checked):
    device: str
    round: Count
    batch: Count
    median_ms: Positive
    speedup: Number


class _Timed(Checked):
    threads: Count
    repeats: Count
    rows: list[_Row]


class _Seeds(Checked):
    seeds: dict[int, Share]


class _Level(_Arm):
    round: Count
    left: dict[str, Positive]
    seeds: dict[int, Share]
    claim: dict[str, Any] | None


class _Summary(WithProvenance):
    network: str
    about: str = ""
    unpruned: _Seeds
    levels: Annotated[tuple[_Level, ...], Field(min_length=1)]
    void: str | None = None


def matches(values: Mapping[str, Any]) -> bool:
    """Whether these are points of a lottery study, or what it makes of them (`lottery.json`)."""
    return bool(kinds_of(values) & set(KINDS)) or {"network", "levels", "unpruned"} <= set(values)


def read(document: Document) -> list[Exhibit]:
    """Two exhibits for each network, data set and way of training, and one for each timed arm; unfinished points are
    left out.

    Raises `DataError` where no unpruned network is there to compare with.
    """
    if not document.results:
        return [_summary(document)]
    done = [one for one in document.results if one.values is not None and one.kind in KINDS]
    found = []
    groups = group_comparable([one for one in done if one.kind != LOTTERY_SPEED], _UNPRUNED)
    for number, results in enumerate(groups, start=1):
        name = _Settings.model_validate(results[0].settings).network.name
        if len(groups) > 1:
            name = f"{name} ({number} of {len(groups)}, data {results[0].data_hash})"
        found += _trained(name, results, document)
    speeds = [one for one in done if one.kind == LOTTERY_SPEED]
    return found + ([_speeds(speeds, document)] if speeds else [])


def _summary(document: Document) -> Exhibit:
    """Tickets alone: the file does not say how many filters there were. Levels without a claim are not trained out."""
    found = _Summary.model_validate(document.values)
    runs = [
        PrunedRun(
            method=level.arm.label,
            control=level.arm.is_compared_with,
            seed=seed,
            round=level.round,
            remaining=level.left["parameters"],
            accuracy=accuracy,
        )
        for level in found.levels
        if level.claim is not None
        for seed, accuracy in level.seeds.items()
    ]
    unpruned = [UnprunedRun(seed=seed, accuracy=top1) for seed, top1 in found.unpruned.seeds.items()]
    if not runs or not unpruned:
        raise DataError(
            f"{found.network}: no finished networks, pruned and unpruned, to compare", code="E080"
        )
    origin_pairs = origin(
        document.name, found.provenance, samples=found.about, seed=sorted(found.unpruned.seeds)
    )
    return lottery_exhibit(found.network, runs, unpruned, origin_pairs, found.void)


def _trained(name: str, results: Sequence[Result], document: Document) -> list[Exhibit]:
    wholes = {one.seed: _Trained.model_validate(one.values) for one in results if one.kind in _UNPRUNED}
    if not wholes:
        raise DataError(
            f"{name}: no unpruned network is finished, and nothing can be compared with it", code="E080"
        )
    runs: list[PrunedRun] = []
    rounds: list[PrunedRound] = []
    first = next(iter(wholes.values()))
    last = max((_Settings.model_validate(one.settings).round or 0 for one in results), default=0)
    for one in results:
        settings = _Settings.model_validate(one.settings)
        if settings.arm is None or settings.round is None:
            continue
        values, label = _Trained.model_validate(one.values), settings.arm.arm.label
        # Of a gradual arm the last round alone is a finished training.
        if settings.arm.schedule != "gradual" or settings.round == last:
            runs.append(
                PrunedRun(
                    method=label if settings.round else f"{label} (only trained on)",
                    control=settings.arm.arm.is_compared_with or not settings.round,
                    seed=one.seed,
                    round=settings.round,
                    remaining=values.left.get("parameters", 1.0),
                    accuracy=values.top1,
                )
            )
        if settings.round and values.widths.keys() == first.widths.keys():
            kept = [values.widths[layer] for layer in first.widths]
            rounds.append(PrunedRound(method=label, seed=one.seed, round=settings.round, kept=kept))
    if not runs:
        raise DataError(f"{name}: no round of pruning is finished yet", code="E080")
    provenance = provenance_of(document, results[0].data_hash)
    origin_pairs = origin(document.name, provenance, **_facts_of(results), samples=first.samples)
    unpruned = [UnprunedRun(seed=seed, accuracy=one.top1) for seed, one in wholes.items()]
    void = explain_void([one for one in results if one.kind in _UNPRUNED])
    found = [lottery_exhibit(name, runs, unpruned, origin_pairs, void)]
    if rounds:
        found.append(
            removal_exhibit(name, list(first.widths), list(first.widths.values()), rounds, origin_pairs)
        )
    return found


def _facts_of(results: Sequence[Result]) -> dict[str, Any]:
    return {
        "seed": [one.seed for one in results],
        "data": [one.data_hash for one in results if one.data_hash],
        "versions": [one.versions for one in results if one.versions],
        "machine": [one.machine for one in results if one.machine],
        "finished": max(one.finished for one in results),
        "points": len(results),
    }


def _speeds(results: Sequence[Result], document: Document) -> Exhibit:
    """Speed-up by round: a frame for each timed arm, a line for each device and batch size."""
    frames, rows, repeats = [], [], 0
    for one in results:
        settings, timed = _Settings.model_validate(one.settings), _Timed.model_validate(one.values)
        arm = settings.arm.arm.label if settings.arm is not None else "all rounds"
        name, repeats = f"{settings.network.name}: {arm}", timed.repeats
        kinds = list(dict.fromkeys((row.device, row.batch) for row in timed.rows))
        series = [
            Series(
                f"{device}, batch {batch}",
                tuple((row.round, row.speedup, row.median_ms) for row in timed.rows
                      if (row.device, row.batch) == (device, batch)),
                "line",
                style,
            )
            for style, (device, batch) in enumerate(kinds)
        ]  # fmt: skip
        frames.append(Frame(name, tuple(series)))
        rows += [(name, row.device, str(row.round), str(row.batch), f"{row.median_ms:.3f}", f"{row.speedup:.2f}")
                 for row in timed.rows]  # fmt: skip
    rows += [
        (f"published: {NETWORK}", device, "last", str(batch), "–", faster) for device, batch, faster in SPEEDS
    ]
    chart = Chart(
        title="Speed-up of pruned networks",
        columns=("round", "speedup", "median"),
        x=(Measure("round", "round (0: unpruned)", whole=True),),
        y=(
            Measure("speedup", "times faster than unpruned (medians)", start=0),
            Measure("median", "median, ms a run", start=0),
        ),
        frames=tuple(frames),
    )  # fmt: skip
    table = Table(
        "Speed of pruned networks", ("arm", "device", "round", "batch", "median, ms", "times faster"), tuple(rows),
        "Times faster: of the medians, beside the unpruned network. Published: Magalhães et al., other machines", 2,
    )  # fmt: skip
    origin_pairs = origin(
        document.name, provenance_of(document), **_facts_of(results), samples=f"{repeats} runs of each"
    )
    return Exhibit("speed-up", "Pruned networks", (chart,), (table,), origin_pairs)
