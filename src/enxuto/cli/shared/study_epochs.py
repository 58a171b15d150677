"""A line for each epoch of the trainings under way, wherever they are computed: read from what they leave.

Points are computed in other processes, on other machines perhaps, and say nothing until they end. The history that a
training writes after each epoch lies in the study's folder, though, which this process sees too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from enxuto.cli.shared.terminal import note

if TYPE_CHECKING:
    from enxuto.study import Point

__all__ = ["report_epochs"]

_EVERY = 2.0  # seconds between looks
_HISTORY = "history.jsonl"


@contextmanager
def report_epochs(folder: Path, points: Sequence[Point], names: Mapping[str, str]) -> Iterator[None]:
    """Inside, write a line for each epoch that ends; epochs of earlier runs are passed over.

    folder: the study's. names: what each point is called, by its id; its settings' `config` says how many epochs.
    """
    from enxuto.study.store import FOLDERS

    files = {point.id: folder / FOLDERS / point.id / _HISTORY for point in points}
    totals = {point.id: int(point.settings["config"]["epochs"]) for point in points}
    reported = {point: len(_epochs(file)) for point, file in files.items()}

    def report() -> None:
        for point, file in files.items():
            epochs = _epochs(file)
            for epoch in epochs[reported[point] :]:
                note(f"{names[point]}: {_line(epoch, totals[point])}")
            reported[point] = max(reported[point], len(epochs))

    over = Event()

    def watch() -> None:
        while not over.wait(_EVERY):
            report()

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        report()


def _epochs(file: Path) -> list[dict[str, Any]]:
    """The epochs that a training has finished; none where there is no training yet."""
    try:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except (
        OSError,
        ValueError,
        RecursionError,
    ):  # written whole or not at all, but perhaps not by this machine
        return []


def _line(epoch: Mapping[str, Any], epochs: int) -> str:
    return (
        f"epoch {epoch['epoch']}/{epochs}, loss {epoch['loss']:.4f}, lr {epoch['lr']:.3g}, "
        f"{epoch['images_per_s']:,.0f} images/s"
    )
