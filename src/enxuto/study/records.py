"""What a study has finished: one JSON line a point, found again by a hash of all that defines the point.

The file is written anew with each record, whole or not at all. Not here: several processes that write to one file
at a time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from enxuto.errors import FormatError
from enxuto.files import atomic_write

__all__ = ["Records", "content_hash"]

POINT = "point"
"""Key of a record under which its point's hash stands."""


def content_hash(values: Mapping[str, Any]) -> str:
    """Sixteen hex digits that change when any of these JSON-safe values does, whatever their order."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Records:
    """The records in a JSON-lines file; the file need not be there yet."""

    def __init__(self, path: str | Path) -> None:
        """Read what is there. Raises `FormatError` that names the line which is no record."""
        self.path = Path(path)
        self._records: list[dict[str, Any]] = []
        if not self.path.exists():
            return
        for number, line in enumerate(self.path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                record = json.loads(line)
            except ValueError as error:
                raise FormatError(f"{self.path}: line {number} is no JSON ({error}); remove it") from error
            if not isinstance(record, dict) or not isinstance(record.get(POINT), str):
                raise FormatError(f"{self.path}: line {number} is no record of a study; remove it")
            self._records.append(record)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._records)

    def find(self, point: str) -> dict[str, Any] | None:
        """The record of the point with this hash, the latest where there are several; None where there is none."""
        return next((record for record in reversed(self._records) if record[POINT] == point), None)

    def add(self, record: Mapping[str, Any]) -> None:
        """Append a record, which names its `point`, to the file. Raises `UsageError` when it cannot be written."""
        grown = [*self._records, dict(record)]
        lines = "".join(json.dumps(item, ensure_ascii=False, allow_nan=False) + "\n" for item in grown)
        with atomic_write(self.path) as file:
            file.write(lines.encode())
        self._records = grown
