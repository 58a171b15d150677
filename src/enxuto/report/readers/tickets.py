"""Lottery curves: accuracy against the share of parameters that remains, as median, least and most over the seeds.

A ticket is a pruned network at least as accurate as the unpruned one of its seed; a point is marked where the median
over the seeds reaches the median of the unpruned, and every seed is there, as `enxuto.prune.tickets` claims it.
Controls (fresh weights; the unpruned network only trained on) are drawn beside, and are never tickets.
Source: Magalhães et al., the figures of accuracy against parameters remaining.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Annotated, Any

from pydantic import Field

from enxuto.report.documents import Document
from enxuto.report.exhibit import Cell, Chart, Exhibit, Frame, Measure, Series, origin
from enxuto.report.values import Checked, Count, Share, WithProvenance, percent
from enxuto.studies.lottery.published import NETWORK, TICKETS
from enxuto.tables import Table

__all__ = ["PrunedRun", "UnprunedRun", "lottery_exhibit", "matches", "read", "ticket_chart"]

_VOID = "void"
_FAR = 0.4  # networks that lose more than this share are out of sight close up


class UnprunedRun(Checked):
    """A network before pruning: its seed and accuracy (share)."""

    seed: int
    accuracy: Share


class PrunedRun(Checked):
    """A network after a round: how it was pruned and retrained, the share of parameters remaining, its accuracy.

    control: whether it is there to be compared with, such as with fresh weights, and no candidate for a ticket.
    """

    method: str
    seed: int
    round: Count
    remaining: Annotated[float, Field(gt=0, le=1)]
    accuracy: Share
    control: bool = False


class _Tickets(WithProvenance):
    runs: Annotated[list[PrunedRun], Field(min_length=1)]
    unpruned: Annotated[list[UnprunedRun], Field(min_length=1)]


def matches(values: Mapping[str, Any]) -> bool:
    """Whether there are pruned networks beside unpruned ones."""
    return {"runs", "unpruned"} <= set(values)


def read(document: Document) -> list[Exhibit]:
    """One exhibit."""
    found = _Tickets.model_validate(document.values)
    origin_pairs = origin(document.name, found.provenance)
    return [lottery_exhibit(found.title or document.name, found.runs, found.unpruned, origin_pairs)]


def lottery_exhibit(
    title: str,
    runs: Sequence[PrunedRun],
    unpruned: Sequence[UnprunedRun],
    origin_pairs: tuple[tuple[str, str], ...],
    void: str | None = None,
) -> Exhibit:
    """Curves and table of pruned networks, beside unpruned ones of the same seeds (one at least).

    void: why no network is called a ticket, where something speaks against that.
    """
    groups, before = _group(runs), {run.seed: run.accuracy for run in unpruned}
    return Exhibit(
        "tickets",
        title,
        (ticket_chart(title, runs, unpruned, void),),
        (_ticket_table(title, groups, before, void), _table(title, groups, before, void)),
        origin_pairs,
    )


def _ticket_table(
    title: str,
    groups: Mapping[str, Mapping[int, list[PrunedRun]]],
    unpruned: Mapping[int, float],
    void: str | None,
) -> Table:
    """At which sizes each method has tickets by the median, beside what the source found."""
    rows = []
    for method, rounds in groups.items():
        sizes = {number: median(run.remaining for run in runs) for number, runs in rounds.items()}
        tickets = [
            f"{100 * sizes[number]:.2f}" for number, runs in rounds.items() if _is_ticket(runs, unpruned)
        ]
        control = all(run.control for runs in rounds.values() for run in runs)
        least = min(sizes.values())
        found = "(control)" if control else _VOID if void else ", ".join(tickets) or "none"
        rows.append((method, found, f"{100 * least:.2f}"))
    how, published = TICKETS
    rows.append((f"published: {NETWORK}, {how}", ", ".join(f"{share:.2f}" for share in published), "1.02"))
    columns = ("method", "tickets at, % of parameters", "smallest network, %")
    about = "By the median over the seeds. Published: Magalhães et al., perhaps another network and training"
    return Table(f"{title}: where tickets are", columns, tuple(rows), _sentence(void) + about, 2)


def _group(runs: Sequence[PrunedRun]) -> dict[str, dict[int, list[PrunedRun]]]:
    """Method → round → the runs of all seeds."""
    groups: dict[str, dict[int, list[PrunedRun]]] = {}
    for run in sorted(runs, key=lambda run: run.round):
        groups.setdefault(run.method, {}).setdefault(run.round, []).append(run)
    return groups


def ticket_chart(
    title: str, runs: Sequence[PrunedRun], unpruned: Sequence[UnprunedRun], void: str | None = None
) -> Chart:
    """Accuracy against the parameters remaining: a line for each method, beside the unpruned networks.

    void: as for `lottery_exhibit`.
    """
    groups, before = _group(runs), {run.seed: run.accuracy for run in unpruned}
    middle = median(before.values())
    series = [
        Series(method, tuple(_point(rounds[number], before, void) for number in rounds), "band", style)
        for style, (method, rounds) in enumerate(groups.items())
    ]
    low, high = min(before.values()), max(before.values())
    found = [
        *before.values(),
        *(run.accuracy for rounds in groups.values() for runs in rounds.values() for run in runs),
    ]
    best = [max(run.accuracy for runs in rounds.values() for run in runs) for rounds in groups.values()]
    # What fell far is out of sight close up, but of every method something is in it.
    least, most = min([max(min(found), middle - _FAR), *best]), max(found)
    air = max(0.05 * (most - least), 0.002)
    rule: tuple[Cell, ...] = (100.0, 100 * middle, 100 * low, 100 * high, 0, 0, str(len(before)), None)
    series.append(Series("unpruned, median", (rule,), "rule"))
    return Chart(
        title=f"{title}: accuracy against parameters remaining",
        columns=("remaining", "accuracy", "low", "high", "ticket", "round", "seeds", "tickets"),
        x=(Measure("remaining", "% of parameters remaining", log=10, down=True),),
        y=(
            Measure(
                "accuracy",
                "test accuracy %",
                low="low",
                high="high",
                start=0,
                close=(max(0.0, 100 * (least - air)), min(100.0, 100 * (most + air))),
                near=True,
            ),
        ),
        frames=(Frame(title, tuple(series)),),
        hover=(("round", "round"), ("seeds", "seeds"), ("tickets", "ticket")),
        mark=("ticket", "ticket: the median is at least the unpruned median"),
        note=f"{_sentence(void)}Lines: median over the seeds; area: least to most. The unpruned range from "
        f"{100 * low:.2f} to {100 * high:.2f} % over {len(before)} seeds.",
    )


def _is_ticket(runs: Sequence[PrunedRun], unpruned: Mapping[int, float]) -> bool:
    """Whether all seeds are there and their median reaches that of the unpruned; no control does."""
    whole = {run.seed for run in runs} == set(unpruned)
    reached = median(run.accuracy for run in runs) >= median(unpruned.values())
    return whole and reached and not any(run.control for run in runs)


def _sentence(void: str | None) -> str:
    return f"{void[0].upper()}{void[1:]}. " if void else ""


def _point(runs: Sequence[PrunedRun], unpruned: Mapping[int, float], void: str | None) -> tuple[Cell, ...]:
    accuracies = [100 * run.accuracy for run in runs]
    ticket = not void and _is_ticket(runs, unpruned)
    return (
        100 * median(run.remaining for run in runs),
        median(accuracies),
        min(accuracies),
        max(accuracies),
        int(ticket),
        runs[0].round,
        str(len(runs)),
        "control" if any(run.control for run in runs) else _VOID if void else "yes" if ticket else "no",
    )


def _table(
    title: str,
    groups: Mapping[str, Mapping[int, list[PrunedRun]]],
    unpruned: Mapping[int, float],
    void: str | None,
) -> Table:
    rows = []
    for method, rounds in groups.items():
        for number, runs in rounds.items():
            accuracies = [run.accuracy for run in runs]
            beside = [run.accuracy >= unpruned[run.seed] for run in runs if run.seed in unpruned]
            tickets = _VOID if void else f"{sum(beside)} of {len(beside)}"
            rows.append((
                method, str(number), f"{100 * median(run.remaining for run in runs):.2f}", percent(median(accuracies)),
                percent(min(accuracies)), percent(max(accuracies)),
                "control" if any(run.control for run in runs) else tickets,
                f"{100 * (median(accuracies) - median(unpruned.values())):+.2f}",
            ))  # fmt: skip
    columns = (
        "method", "round", "% remaining", "median %", "least %", "most %", "tickets", "median − unpruned median",
    )  # fmt: skip
    spread = 100 * (max(unpruned.values()) - min(unpruned.values()))
    caption = (
        f"{_sentence(void)}Tickets: networks at least as accurate as the unpruned one of their seed. Unpruned: median "
        f"{100 * median(unpruned.values()):.2f} %, spread {spread:.2f} points over {len(unpruned)} seeds"
    )
    return Table(f"{title}: rounds", columns, tuple(rows), caption)
