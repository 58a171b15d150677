"""The charts of the Souza study: the training of each network in its folder, and the losses of all in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from enxuto.report.figures.training import draw_losses_of_data_sets, draw_training
from enxuto.studies.souza.records import histories
from enxuto.studies.souza.source_tables import data_set_title

__all__ = ["draw_trainings"]


def draw_trainings(
    records: Sequence[Mapping[str, Any]],
    folder: str | Path,
    losses_in: str | Path,
    all_data: Sequence[Mapping[str, Any]] = (),
) -> list[Path]:
    """Draw `training.png` and `.svg` into each network's folder, and `losses.png` into `losses_in`; the files written.

    The losses have a panel for each data set, as figure 35 of the source, and of several seeds those of the lowest.

    folder: the study's. all_data: records of these and other data sets, for the losses; by default `records`.
    Networks whose history is gone are left out. Raises `UsageError` without matplotlib, or where a file cannot be
    written.
    """
    epochs = histories(folder, records)
    written = []
    for record in records:
        point, title = str(record["point"]), f"{record['network']}, seed {record['seed']}"
        for ending in ("png", "svg") if point in epochs else ():
            path = Path(folder) / str(record["folder"]) / f"training.{ending}"
            written.append(draw_training(epochs[point], path, title=title))
    losses: dict[str, dict[str, list[dict[str, Any]]]] = {}
    shown = sorted(all_data or records, key=lambda record: int(record["seed"]))
    found = histories(folder, shown)
    for record in shown:
        if record["point"] in found:
            panel = losses.setdefault(data_set_title(record), {})
            panel.setdefault(str(record["network"]), found[record["point"]])
    if losses:
        written.append(
            draw_losses_of_data_sets(losses, Path(losses_in) / "losses.png", title="Training loss")
        )
    return written
