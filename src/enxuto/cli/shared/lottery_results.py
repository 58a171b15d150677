"""What `enxuto lottery` leaves and shows at the end: tables, charts, and claims."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from enxuto.cli.shared.provenance import write_provenance
from enxuto.cli.shared.study_options import exit_on_failures, show_study_table
from enxuto.cli.shared.terminal import note, print_json, warn

if TYPE_CHECKING:
    from enxuto.studies.lottery.results import Lottery
    from enxuto.study import Result, StudyResults

__all__ = ["about", "point_name", "show"]


def about(result: Result) -> dict[str, Any] | None:
    """What tables of a result would be of; a timing says nothing of its images."""
    if result.data_hash is None:
        return None
    return {"network": result.settings.get("network"), "data": result.data_hash}


def point_name(result: Result) -> str:
    """Return what a point is called in messages: its arm, round and seed."""
    from enxuto.studies.lottery.arms import Arm

    arm = result.settings.get("arm")
    what = "unpruned" if arm is None else Arm(**arm).label
    return f"{what}, round {result.settings.get('round', 0)}, seed {result.seed}"


def show(
    lottery: Lottery,
    results: StudyResults,
    folder: Path,
    target: Path,
    made: dict[str, Any],
    *,
    svg: bool,
    full: bool,
    as_json: bool,
) -> None:
    """Write tables and charts into `target`, in the study's folder, and print the claims, or all as JSON.

    full: print every level too.
    """
    from enxuto.report.figures.lottery import draw_lottery
    from enxuto.studies.lottery.files import write_tables
    from enxuto.studies.lottery.tables import claims_table, levels_table, published_table, speeds_table

    written = write_tables(lottery, target, provenance=made)
    written += draw_lottery(lottery, target, ".svg" if svg else ".png")
    write_provenance(target, made)
    ended = [result for result in results if (result.values or {}).get("exhausted")]
    if ended:
        warn(
            f"{len(ended)} of {len(results.results)} points left more than was asked for, as nothing more could go: "
            "each layer keeps --min-filters, and some filters must stay"
        )
    if lottery.void:
        warn(f"{lottery.void}; more epochs or images, another rate (--set lr=0.01), or clip=1 may help")
    if as_json:
        failed = [point_name(result) for result in results.failed]
        print_json({"folder": str(folder), **lottery.to_dict(), "failed": failed, "provenance": made})
    else:
        tables: list[Any] = [
            claims_table(lottery),
            published_table(lottery),
            levels_table(lottery) if full else None,
            speeds_table(lottery),
        ]
        for table in tables:
            if table is not None:
                show_study_table(table)
        note(f"in {target}: {', '.join(path.name for path in written)}; in {folder}: records.jsonl")
    exit_on_failures(results)
