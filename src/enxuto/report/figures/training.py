"""The charts of trainings: loss, accuracy and learning rate over the epochs, and the losses of several networks.

Source: Souza 2020, figures 30 to 35.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from enxuto.errors import UsageError
from enxuto.report.exhibit import Chart, Frame, Measure, Series
from enxuto.report.pictures import draw_panels, make_panels
from enxuto.report.readers.trainings import Epoch, training_chart

__all__ = ["draw_losses", "draw_training"]

_LOSS = "mean cross-entropy per image, nats"

Record = Mapping[str, Any]


def draw_training(records: Sequence[Record], path: str | Path, *, title: str) -> Path:
    """Draw loss, top-1 on held-out images where it was measured, and learning rate of one training; PNG or SVG by name.

    records: one an epoch, as in `history.jsonl`. Raises `UsageError` without records, for another ending, or without
    matplotlib.
    """
    _check(records, path)
    chart = training_chart(title, [Epoch.model_validate(record) for record in records])
    keys = [measure.key for measure in chart.y if measure.key != "top5"]
    return draw_panels(make_panels(chart, y=keys), path, title=title, columns=len(keys))


def draw_losses(runs: Mapping[str, Sequence[Record]], path: str | Path, *, title: str) -> Path:
    """Draw the training losses of several networks over their epochs; PNG or SVG by the name's ending.

    runs: name → records as in `draw_training`. Raises `UsageError` as there.
    """
    _check([record for records in runs.values() for record in records], path)
    series = tuple(
        Series(name, tuple((record["epoch"], record["loss"]) for record in records), "line", style)
        for style, (name, records) in enumerate(runs.items())
    )
    chart = Chart(
        title, ("epoch", "loss"), (Measure("epoch", "epoch", whole=True),), (Measure("loss", _LOSS, start=0),),
        (Frame(title, series),),
    )  # fmt: skip
    return draw_panels(make_panels(chart), path, title=title)


def _check(records: Sequence[Record], path: str | Path) -> None:
    if not records:
        raise UsageError(f"{path}: there is no epoch to draw")
