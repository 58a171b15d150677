"""Checkpoints of a retraining: with one it goes on as if it had not been interrupted, bit for bit."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from enxuto.archive import read_archive, write_archive
from enxuto.compression.retrainer import RetrainingTask
from enxuto.errors import EnxutoError
from enxuto.retraining.settings import Retraining

__all__ = ["RetrainingCheckpoint"]

_FORMAT, _VERSION = "enxuto retraining", 7


class RetrainingCheckpoint:
    """The file of a task's checkpoint, which goes when training is done."""

    def __init__(self, task: RetrainingTask, settings: Retraining, chosen_by: str) -> None:
        """chosen_by: the hash of the images that choose among files: losses on others cannot be compared."""
        digest = hashlib.sha256(json.dumps([repr(settings), repr(task.bounds), task.settings.seed]).encode())
        digest.update(task.images.data)
        digest.update(b"" if task.labels is None else task.labels.data)
        digest.update(chosen_by.encode())
        record = task.settings.record
        self._key = digest.hexdigest()
        self.path: Path = record.with_name(f"{record.name.partition('.')[0]}.{self._key[:16]}.retraining.pt")

    def read(self) -> Mapping[str, Any] | None:
        """Return what was saved, None where there is nothing or nothing that fits."""
        if not self.path.is_file():
            return None
        try:
            found = read_archive(self.path)
        except EnxutoError as error:
            warnings.warn(f"retraining starts anew: {error}", stacklevel=2)
            return None
        if isinstance(found, Mapping) and (found.get("format"), found.get("version"), found.get("key")) == (
            _FORMAT,
            _VERSION,
            self._key,
        ):
            return found
        return None

    def write(self, values: Mapping[str, object]) -> None:
        """Save plain values and tensors; where nothing can be written, training goes on without."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_archive(self.path, _FORMAT, _VERSION, {"key": self._key, **values})
        except (OSError, EnxutoError):
            return

    def remove(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)
