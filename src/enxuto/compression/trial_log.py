"""Trials of a search kept on disk, so that an interrupted search resumes after the last price it had tried.

A search is identified by a hash of the calibration's key and of all else that its files and judgements depend on; its
trials are lines of JSON, each synced before the next price is tried. Bounds are no part of the key: another bound finds
the same files. A line that is torn, or whose types or numbers make no sense, is skipped.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from enxuto.compression.judge import Judgement

__all__ = ["TrialLog", "read_judgement"]

_MOST = 64 << 20  # bytes; a trial takes 300


class TrialLog:
    """For each price: the bytes it gave, and how the answers were judged if they were."""

    def __init__(self, folder: Path, calibration_key: str, *rest: Any) -> None:
        """rest: JSON-safe, or turned into text: the judging images' hash, options, metadata."""
        identity = json.dumps([calibration_key, *rest], sort_keys=True, default=str)
        self.path = folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.trials.jsonl"
        self._trials: dict[float, tuple[int, Judgement | None]] = {}
        try:
            small = self.path.is_file() and self.path.stat().st_size <= _MOST
            lines = self.path.read_text().splitlines() if small else []
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
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            return

    def _read(self, line: str) -> None:
        try:
            row = json.loads(line)
            price, size = _number(row["price"]), row["bytes"]
            if not (price > 0 and type(size) is int and 0 < size < 1 << 63):
                return
            self._trials[price] = (size, read_judgement(row["judgement"]))
        except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError):
            return


def read_judgement(stored: Any) -> Judgement | None:
    """Return the judgement of a `to_dict`; `ValueError`, `TypeError` or `KeyError` for what is none."""
    if stored is None:
        return None
    if not isinstance(stored, dict):
        raise ValueError(f"{stored!r} is no judgement")
    types = get_type_hints(Judgement)
    fields = {
        name: _convert(types[name], value) for name, value in stored.items() if (name, value) != ("kl", None)
    }
    return Judgement(**{"kl": math.nan, **fields})  # JSON has no NaN, so that it is kept as null


def _convert(kind: Any, value: Any) -> Any:
    """Return a JSON value as what a judgement's field takes; `ValueError` where it is something else."""
    if get_origin(kind) in (Union, UnionType):
        if value is None and NoneType in get_args(kind):
            return None
        (kind,) = (inner for inner in get_args(kind) if inner is not NoneType)
    if get_origin(kind) is tuple and get_args(kind)[1:] == (...,) and isinstance(value, list):
        return tuple(_convert(get_args(kind)[0], part) for part in value)
    if is_dataclass(kind) and isinstance(value, dict):
        types = get_type_hints(kind)
        fields = {
            name: _convert(types[name], part)
            for name, part in value.items()
            if (name, part) != ("loss", None)
        }
        made: Any = kind
        return made(**{"loss": math.nan, **fields})
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_convert(inner, part) for inner, part in zip(get_args(kind), value, strict=True))
    if kind is float:
        return _number(value)
    if type(value) is not kind:
        raise ValueError(f"{value!r} is no {kind}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)
