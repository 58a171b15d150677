"""What the verbs that run studies share: the options that say where points are computed, and what they mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared.terminal import note, show_table, warn
from enxuto.errors import UsageError

if TYPE_CHECKING:
    from enxuto.study import Executor, Result, StudyResults
    from enxuto.tables import Table

__all__ = [
    "Merge",
    "Scheduler",
    "Threads",
    "Workers",
    "data_name",
    "end",
    "executor",
    "merge",
    "show",
    "tables_folder",
]

_RUN = "Computing"

Workers = Annotated[
    int | None,
    typer.Option(min=0, rich_help_panel=_RUN, help="Processes; 0: this one. Default: one a processor."),
]
Threads = Annotated[int, typer.Option(min=1, rich_help_panel=_RUN, help="Threads of each process.")]
Scheduler = Annotated[
    str | None, typer.Option(rich_help_panel=_RUN, metavar="tcp://…", help="Compute on this Dask cluster.")
]
Merge = Annotated[
    list[Path] | None,
    typer.Option(rich_help_panel=_RUN, help="Folder or records.jsonl of the same study from elsewhere."),
]


def executor(workers: int | None, threads: int, scheduler: str | None) -> Executor:
    """Where points are computed. Raises `UsageError` for workers beside a scheduler."""
    from enxuto.study import Cluster, Local, Serial

    if scheduler is not None:
        if workers is not None:
            raise UsageError("a cluster has the workers that were started for it; leave out --workers")
        return Cluster(scheduler, threads)
    return Serial(threads) if workers == 0 else Local(workers, threads)


def merge(folder: Path, sources: list[Path] | None) -> None:
    """Take in other machines' records, and say what was found."""
    from enxuto.study import Store

    if not sources:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    merged = Store(folder).merge(sources)
    note(f"merged: {len(merged.added)} points added, {len(merged.known)} known")
    for problem in merged.problems:
        warn(problem)
    if merged.different:
        warn(f"{len(merged.different)} points have other values elsewhere; those recorded here stay")


def data_name(data: str) -> str:
    """What a data set is called in the name of a folder: a published set's name, else its file's or folder's own."""
    path = Path(data).resolve() if Path(data).exists() else Path(data)
    return re.sub(r"[^\w.-]+", "_", path.stem if path.is_file() else path.name).strip(".") or "data"


def tables_folder(
    folder: Path, data: str, about: Mapping[str, Any], known: Callable[[Result], object]
) -> Path:
    """Where a study's tables and charts go: into its folder, or one in there, where that has those of other images.

    A folder may hold studies of several data sets (or networks), whose tables must not replace each other's: those of
    the first stand in the folder itself. about: what tables are of; known: the same of a recorded result, or None where
    it says nothing of it.
    """
    from enxuto.study import Store, content_hash

    first = next((found for found in map(known, Store(folder).results()) if found is not None), about)
    place = folder if first == about else folder / f"{data_name(data)}-{content_hash(about)[:8]}"
    place.mkdir(parents=True, exist_ok=True)
    return place


def show(table: Table) -> None:
    """Write a study's table to stdout."""
    sides = {name: "left" if place < table.texts else "right" for place, name in enumerate(table.columns)}
    show_table(table.title, sides, table.rows, caption=table.caption + ".")


def end(results: StudyResults) -> None:
    """Leave with exit code 1 where points failed, saying what to do; else go on."""
    if results.exit_code:
        warn(
            f"{len(results.failed)} points failed and {len(results.not_run)} were not run; the same command tries again"
        )
        raise typer.Exit(results.exit_code)
