"""The charts of a lottery study: accuracy against what is left, filters removed in original places, speed.

Lines are medians over the seeds, their shades reach from the least to the most, and the axis of what is left is
logarithmic and runs from the whole network down, as in the source. A filled star is a ticket by the median, a hollow
one a ticket beyond the spread of the unpruned runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from enxuto.drawing import COLOURS, DASHES, MARKERS, new_figure, save
from enxuto.studies.lottery.points import Arm
from enxuto.studies.lottery.results import Level, Lottery, Timed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_filters", "draw_speeds", "draw_tickets"]

_TICKS = (100, 70, 50, 30, 20, 10, 7, 5, 3, 2, 1, 0.7, 0.5, 0.3, 0.2, 0.1)
_FURTHEST = 25  # points below the unpruned network; what fell further leaves the panel
_GREY, _CONTROL = "#444444", "#999999"
_MODES = {
    "rewind": "weights rewound", "lr-rewind": "learning rate rewound", "fine-tune": "fine-tuned",
    "reinit": "fresh weights (control)", "none": "not retrained",
}  # fmt: skip


def draw_tickets(lottery: Lottery, scope: str, schedule: str, path: str | Path) -> Path | None:
    """Accuracy against the parameters left, a panel for each way of retraining; None where there is no arm."""
    arms = [arm for arm in lottery.arms if (arm.scope, arm.schedule) == (scope, schedule)]
    panels = list(dict.fromkeys((arm.mode, arm.rewind_epoch) for arm in arms))
    if not panels:
        return None
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = new_figure(5.2 * columns, 3.4 * rows + 0.9, rows=rows, columns=columns)
    criteria = list(dict.fromkeys(arm.criterion for arm in arms))
    control = Arm("random", "reinit", scope, schedule)
    for place, (mode, epoch) in zip(axes, panels, strict=False):
        _unpruned(place, lottery, mode)
        inside = [arm for arm in arms if (arm.mode, arm.rewind_epoch) == (mode, epoch)]
        for arm in inside:
            style = _style(criteria.index(arm.criterion)) if arm != control else _control_style()
            _line(
                place,
                lottery.of_arm(arm),
                arm.criterion if arm != control else "random, fresh weights",
                style,
            )
        if control not in inside and control in arms:
            _line(place, lottery.of_arm(control), "random, fresh weights", _control_style())
        name = _MODES[mode] + (f" to epoch {epoch}" if mode == "rewind" else "")
        place.set_title(name, fontsize=10)
        _frame(place, lottery, arms)
    for place in axes[len(panels) :]:
        place.set_visible(False)
    title = f"{lottery.network}, {scope}, {schedule}: test accuracy after each round"
    figure.suptitle(f"{title}\n{_wrapped(lottery.about)}", fontsize=9)
    known: dict[str, Any] = {}
    for place in axes[: len(panels)]:
        for handle, text in zip(*place.get_legend_handles_labels(), strict=True):
            known.setdefault(text, handle)
    figure.legend(
        known.values(),
        list(known),
        frameon=False,
        loc="outside lower center",
        ncols=min(4, len(known)),
        fontsize=8,
    )
    return save(figure, path)


def draw_filters(levels: Sequence[Level], seed: int, title: str, path: str | Path) -> Path | None:
    """Which filters each round removed: counts by layer, and each filter in its original place; None without rounds.

    levels: of one arm, round by round. seed: whose filters are shown.
    """
    if not levels:
        return None
    values = [level.values[seed] for level in levels]
    widths = _widths(values)
    layers = [layer for layer in widths if layer in values[-1]["widths"]]
    figure, (counts, places) = new_figure(11, max(2.6, 0.42 * len(layers) + 1.9), columns=2)
    shades = _shades(len(values))
    for row, layer in enumerate(layers):
        left = 0.0
        for number, one in enumerate(values):
            gone = one["removed_now"].get(layer, [])
            share = 100 * len(gone) / widths[layer]
            counts.barh(row, share, left=left, color=shades[number], height=0.72)
            left += share
            strips = [(place / widths[layer], 1 / widths[layer]) for place in gone]
            places.broken_barh(strips, (row - 0.36, 0.72), facecolors=shades[number], linewidth=0)
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
    figure.suptitle(f"{title}: filters removed by layer and round, seed {seed}", fontsize=10)
    from matplotlib.patches import Patch

    handles = [
        Patch(color=shade, label=f"round {level.round}") for shade, level in zip(shades, levels, strict=True)
    ]
    figure.legend(
        handles=handles,
        frameon=False,
        loc="outside lower center",
        ncols=min(10, len(handles)),
        fontsize=8,
    )
    return save(figure, path)


def draw_speeds(lottery: Lottery, path: str | Path) -> Path | None:
    """Speed-up against the parameters left, a panel for each batch size and device; None where nothing was timed."""
    panels = sorted({(str(r["device"]), int(r["batch"])) for timed in lottery.speeds for r in timed.rows})
    if not panels:
        return None
    figure, axes = new_figure(5.2 * len(panels), 4.2, columns=len(panels))
    for place, (device, batch) in zip(axes, panels, strict=True):
        for number, timed in enumerate(lottery.speeds):
            points = _speed_points(timed, device, batch)
            colour, dash, marker = _style(number)
            place.plot(*zip(*points, strict=True), color=colour, linestyle=dash, marker=marker, markersize=4,
                       linewidth=1.4, label=_arm_name(timed.arm))  # fmt: skip
        place.axhline(1, color=_GREY, linestyle="--", linewidth=1)
        _log_axis(place, min(min(timed.left.values()) for timed in lottery.speeds))
        place.set_ylim(0, 1.08 * max(1.0, *(speed for timed in lottery.speeds for _, speed in
                                            _speed_points(timed, device, batch))))  # fmt: skip
        place.set_ylabel("times as fast as the unpruned network")
        place.set_title(f"{device.upper()}, batch {batch}", fontsize=10)
    threads = lottery.speeds[0].threads
    cores = f"{threads} thread{'s' if threads > 1 else ''}"
    figure.suptitle(f"{lottery.network}: ONNX Runtime, {cores}, medians of runs taking turns", fontsize=9)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, names, frameon=False, loc="outside lower center", ncols=min(4, len(names)), fontsize=8
    )
    return save(figure, path)


def _line(axes: Axes, levels: Sequence[Level], label: str, style: tuple[str, Any, str]) -> None:
    colour, dash, marker = style
    x = [100 * level.left["parameters"] for level in levels]
    axes.fill_between(x, [100 * level.runs.low for level in levels], [100 * level.runs.high for level in levels],
                      color=colour, alpha=0.13, linewidth=0)  # fmt: skip
    axes.plot(x, [100 * level.runs.median for level in levels], color=colour, linestyle=dash, marker=marker,
              markersize=4, linewidth=1.4, label=label)  # fmt: skip
    by_median = [level for level in levels if level.claim is not None and level.claim.by_median]
    for level in by_median if levels and levels[0].arm.mode != "reinit" else ():  # a control is no ticket
        beyond = level.claim is not None and level.claim.beyond_spread
        axes.plot(
            100 * level.left["parameters"], 100 * level.runs.median, marker="*", markersize=11, linestyle="none",
            markerfacecolor="white" if beyond else colour, markeredgecolor=colour, zorder=5,
        )  # fmt: skip


def _unpruned(axes: Axes, lottery: Lottery, mode: str) -> None:
    runs = lottery.unpruned
    axes.axhspan(100 * runs.low, 100 * runs.high, color=_GREY, alpha=0.10, linewidth=0)
    axes.axhline(
        100 * runs.median, color=_GREY, linestyle="--", linewidth=1.2, label="unpruned, and its spread"
    )
    if mode in lottery.longer:
        axes.axhline(100 * lottery.longer[mode].median, color=_GREY, linestyle=":", linewidth=1.2,
                     label="unpruned, trained on in the same way")  # fmt: skip


def _frame(axes: Axes, lottery: Lottery, arms: Sequence[Arm]) -> None:
    """The same range in all panels; what collapsed to chance does not squeeze what matters."""
    levels = [level for arm in arms for level in lottery.of_arm(arm)]
    tops = [100 * level.runs.high for level in levels] + [100 * lottery.unpruned.high]
    tops += [100 * runs.high for runs in lottery.longer.values()]
    lows = [100 * level.runs.low for level in levels]
    bottom = max([min(lows, default=0.0), 100 * lottery.unpruned.median - _FURTHEST])
    # No arm is out of sight as a whole.
    bottom = min([bottom, *(max(100 * level.runs.median for level in lottery.of_arm(arm)) for arm in arms)])
    axes.set_ylim(max(0, bottom - 1), min(100.5, max(tops) + 1))
    _log_axis(axes, min((level.left["parameters"] for level in levels), default=0.5))
    axes.set_ylabel("test accuracy %")
    from matplotlib.lines import Line2D

    for face, text in (("black", "★ ticket by median"), ("white", "☆ ticket beyond spread")):
        axes.add_line(
            Line2D([], [], linestyle="none", marker="*", markersize=9, markerfacecolor=face,
                   markeredgecolor="black", label=text[2:])
        )  # fmt: skip


def _log_axis(axes: Axes, least: float) -> None:
    """From 100 % down to just below the least, in numbers that people read."""
    axes.set_xscale("log")
    axes.set_xlim(112, 100 * least * 0.9)
    ticks = [tick for tick in _TICKS if tick >= 100 * least * 0.9]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel("parameters left, %")


def _style(number: int) -> tuple[str, Any, str]:
    return COLOURS[number % 6], DASHES[number % len(DASHES)], MARKERS[number % len(MARKERS)]


def _control_style() -> tuple[str, Any, str]:
    return _CONTROL, (0, (1, 1)), "x"


def _speed_points(timed: Timed, device: str, batch: int) -> list[tuple[float, float]]:
    rows = [row for row in timed.rows if (row["device"], row["batch"]) == (device, batch)]
    return [(100 * timed.left[row["round"]], float(row["speedup"])) for row in rows]


def _arm_name(arm: Arm) -> str:
    return ", ".join([arm.criterion, *(part for part in (arm.scope, arm.schedule) if part != "iterative")])


def _widths(values: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Layer → its filters before the first round: those left and those removed."""
    last = values[-1]
    return {layer: count + len(last["removed"].get(layer, [])) for layer, count in last["widths"].items()}


def _shades(count: int) -> list[Any]:
    """From dark to light by the round; viridis keeps its order in every form of colour vision."""
    from matplotlib import colormaps

    return [colormaps["viridis"](value) for value in np.linspace(0, 0.95, max(count, 1))]


def _short(layer: str) -> str:
    """The last two parts of a layer's name, without those that say nothing."""
    parts = [part for part in layer.split(".") if part not in ("features", "classifier", "conv")]
    return ".".join(parts[-3:]) or layer


def _wrapped(text: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, 100))
