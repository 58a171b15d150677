"""Trials of a search kept on disk, so that one that was interrupted goes on from the last price it had tried.

A search is known by a hash of the calibration's key and of all else that its files and judgements depend on; its
trials are lines of JSON, each synced before the next price is tried. Bounds are no part of the key: another bound finds
the same files. A line that is torn or makes no sense is passed over.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

from enxuto.budget import Judgement

__all__ = ["TrialLog"]


class TrialLog:
    """What prices gave: bytes, and how the answers were judged if they were."""

    def __init__(self, folder: Path, calibration_key: str, *rest: Any) -> None:
        """rest: JSON-safe, or turned into text: the judging images' hash, options, metadata."""
        known = json.dumps([calibration_key, *rest], sort_keys=True, default=str)
        self.place = folder / f"{hashlib.sha256(known.encode()).hexdigest()[:32]}.trials.jsonl"
        self._trials: dict[float, tuple[int, Judgement | None]] = {}
        try:
            lines = self.place.read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            lines = []
        for line in lines:
            self._read(line)

    def get(self, price: float) -> tuple[int, Judgement | None] | None:
        """Return bytes and judgement of a price tried before, None of any other."""
        return self._trials.get(price)

    def add(self, price: float, size: int, judgement: Judgement | None) -> None:
        """Keep a trial. Where nothing can be written it is kept in memory alone."""
        self._trials[price] = (size, judgement)
        row = {
            "price": price,
            "bytes": size,
            "judgement": None if judgement is None else judgement.to_dict(),
        }
        try:
            self.place.parent.mkdir(parents=True, exist_ok=True)
            with self.place.open("a") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            return

    def _read(self, line: str) -> None:
        try:
            row = json.loads(line)
            judged = row["judgement"]
            if judged is not None:
                intervals = {
                    name: (float(judged[name][0]), float(judged[name][1]))
                    for name in ("drop_interval", "agreement_interval")
                }
                unknown = {name: math.nan for name in ("kl", "original_top1") if judged[name] is None}
                judged = Judgement(**{**judged, **intervals, **unknown})
            self._trials[float(row["price"])] = (int(row["bytes"]), judged)
        except (ValueError, TypeError, KeyError, IndexError):
            return
