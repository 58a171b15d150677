"""Everything the Souza study leaves to look at: tables as Markdown and CSV, and plots of all trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from enxuto.files import atomic_write
from enxuto.measure import plot_losses, plot_training
from enxuto.studies.souza.records import histories
from enxuto.studies.souza.tables import as_csv, tables
from enxuto.tables import as_markdown

__all__ = ["write_report"]


def write_report(
    records: Sequence[Mapping[str, Any]], folder: str | Path, tables_in: str | Path | None = None
) -> list[Path]:
    """Write `souza.md`, `souza.csv` and `losses.png` into the study's folder (or `tables_in`), and `training.png` and
    `.svg` into each network's; the files written.

    Raises `UsageError` where the folder cannot be written, or without matplotlib.
    """
    place, here = Path(folder), Path(tables_in or folder)
    written = [here / "souza.md", here / "souza.csv"]
    for path, text in zip(written, (as_markdown(tables(records)), as_csv(records)), strict=True):
        with atomic_write(path) as file:
            file.write(text.encode())
    epochs = histories(place, records)
    for record in records:
        name = str(record["network"])
        for ending in ("png", "svg") if name in epochs else ():
            path = place / str(record["folder"]) / f"training.{ending}"
            plot_training(epochs[name], path, title=f"{name}, seed {record['seed']}")
            written.append(path)
    if epochs:
        written.append(here / "losses.png")
        plot_losses(epochs, written[-1], title="Training loss")
    return written
