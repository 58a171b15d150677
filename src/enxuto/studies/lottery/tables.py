"""The tables of a lottery study: claims of each arm, every level with its spread and controls; also as CSV."""

from __future__ import annotations

from collections.abc import Sequence

from enxuto.escaping import csv_text
from enxuto.studies.lottery.results import Level, Lottery
from enxuto.tables import Table

__all__ = ["claims_table", "levels_table", "lottery_csv", "speeds_table"]

_NONE = "–"


def claims_table(lottery: Lottery) -> Table:
    """A row for each arm: the smallest network that is a ticket by the median, and how much that says."""
    rows = []
    for arm in lottery.arms:
        levels = [level for level in lottery.of_arm(arm) if level.claim is not None]
        by_median = [level for level in levels if level.claim is not None and level.claim.by_median]
        beyond = [level for level in levels if level.claim is not None and level.claim.beyond_spread]
        seeds = sum(len(level.claim.seeds) for level in levels if level.claim is not None)
        beside = [level.claim.beats_reinit for level in levels if level.claim is not None]
        compared = [beats for beats in beside if beats is not None]  # not every arm has that control
        rows.append((
            *(
                (arm.label, "control", _NONE, _NONE, "control") if arm.mode == "reinit" else (
                    arm.label, f"{len(by_median)} of {len(levels)}", _smallest(by_median), _smallest(beyond),
                    f"{seeds} of {sum(level.claim.of for level in levels if level.claim is not None)}",
                )
            ),
            _NONE if arm.mode == "reinit" or not compared else f"{sum(compared)} of {len(compared)}",
            _signed(levels[-1].claim.over_unpruned if levels and levels[-1].claim else None),
        ))  # fmt: skip
    columns = (
        "arm", "tickets by median", "smallest, parameters %", "smallest beyond spread, %", "tickets by seed",
        "above fresh weights", "last round − unpruned",
    )  # fmt: skip
    runs = lottery.unpruned
    longer = "; ".join(
        f"trained on by {mode}: median {_percent(found.median)} ({_percent(found.low)} – {_percent(found.high)})"
        for mode, found in lottery.trained_on.items()
    )
    caption = (
        f"UnprunedNetwork: median {_percent(runs.median)} % ({_percent(runs.low)} – {_percent(runs.high)})"
        f"{'; ' if longer else ''}{longer}. A ticket is at least as accurate as the unpruned network; beyond spread: "
        "even its worst seed lies above the best unpruned one; above fresh weights: its worst seed lies above the best "
        f"of the same rounds with fresh weights. Differences in points of median accuracy. {lottery.about}"
    )
    return Table(f"{lottery.network}: winning tickets", columns, tuple(rows), caption)


def levels_table(lottery: Lottery) -> Table:
    """A row for each arm and round."""
    rows = []
    for arm in lottery.arms:
        for level in lottery.of_arm(arm):
            claim = level.claim
            rows.append((
                arm.label, str(level.round), *(_percent(level.left[key]) for key in ("parameters", "filters", "macs")),
                _percent(level.runs.median), f"{_percent(level.runs.low)} – {_percent(level.runs.high)}",
                _NONE if claim is None else f"{len(claim.seeds)} of {claim.of}",
                *(
                    _signed(None if claim is None else value)
                    for value in (() if claim is None else (claim.over_unpruned, claim.over_longer, claim.over_reinit,
                                                           claim.over_random))
                ),
                *(() if claim is not None else (_NONE,) * 4), _verdict(level),
            ))  # fmt: skip
    columns = (
        "arm", "round", "parameters %", "filters %", "MACs %", "median top-1 %", "min – max", "tickets", "− unpruned",
        "− trained on", "− fresh weights", "− random", "verdict",
    )  # fmt: skip
    caption = (
        "Left of the unpruned network (medians over seeds). Differences of medians in points, to: the unpruned "
        "network, the unpruned network trained on in the same way, the same rounds with fresh weights, random filters "
        f"with fresh weights. {lottery.about}"
    )
    return Table(f"{lottery.network}: every round", columns, tuple(rows), caption)


def speeds_table(lottery: Lottery) -> Table | None:
    """A row for each timed arm and round; None where nothing was timed."""
    rows = []
    for timed in lottery.speeds:
        batches = sorted({(str(row["device"]), int(row["batch"])) for row in timed.rows})
        for number in sorted(timed.left):
            found = {(row["device"], row["batch"]): row for row in timed.rows if row["round"] == number}
            cells = [
                f"{found[key]['median_ms']:.3g} ms, {found[key]['speedup']:.2f}×" if key in found else _NONE
                for key in batches
            ]
            rows.append((timed.arm.label, str(number), _percent(timed.left[number]), *cells))
    if not rows:
        return None
    columns = (
        "arm",
        "round",
        "parameters %",
        *(f"{device}, batch {batch}" for device, batch in batches),
    )
    threads = lottery.speeds[0].threads
    cores = f"{threads} thread{'s' if threads > 1 else ''}"
    caption = f"Medians of 10 runs after one, all rounds taking turns; ONNX Runtime, {cores}"
    return Table(f"{lottery.network}: speed", columns, tuple(rows), caption)


def lottery_csv(lottery: Lottery) -> str:
    """A line for each arm, round and seed in full precision."""
    rows = [
        {
            **vars(level.arm), "round": level.round, "seed": seed, "top1": values["top1"],
            "top1_low": values["top1_interval"][0], "top1_high": values["top1_interval"][1],
            "samples": values["samples"], "loss": values["loss"], "asked": values["asked"],
            "reached": values["reached"], **{f"{key}_left": value for key, value in values["left"].items()},
            **values["size"], "file_bytes": values["file_bytes"],
            "top1_before_retraining": values["top1_before_retraining"],
            "unpruned_top1": lottery.unpruned.top1[seed],
        }
        for level in lottery.levels
        for seed, values in level.values.items()
    ]  # fmt: skip
    return csv_text(list(rows[0]) if rows else ["criterion"], [list(row.values()) for row in rows])


def _verdict(level: Level) -> str:
    """What a level may be called, most careful first."""
    claim = level.claim
    if claim is None:
        return "in training"
    if level.arm.mode == "reinit":  # fresh weights: what tickets are compared with
        return "control, as good as the unpruned" if claim.by_median else "no ticket"
    if claim.beyond_spread:
        return "ticket, beyond spread"
    if claim.by_median:
        return "ticket by median"
    return "some seeds" if claim.seeds else "no ticket"


def _smallest(levels: Sequence[Level]) -> str:
    return _percent(min(level.left["parameters"] for level in levels)) if levels else _NONE


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _signed(difference: float | None) -> str:
    return _NONE if difference is None else f"{100 * difference:+.2f}"
