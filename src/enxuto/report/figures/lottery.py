"""The charts of a lottery study: accuracy against what is left, filters removed in original places, speed.

Lines are medians over the seeds and their shades reach from the least to the most, as on a report's page. A ring is a
ticket by the median. The axis of what is left runs from the whole network down, as in the source.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from enxuto.report.drawing import new_figure, save
from enxuto.report.exhibit import Chart, Frame, Measure, Series
from enxuto.report.pictures import Panel, draw_panels, make_panels
from enxuto.report.readers.tickets import PrunedRun, UnprunedRun, ticket_chart

if TYPE_CHECKING:
    from enxuto.studies.lottery.arms import Arm
    from enxuto.studies.lottery.results import Level, Lottery

__all__ = ["draw_lottery"]

_CONTROLS = {"fresh": ", fresh weights", "random": ", random filters"}
_TRAINED_ON = "unpruned, trained on in the same way"
_MODES = {
    "rewind": "weights rewound", "lr-rewind": "learning rate rewound", "fine-tune": "fine-tuned",
    "reinit": "fresh weights (control)", "none": "not retrained",
}  # fmt: skip


def draw_lottery(lottery: Lottery, folder: str | Path, ending: str) -> list[Path]:
    """Draw `tickets-…`, `filters-…` and `speed`, as far as there is something to draw; the files written.

    Filters are drawn for the first seed and for each criterion's first way of retraining. ending: `.png` or `.svg`.
    Raises `UsageError` without matplotlib, or where a file cannot be written.
    """
    place = Path(folder)
    written = []
    for scope, schedule in dict.fromkeys((arm.scope, arm.schedule) for arm in lottery.arms):
        path = place / f"tickets-{scope}-{schedule}{ending}"
        written.append(_draw_tickets(lottery, scope, schedule, path))
    seed = min(lottery.unpruned.top1)
    first_arms: dict[tuple[str, str, str], Arm] = {}
    for arm in lottery.arms:
        if not arm.control:
            first_arms.setdefault((arm.criterion, arm.scope, arm.schedule), arm)
    for names, arm in first_arms.items():
        title = f"{lottery.network}, {arm.label}: filters removed by layer and round, seed {seed}"
        path = place / f"filters-{'-'.join(names)}{ending}"
        written.append(_draw_filters(lottery.of_arm(arm), seed, title, path))
    if lottery.speeds:
        written.append(_draw_speeds(lottery, place / f"speed{ending}"))
    return written


def _draw_tickets(lottery: Lottery, scope: str, schedule: str, path: Path) -> Path:
    """Accuracy against the parameters left, a panel for each way of retraining, all with the same range."""
    arms = [arm for arm in lottery.arms if (arm.scope, arm.schedule) == (scope, schedule)]
    names = list(dict.fromkeys([*(_method(arm) for arm in arms), _TRAINED_ON]))
    everything = _ticket_chart(lottery, arms, names, None)
    panels = []
    for mode, epoch in dict.fromkeys((arm.mode, arm.rewind_epoch) for arm in arms):
        inside = [arm for arm in arms if (arm.mode, arm.rewind_epoch) == (mode, epoch)]
        chart = _ticket_chart(lottery, inside, names, mode)
        title = _MODES[mode] + (f" to epoch {epoch}" if mode == "rewind" else "")
        panels.append(Panel(chart, chart.frames[0], chart.x[0], everything.y[0], title))
    about = "\n".join(textwrap.wrap(lottery.about, 100))
    title = (
        f"{lottery.network}, {scope}, {schedule}: test accuracy after each round; ring: ticket by the median"
    )
    return draw_panels(panels, path, title=f"{title}\n{about}", columns=2)


def _method(arm: Arm) -> str:
    """The name of a line in a panel, whose title says how its networks are retrained."""
    return arm.criterion + (_CONTROLS[arm.control] if arm.control else "")


def _ticket_chart(lottery: Lottery, arms: Sequence[Arm], names: Sequence[str], mode: str | None) -> Chart:
    """The chart of some arms; mode: also of the unpruned network that was trained on in that way."""
    runs = [
        PrunedRun(
            method=_method(arm),
            control=arm.is_compared_with,
            seed=seed,
            round=level.round,
            remaining=level.left["parameters"],
            accuracy=accuracy,
        )
        for arm in arms
        for level in lottery.of_arm(arm)
        for seed, accuracy in level.runs.top1.items()
    ]
    if mode is not None and mode in lottery.trained_on:
        runs += [
            PrunedRun(method=_TRAINED_ON, control=True, seed=seed, round=0, remaining=1.0, accuracy=accuracy)
            for seed, accuracy in lottery.trained_on[mode].top1.items()
        ]
    unpruned = [UnprunedRun(seed=seed, accuracy=top1) for seed, top1 in lottery.unpruned.top1.items()]
    chart = ticket_chart(lottery.network, runs, unpruned)
    # The same name looks the same in all panels.
    series = tuple(
        replace(one, style=names.index(one.name)) if one.name in names else one
        for one in chart.frames[0].series
    )
    return replace(chart, frames=(replace(chart.frames[0], series=series),))


def _draw_speeds(lottery: Lottery, path: Path) -> Path:
    """Speed-up against the parameters left, a panel for each batch size and device."""
    columns = ("left", "speedup")
    x = Measure("left", "% of parameters remaining", log=10, down=True)
    y = Measure("speedup", "times as fast as the unpruned network", start=0)
    panels = []
    for device, batch in sorted(
        {(str(row["device"]), int(row["batch"])) for timed in lottery.speeds for row in timed.rows}
    ):
        series = [
            Series(
                timed.arm.label,
                tuple(
                    (100 * timed.left[row["round"]], float(row["speedup"]))
                    for row in timed.rows
                    if (row["device"], row["batch"]) == (device, batch)
                ),
                "line",
                style,
            )
            for style, timed in enumerate(lottery.speeds)
        ]
        series.append(Series("unpruned", ((100.0, 1.0),), "rule"))
        name = f"{device.upper()}, batch {batch}"
        chart = Chart(name, columns, (x,), (y,), (Frame(name, tuple(series)),))
        panels += [replace(panel, title=name) for panel in make_panels(chart)]
    threads = lottery.speeds[0].threads
    count = f"{threads} thread{'s' if threads > 1 else ''}"
    title = f"{lottery.network}: ONNX Runtime, {count}, medians of runs taking turns"
    return draw_panels(panels, path, title=title, columns=2)


def _draw_filters(levels: Sequence[Level], seed: int, title: str, path: Path) -> Path:
    """Which filters each round removed: counts by layer, and each filter in its original place.

    levels: of one arm, round by round. seed: whose filters are shown.
    """
    from matplotlib import colormaps
    from matplotlib.patches import Patch

    values = [level.values[seed] for level in levels]
    widths = _widths(values[-1])
    layers = list(widths)
    figure, (counts, places) = new_figure(11, max(2.6, 0.42 * len(layers) + 1.9), columns=2)
    # From dark to light by the round; viridis keeps its order in every form of colour vision.
    shades = [colormaps["viridis"](value) for value in np.linspace(0, 0.95, len(values))]
    for row, layer in enumerate(layers):
        left = 0.0
        for shade, one in zip(shades, values, strict=True):
            removed = one["removed_now"].get(layer, [])
            share = 100 * len(removed) / widths[layer]
            counts.barh(row, share, left=left, color=shade, height=0.72)
            left += share
            strips = [(number / widths[layer], 1 / widths[layer]) for number in removed]
            places.broken_barh(strips, (row - 0.36, 0.72), facecolors=shade, linewidth=0)
        places.barh(row, 1, color="none", edgecolor="#888888", linewidth=0.5, height=0.72)
    for axes in (counts, places):
        axes.set_yticks(
            range(len(layers)), [f"{_short(layer)} ({widths[layer]})" for layer in layers], fontsize=8
        )
        axes.invert_yaxis()
        axes.grid(visible=False)
    counts.set_xlim(0, 100)
    counts.set_xlabel("removed, % of the layer's filters")
    places.set_xlim(0, 1)
    places.set_xticks([0, 1], ["first filter", "last"])
    first, last = places.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    places.set_xlabel("original place in the layer; white: kept")
    places.tick_params(axis="y", labelleft=False)
    figure.suptitle(title, fontsize=10)
    handles = [
        Patch(color=shade, label=f"round {level.round}") for shade, level in zip(shades, levels, strict=True)
    ]
    figure.legend(
        handles=handles, frameon=False, loc="outside lower center", ncols=min(10, len(handles)), fontsize=8
    )
    return save(figure, path)


def _widths(values: Mapping[str, Any]) -> dict[str, int]:
    """Layer → its filters before the first round: those left and those removed."""
    return {layer: count + len(values["removed"].get(layer, [])) for layer, count in values["widths"].items()}


def _short(layer: str) -> str:
    """The last parts of a layer's name, without those that say nothing."""
    parts = [part for part in layer.split(".") if part not in ("features", "classifier", "conv")]
    return ".".join(parts[-3:]) or layer
