"""The charts of trainings: loss, accuracy and learning rate over the epochs, and the losses of several networks.

Source: Souza 2020, figures 30 to 35.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from enxuto.errors import UsageError
from enxuto.report.exhibit import Chart, Frame, Measure, Series
from enxuto.report.pictures import draw_panels, make_panels
from enxuto.report.readers.trainings import Epoch, training_chart

__all__ = ["draw_losses", "draw_losses_of_data_sets", "draw_training"]

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
    return draw_losses_of_data_sets({title: runs}, path, title=title)


def draw_losses_of_data_sets(
    data_sets: Mapping[str, Mapping[str, Sequence[Record]]], path: str | Path, *, title: str
) -> Path:
    """Draw the training losses of several networks, with a panel for each data set; PNG or SVG by the name's ending.

    data_sets: title of the panel → name of the network → records as in `draw_training`. A network has the same line in
    all panels. Raises `UsageError` as there.
    """
    runs = [records for networks in data_sets.values() for records in networks.values()]
    _check([record for records in runs for record in records], path)
    styles = {
        name: style for style, name in enumerate(dict.fromkeys(chain.from_iterable(data_sets.values())))
    }
    panels = []
    for data_set, networks in data_sets.items():
        series = tuple(
            Series(name, tuple((record["epoch"], record["loss"]) for record in records), "line", styles[name])
            for name, records in networks.items()
        )
        chart = Chart(
            data_set, ("epoch", "loss"), (Measure("epoch", "epoch", whole=True),),
            (Measure("loss", _LOSS, start=0),), (Frame(data_set, series),),
        )  # fmt: skip
        panels += [
            replace(panel, title=data_set if data_set != title else "") for panel in make_panels(chart)
        ]
    if len(styles) == 1:  # and so no legend
        title = f"{title}: {next(iter(styles))}"
    return draw_panels(panels, path, title=title, columns=len(panels))


def _check(records: Sequence[Record], path: str | Path) -> None:
    if not records:
        raise UsageError(f"{path}: there is no epoch to draw")
