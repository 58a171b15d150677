"""The pictures of a study of Tonin's kind: rate against accuracy for each network, and the staircases of quantizers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from enxuto.report.figures.curve import draw_curve
from enxuto.report.pictures import Panel, draw_panels
from enxuto.report.readers.tonin import staircase_chart
from enxuto.studies.tonin.results import NetworkResults

__all__ = ["draw_networks", "draw_staircases"]


def draw_staircases(folder: str | Path) -> Path:
    """Draw all staircases into one picture, `quantizers.svg`. Raises `UsageError` without matplotlib."""
    chart = staircase_chart()
    panels = [Panel(chart, frame, chart.x[0], chart.y[0], frame.name) for frame in chart.frames]
    return draw_panels(panels, Path(folder) / "quantizers.svg", title=chart.note, columns=4)


def draw_networks(networks: Sequence[NetworkResults], folder: str | Path, ending: str) -> list[Path]:
    """Draw the curves of each network, on the images that choose; `.png` or `.svg`. Returns the files written."""
    written: list[Path] = []
    parts: list[str] = []
    for number, one in enumerate(networks, start=1):
        part = _file_part(one.name)
        parts.append(part if part.lower() not in map(str.lower, parts) else f"{part}-{number}")
        written += draw_curve(replace(one.choosing, model=parts[-1]), folder, ending)
    return written


def _file_part(name: str) -> str:
    """Return a network's name as a part of a file's."""
    return (
        "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name).strip(".-")
        or "network"
    )
