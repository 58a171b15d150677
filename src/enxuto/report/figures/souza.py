"""The charts of the Souza study: the training of each network in its folder, and the losses of all in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from enxuto.report.figures.training import draw_losses, draw_training
from enxuto.studies.souza.records import histories

__all__ = ["draw_trainings"]


def draw_trainings(
    records: Sequence[Mapping[str, Any]], folder: str | Path, losses_in: str | Path
) -> list[Path]:
    """Draw `training.png` and `.svg` into each network's folder, and `losses.png` into `losses_in`; the files written.

    folder: the study's. Networks whose history is gone are left out. Raises `UsageError` without matplotlib, or where a
    file cannot be written.
    """
    epochs = histories(folder, records)
    written = []
    for record in records:
        name = str(record["network"])
        for ending in ("png", "svg") if name in epochs else ():
            path = Path(folder) / str(record["folder"]) / f"training.{ending}"
            written.append(draw_training(epochs[name], path, title=f"{name}, seed {record['seed']}"))
    if epochs:
        written.append(draw_losses(epochs, Path(losses_in) / "losses.png", title="Training loss"))
    return written
