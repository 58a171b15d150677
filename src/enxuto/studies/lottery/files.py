"""Everything a lottery study leaves to look at: tables as Markdown and CSV, claims as JSON, charts as PNG or SVG."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from enxuto._version import __version__
from enxuto.files import atomic_write
from enxuto.studies.lottery.charts import draw_filters, draw_speeds, draw_tickets
from enxuto.studies.lottery.results import Lottery
from enxuto.studies.lottery.tables import claims_table, levels_table, lottery_csv, speeds_table
from enxuto.tables import as_markdown

__all__ = ["write_report"]


def write_report(
    lottery: Lottery, folder: str | Path, ending: str = ".png", *, provenance: Mapping[str, Any] | None = None
) -> list[Path]:
    """Write `lottery.md`, `.csv`, `.json` and the charts into a folder; the files written.

    provenance: how the study was made, for the JSON file.
    Filters are drawn for the first seed and for each criterion's first way of retraining. Raises `UsageError` where
    the folder cannot be written, or without matplotlib.
    """
    place = Path(folder)
    found = [claims_table(lottery), levels_table(lottery), speeds_table(lottery)]
    values = {"schema": "enxuto.lottery/1", "version": __version__, **lottery.to_dict()}
    values |= {} if provenance is None else {"provenance": dict(provenance)}
    texts = {
        "lottery.md": as_markdown([table for table in found if table is not None]),
        "lottery.csv": lottery_csv(lottery),
        "lottery.json": json.dumps(values, indent=2, allow_nan=False) + "\n",
    }
    for name, text in texts.items():
        with atomic_write(place / name) as file:
            file.write(text.encode())
    return [*(place / name for name in texts), *_charts(lottery, place, ending)]


def _charts(lottery: Lottery, place: Path, ending: str) -> list[Path]:
    drawn = []
    for scope, schedule in dict.fromkeys((arm.scope, arm.schedule) for arm in lottery.arms):
        drawn.append(draw_tickets(lottery, scope, schedule, place / f"tickets-{scope}-{schedule}{ending}"))
    seed = min(lottery.unpruned.top1)
    shown = set()
    for arm in lottery.arms:
        kind = (arm.criterion, arm.scope, arm.schedule)
        if kind not in shown:
            shown.add(kind)
            name = f"filters-{'-'.join(kind)}{ending}"
            title = f"{lottery.network}, {arm.label}"
            drawn.append(draw_filters(lottery.of_arm(arm), seed, title, place / name))
    drawn.append(draw_speeds(lottery, place / f"speed{ending}"))
    return [path for path in drawn if path is not None]
