"""The tables of a lottery study as files: Markdown and CSV, and its claims as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from enxuto._version import __version__
from enxuto.files import atomic_write
from enxuto.studies.lottery.results import Lottery
from enxuto.studies.lottery.tables import (
    claims_table,
    levels_table,
    lottery_csv,
    published_table,
    speeds_table,
)
from enxuto.tables import as_markdown

__all__ = ["write_tables"]


def write_tables(
    lottery: Lottery, folder: str | Path, *, provenance: Mapping[str, Any] | None = None
) -> list[Path]:
    """Write `lottery.md`, `.csv` and `.json` into a folder; the files written.

    provenance: how the study was made, for the JSON file. Raises `UsageError` where the folder cannot be written.
    """
    tables = [
        claims_table(lottery), published_table(lottery), levels_table(lottery), speeds_table(lottery),
    ]  # fmt: skip
    values = {"schema": "enxuto.lottery/2", "version": __version__, **lottery.to_dict()}
    values |= {} if provenance is None else {"provenance": dict(provenance)}
    texts = {
        "lottery.md": as_markdown([table for table in tables if table is not None]),
        "lottery.csv": lottery_csv(lottery),
        "lottery.json": json.dumps(values, indent=2, allow_nan=False) + "\n",
    }
    for name, text in texts.items():
        with atomic_write(Path(folder) / name) as file:
            file.write(text.encode())
    return [Path(folder) / name for name in texts]
