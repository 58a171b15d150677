"""Published accuracy of networks against their operations and parameters, as the lectures show it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from enxuto.report.drawing import COLOURS, MARKERS, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Published", "draw_accuracies"]


_MARGIN = 0.14  # of the range of costs, left and right of the points


@dataclass(frozen=True)
class Published:
    """A network with its published top-1 in percent, and where that is from."""

    name: str
    family: str
    macs: int
    parameters: int
    top1: float
    source: str

    @property
    def line(self) -> tuple[str, str]:
        """Networks of one family are joined where one source measured them: others measure in other ways."""
        return self.family, self.source.split(",")[0]


def draw_accuracies(points: Sequence[Published], path: str | Path) -> Path:
    """Draw top-1 against multiply–accumulates and against parameters, a panel each, both on logarithmic axes.

    Raises `UsageError` without matplotlib, or for another ending than .png and .svg.
    """
    figure, axes = new_figure(11, 5.6, columns=2)
    families = list(dict.fromkeys(one.family for one in points))
    looks = {family: (COLOURS[place % 7], MARKERS[place % 6]) for place, family in enumerate(families)}
    panels = [
        ("MACs per image", [one.macs for one in points]),
        ("parameters", [one.parameters for one in points]),
    ]
    for axis, (label, costs) in zip(axes, panels, strict=True):
        drawn = []
        for line in dict.fromkeys(one.line for one in points):
            rows = sorted((x, one.top1) for x, one in zip(costs, points, strict=True) if one.line == line)
            colour, marker = looks[line[0]]
            axis.plot(*zip(*rows, strict=True), color=colour, marker=marker, linewidth=0.8, markersize=5)
            drawn += list(pairwise(rows))
        axis.set_xscale("log")
        low, high = min(costs), max(costs)
        ticks = [step * 10**power for power in range(3, 12) for step in (1, 3)]
        ticks = [tick for tick in ticks if 0.6 * low <= tick <= 1.6 * high]
        axis.set_xticks(
            ticks, [f"{tick // 10**6} M" if tick < 10**9 else f"{tick // 10**9} G" for tick in ticks]
        )
        axis.set_xticks([], minor=True)
        axis.set_xlabel(label)
        axis.margins(x=_MARGIN, y=0.08)
        _name_points(axis, [(one.name, x, one.top1) for x, one in zip(costs, points, strict=True)], drawn)
    axes[0].set_ylabel("published ImageNet top-1, %")
    figure.suptitle(
        "Published accuracy; sources measure in different ways, lines join those of one", fontsize=11
    )
    return save(figure, path)


def _name_points(
    axis: Axes,
    points: Sequence[tuple[str, int, float]],
    lines: Sequence[tuple[tuple[int, float], tuple[int, float]]],
) -> None:
    """Write names beside points: right of the point where that is free, else left, above or below."""
    places = ((4, -3, "left"), (-4, -3, "right"), (0, 5, "center"), (0, -10, "center"))
    low, high = (math.log10(pick(x for _, x, _ in points)) for pick in (min, max))
    width, height = (
        (1 + 2 * _MARGIN) * (high - low),
        1.16 * (max(y for *_, y in points) - min(y for *_, y in points)),
    )
    taken: list[tuple[float, float, float, float]] = []
    # A sign is about 0.011 of the panel's width and 0.028 of its height; a point's own dot takes room too.
    spots = [((math.log10(x) - low) / width, y / height) for _, x, y in points]
    taken += [(x - 0.008, y - 0.012, x + 0.008, y + 0.012) for x, y in spots]
    edge = _MARGIN / (1 + 2 * _MARGIN)
    taken += [(-9, -9, -edge, 9), (1 - edge, -9, 9, 9)]
    for (start, first), (end, last) in lines:
        for share in (place / 16 for place in range(1, 16)):
            x = (math.log10(start) * (1 - share) + math.log10(end) * share - low) / width
            y = (first * (1 - share) + last * share) / height
            taken.append((x - 0.002, y - 0.003, x + 0.002, y + 0.003))
    for (name, x, y), (across, up) in zip(points, spots, strict=True):
        size = 0.0115 * len(name)
        boxes = []
        for _, above, side in places:
            left = across + {"left": 0.01, "right": -0.01 - size, "center": -size / 2}[side]
            bottom = up + above * 0.0036
            boxes.append((left, bottom, left + size, bottom + 0.026))
        clashes = [sum(_overlap(box, other) for other in taken) for box in boxes]
        best = clashes.index(min(clashes))
        taken.append(boxes[best])
        right, above, side = places[best]
        axis.annotate(
            name,
            (x, y),
            xytext=(right, above),
            textcoords="offset points",
            ha=side,
            fontsize=7,
            color="#444444",
        )


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """The area that two boxes share."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    up = min(one[3], other[3]) - max(one[1], other[1])
    return max(across, 0.0) * max(up, 0.0)
