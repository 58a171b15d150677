"""What a run has measured so far: one record an epoch, as JSON lines and as CSV.

The files are rewritten after each epoch, whole or not at all. The checkpoint holds the same records, so a resumed run
repairs a history that a kill left incomplete.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from enxuto.errors import FormatError
from enxuto.escaping import csv_text
from enxuto.files import atomic_write

__all__ = ["EpochRecord", "History", "write_history"]


@dataclass(frozen=True)
class EpochRecord:
    """One epoch.

    epoch: counted from 1. loss: mean training loss an image (nats, label smoothing and all) while the weights
    moved. lr: rate at the epoch's start. seconds: wall time with validation. images_per_s: of training alone.
    validation_loss: mean plain cross-entropy; validation_top1, validation_top5: shares 0…1, None without
    validation data, and top5 also for five classes and fewer.
    """

    epoch: int
    loss: float
    lr: float
    seconds: float
    images_per_s: float
    validation_loss: float | None = None
    validation_top1: float | None = None
    validation_top5: float | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EpochRecord:
        """Build from `asdict`'s output. Raises `FormatError` for other keys or values."""
        names = [field.name for field in fields(cls)]
        numbers = all(value is None or isinstance(value, (int, float)) for value in values.values())
        if set(values) != set(names) or not numbers:
            raise FormatError("a record of the history is not what this version writes")
        return cls(**{name: values[name] for name in names})


@dataclass(frozen=True)
class History:
    """All epochs of a run.

    stopped: `epochs` (all done), `schedule`, `early stopping`, or `running` in a checkpoint between epochs.
    best_epoch: of highest validation top-1 (then lowest validation loss), or of lowest training loss where
    there is no validation; None before the first. samples, validation_samples: how many images. notes: remarks.
    """

    records: tuple[EpochRecord, ...]
    stopped: str
    best_epoch: int | None
    samples: int
    validation_samples: int
    seed: int
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> EpochRecord | None:
        """The record of `best_epoch`."""
        return None if self.best_epoch is None else self.records[self.best_epoch - 1]

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values."""
        return asdict(self)


def best_epoch(records: Sequence[EpochRecord]) -> int | None:
    """The epoch to keep: highest validation top-1, then lowest loss; of equals the first."""
    if not records:
        return None

    def badness(record: EpochRecord) -> tuple[float, float]:
        if record.validation_top1 is None or record.validation_loss is None:
            return 0.0, record.loss
        return -record.validation_top1, record.validation_loss

    return min(records, key=badness).epoch


def epochs_without_progress(records: Sequence[EpochRecord]) -> int:
    """Epochs since the lowest validation loss; 0 where there is no validation."""
    losses = [record.validation_loss for record in records if record.validation_loss is not None]
    return len(losses) - 1 - losses.index(min(losses)) if losses else 0


def write_history(records: Sequence[EpochRecord], folder: Path) -> None:
    """Write `history.jsonl` and `history.csv`, an epoch a line.

    Raises `UsageError` when the folder cannot be written.
    """
    rows = [asdict(record) for record in records]
    lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    with atomic_write(folder / "history.jsonl") as file:
        file.write(lines.encode())
    names = [field.name for field in fields(EpochRecord)]
    with atomic_write(folder / "history.csv") as file:
        file.write(csv_text(names, [[row[name] for name in names] for row in rows]).encode())
