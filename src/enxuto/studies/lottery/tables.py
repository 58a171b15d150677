"""The tables of a lottery study: claims of each arm, every level with its spread and controls; also as CSV."""

from __future__ import annotations

from collections.abc import Sequence

from enxuto.escaping import csv_text
from enxuto.studies.lottery.arms import Arm
from enxuto.studies.lottery.published import SPEEDS, TICKETS
from enxuto.studies.lottery.results import ArmSpeeds, Level, Lottery
from enxuto.tables import Table

__all__ = ["claims_table", "levels_table", "lottery_csv", "published_table", "speeds_table"]

PUBLISHED_NETWORK = "vgg16-cifar"
"""The network of the zoo that the source prunes."""

_NONE = "–"
_VOID = "void"


def claims_table(lottery: Lottery) -> Table:
    """A row for each arm: the smallest network that is a ticket by the median, and how much that says."""
    rows = [_claims_row(lottery, arm) for arm in lottery.arms if not arm.control]
    columns = (
        "arm", "tickets by median", "smallest, parameters %", "smallest beyond spread, %", "tickets by seed",
        "above fresh weights", "above random filters", "last round − unpruned",
    )  # fmt: skip
    runs = lottery.unpruned
    longer = "; ".join(
        f"trained on by {mode}: median {_percent(found.median)} ({_percent(found.low)} – {_percent(found.high)})"
        for mode, found in lottery.trained_on.items()
    )
    caption = (
        f"{_void_text(lottery)}"
        f"Unpruned network: median {_percent(runs.median)} % ({_percent(runs.low)} – {_percent(runs.high)})"
        f"{'; ' if longer else ''}{longer}. A ticket is at least as accurate as the unpruned network; beyond spread: "
        "even its worst seed lies above the best unpruned one; above fresh weights, above random filters: in so many "
        "rounds its worst seed lies above the best one of that control, which has the sizes of that very round. "
        f"Differences in points of median accuracy. {lottery.about}"
    )
    return Table(f"{lottery.network}: winning tickets", columns, tuple(rows), caption)


def _claims_row(lottery: Lottery, arm: Arm) -> tuple[str, ...]:
    found = [(level, level.claim) for level in lottery.of_arm(arm) if level.claim is not None]
    last = _signed(found[-1][1].over_unpruned if found else None)
    if arm.is_compared_with:
        return (arm.label, "control", _NONE, _NONE, "control", _NONE, _NONE, last)
    if lottery.void:
        return (arm.label, _VOID, _NONE, _NONE, _VOID, _NONE, _NONE, last)
    by_median = [level for level, claim in found if claim.by_median]
    beyond = [level for level, claim in found if claim.beyond_spread]
    seeds = sum(len(claim.seeds) for _, claim in found)
    return (
        arm.label, f"{len(by_median)} of {len(found)}", _smallest(by_median), _smallest(beyond),
        f"{seeds} of {sum(claim.of for _, claim in found)}", _times([claim.beats_fresh for _, claim in found]),
        _times([claim.beats_random for _, claim in found]), last,
    )  # fmt: skip


def _times(beats: Sequence[bool | None]) -> str:
    """In how many of the rounds that have the control it is beaten."""
    compared = [one for one in beats if one is not None]
    return f"{sum(compared)} of {len(compared)}" if compared else _NONE


def levels_table(lottery: Lottery) -> Table:
    """A row for each arm, control and round."""
    levels = [level for arm in lottery.arms for level in lottery.of_arm(arm)]
    timed = lottery.unpruned_epochs is not None
    rows = [
        (*_level_cells(level), *([_epochs(level)] if timed else []), _verdict(level, lottery))
        for level in levels
    ]
    columns = (
        "arm", "round", "parameters %", "filters %", "MACs %", "median top-1 %", "min – max", "tickets", "− unpruned",
        "− trained on", "− fresh weights", "− random", *(["epochs to lowest loss"] if timed else []), "verdict",
    )  # fmt: skip
    learnt = (
        f"Epochs: after which the loss on held-out images was lowest; of the unpruned {lottery.unpruned_epochs:g}. "
        if timed
        else ""
    )
    caption = (
        f"{_void_text(lottery)}"
        "Left of the unpruned network (medians over seeds). Differences of medians in points, to: the unpruned "
        "network, the unpruned network trained on in the same way, fresh weights in the same architecture, random "
        f"filters at the same sizes retrained in the same way. {learnt}{lottery.about}"
    )
    return Table(f"{lottery.network}: every round", columns, tuple(rows), caption)


def published_table(lottery: Lottery) -> Table | None:
    """Tickets and speed-ups beside those that the source publishes; None for other networks than its VGG-16.

    Source: G. Magalhães et al., chapter 5 (`published`).
    """
    if lottery.network != PUBLISHED_NETWORK:
        return None
    how, shares = TICKETS
    timed = [(device, batch) for device, batch, _ in SPEEDS]
    faster = {arm.arm: arm for arm in lottery.speeds}
    rows = [
        (f"published: {how}", ", ".join(f"{share:.2f}" for share in shares), *(speed for *_, speed in SPEEDS))
    ]
    for arm in lottery.arms:
        if arm.is_compared_with:
            continue
        tickets = [
            _percent(level.left["parameters"])
            for level in lottery.of_arm(arm)
            if level.claim is not None and level.claim.by_median
        ]
        speeds = [_last_speed(faster[arm], *key) if arm in faster else _NONE for key in timed]
        rows.append((arm.label, _VOID if lottery.void else ", ".join(tickets) or "none", *speeds))
    columns = (
        "how",
        "tickets at, % of parameters",
        *(f"times faster, {device.upper()}, batch {batch}" for device, batch in timed),
    )
    caption = (
        f"{_void_text(lottery)}"
        "Tickets by the median; speed-ups of the last round. Published: Magalhães et al. on VGG-16 for CIFAR-10, 160 "
        f"epochs, five seeds, other machines. Ours: {lottery.about}"
    )
    return Table(f"{lottery.network}: beside the published figures", columns, tuple(rows), caption)


def _last_speed(timed: ArmSpeeds, device: str, batch: int) -> str:
    rows = [row for row in timed.rows if (row["device"], row["batch"]) == (device, batch)]
    return f"{max(rows, key=lambda row: row['round'])['speedup']:.2f}" if rows else _NONE


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


def _level_cells(level: Level) -> tuple[str, ...]:
    """What is left, how accurate that is, and by how much it differs from each control."""
    claim, runs = level.claim, level.runs
    differences = (
        (None,) * 4
        if claim is None
        else (claim.over_unpruned, claim.over_longer, claim.over_fresh, claim.over_random)
    )
    return (
        level.arm.label, str(level.round),
        *(_percent(level.left[key]) for key in ("parameters", "filters", "macs")),
        _percent(runs.median), f"{_percent(runs.low)} – {_percent(runs.high)}",
        _NONE if claim is None else f"{len(claim.seeds)} of {claim.of}", *map(_signed, differences),
    )  # fmt: skip


def _epochs(level: Level) -> str:
    return _NONE if level.epochs is None else f"{level.epochs:g}"


def _void_text(lottery: Lottery) -> str:
    """The sentence that a caption begins with where no claim holds."""
    return f"{lottery.void[0].upper()}{lottery.void[1:]}. " if lottery.void else ""


def _verdict(level: Level, lottery: Lottery) -> str:
    """What a level may be called, most careful first."""
    claim = level.claim
    if claim is None:
        return "in training"
    if lottery.void:
        return _VOID
    if any(values.get("collapsed") for values in level.values.values()):
        return "collapsed"
    if level.arm.is_compared_with:
        return "control, as good as the unpruned" if claim.by_median else "control"
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
