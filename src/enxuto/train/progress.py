"""How far a run is and when it will end: what it tells, and the clock that works it out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from enxuto.train.history import EpochRecord
from enxuto.train.run import Run

__all__ = ["Clock", "Progress", "Report"]


@dataclass(frozen=True)
class Progress:
    """Where a run is.

    epoch: the one under way, from 1. done, total: its images. loss: its mean training loss so far. eta_s: seconds
    to the end of the last epoch at the pace so far. record: the epoch's figures when it is finished, else None.
    """

    epoch: int
    epochs: int
    done: int
    total: int
    loss: float
    lr: float
    images_per_s: float
    eta_s: float
    record: EpochRecord | None = None


Report = Callable[[Progress], None]


class Clock:
    """Tells how far the run is and when it will end, from the images it has seen since it was started."""

    def __init__(self, run: Run, report: Report | None) -> None:
        """Start it. report: None where nobody is to be told."""
        self._run, self._report = run, report
        self._began = self._epoch_began = time.perf_counter()
        self._first = run.epoch
        self._last = Progress(run.epoch, run.config.epochs, 0, len(run.train), 0.0, 0.0, 0.0, 0.0)

    def at(self, seen: int, loss: float, rate: float) -> None:
        """Report within an epoch."""
        now = time.perf_counter()
        total, epochs = len(self._run.train), self._run.config.epochs
        here = (self._run.epoch - self._first) * total + seen
        left = (epochs - self._first) * total - here
        speed = seen / max(now - self._epoch_began, 1e-9)
        eta = (now - self._began) * left / here
        self._last = Progress(self._run.epoch + 1, epochs, seen, total, loss, rate, speed, eta)
        if self._report is not None:
            self._report(self._last)

    def finished(self, record: EpochRecord) -> None:
        """Report the end of an epoch."""
        now = time.perf_counter()
        self._epoch_began = now
        left = self._run.config.epochs - record.epoch if self._run.stopped == "running" else 0
        eta = (now - self._began) * left / (record.epoch - self._first)
        if self._report is not None:
            last = self._last
            self._report(Progress(
                record.epoch, last.epochs, last.total, last.total, record.loss, record.lr, record.images_per_s,
                eta, record,
            ))  # fmt: skip
