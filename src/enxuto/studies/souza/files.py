"""The tables of the Souza study as files: Markdown and CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from enxuto.files import atomic_write
from enxuto.studies.souza.tables import as_csv, tables
from enxuto.tables import as_markdown

__all__ = ["write_tables"]


def write_tables(
    records: Sequence[Mapping[str, Any]], folder: str | Path, all_data: Sequence[Mapping[str, Any]] = ()
) -> list[Path]:
    """Write `souza.md` and `souza.csv` into the folder; the files written.

    records, all_data: as `tables` takes them. Raises `UsageError` where the folder cannot be written.
    """
    texts = {"souza.md": as_markdown(tables(records, all_data)), "souza.csv": as_csv(records)}
    for name, text in texts.items():
        with atomic_write(Path(folder) / name) as file:
            file.write(text.encode())
    return [Path(folder) / name for name in texts]
