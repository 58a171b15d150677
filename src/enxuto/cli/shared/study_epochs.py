"""A line for each epoch of the trainings under way, wherever they are computed: read from what they leave.

Points are computed in other processes, on other machines perhaps, and say nothing until they end. The history that a
training writes after each epoch lies in the study's folder, though, which this process sees too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from enxuto.cli.shared.progress import clock_time
from enxuto.cli.shared.terminal import note

if TYPE_CHECKING:
    from enxuto.study import Point

__all__ = ["report_epochs", "report_long_epochs"]

_EVERY = 2.0  # seconds between looks
_LONG = 20.0  # seconds
_HISTORY = "history.jsonl"


@contextmanager
def report_epochs(
    folder: Path,
    trainings: Mapping[str, tuple[str, int | None]],
    history: str = _HISTORY,
    shortest: float = 0.0,
) -> Iterator[None]:
    """Inside, write a line for each epoch that ends; epochs of earlier runs are passed over.

    Args:
        folder: the study's.
        trainings: what each point that trains is called and its number of epochs, None where time ends it, by its id.
        history: where the epochs stand in a point's folder.
        shortest: epochs of fewer seconds get no line.
    """
    from enxuto.study.store import FOLDERS

    files = {point: folder / FOLDERS / point / history for point in trainings}
    reported = {point: len(_epochs(file)) for point, file in files.items()}

    def report() -> None:
        for point, file in files.items():
            epochs = _epochs(file)
            name, total = trainings[point]
            for epoch in epochs[reported[point] :]:
                if epoch["seconds"] >= shortest:
                    note(f"{name}: {_line(epoch, total)}")
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


def report_long_epochs(folder: Path, points: Sequence[Point]) -> AbstractContextManager[None]:
    """`report_epochs` of the points of a pruning or a lottery, whose trainings are many and mostly short."""
    from enxuto.studies.lottery.points import trainings_among

    return report_epochs(folder, trainings_among(points), f"training/{_HISTORY}", _LONG)


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


def _line(epoch: Mapping[str, Any], epochs: int | None) -> str:
    number, of = epoch["epoch"], "" if epochs is None else f"/{epochs}"
    left = (
        ""
        if epochs is None
        else f", {clock_time(epoch['seconds'] * max(0, epochs - number))} left of this training"
    )
    return (
        f"epoch {number}{of}, loss {epoch['loss']:.4f}, lr {epoch['lr']:.3g}, "
        f"{epoch['images_per_s']:,.0f} images/s{left}"
    )
