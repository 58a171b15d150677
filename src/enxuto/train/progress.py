"""How far a training run is, and when it will end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from enxuto.train.history import EpochRecord
from enxuto.train.run import TrainingRun

__all__ = ["ProgressCallback", "ProgressClock", "TrainingProgress"]


@dataclass(frozen=True)
class TrainingProgress:
    """How far a run is.

    epoch: the current one, from 1. done, total: images of it. loss: its mean training loss so far. eta_s: seconds to
    the end of the last epoch at the pace so far. record: the epoch's figures once it is finished, else None.
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


ProgressCallback = Callable[[TrainingProgress], None]


class ProgressClock:
    """Reports how far a run is and when it will end, from the images that it has seen since it started."""

    def __init__(self, run: TrainingRun, report: ProgressCallback | None) -> None:
        """Start the clock. report: called with each `TrainingProgress`; None: nothing is reported."""
        self._run, self._report = run, report
        self._start_time = self._epoch_start_time = time.perf_counter()
        self._first = run.epoch
        self._last = TrainingProgress(run.epoch, run.config.epochs, 0, len(run.train), 0.0, 0.0, 0.0, 0.0)

    def report_step(self, seen: int, loss: float, rate: float) -> None:
        """Report within an epoch."""
        now = time.perf_counter()
        total, epochs = len(self._run.train), self._run.config.epochs
        here = (self._run.epoch - self._first) * total + seen
        left = (epochs - self._first) * total - here
        speed = seen / max(now - self._epoch_start_time, 1e-9)
        eta = (now - self._start_time) * left / here
        self._last = TrainingProgress(self._run.epoch + 1, epochs, seen, total, loss, rate, speed, eta)
        if self._report is not None:
            self._report(self._last)

    def report_epoch(self, record: EpochRecord) -> None:
        """Report the end of an epoch."""
        now = time.perf_counter()
        self._epoch_start_time = now
        left = self._run.config.epochs - record.epoch if self._run.stopped == "running" else 0
        eta = (now - self._start_time) * left / (record.epoch - self._first)
        if self._report is not None:
            last = self._last
            self._report(TrainingProgress(
                record.epoch, last.epochs, last.total, last.total, record.loss, record.lr, record.images_per_s,
                eta, record,
            ))  # fmt: skip
