"""What the verbs that run studies share: where points are computed, and where tables and charts are written."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared.common_options import COMPUTING, Workers, WorkerThreads
from enxuto.cli.shared.terminal import note, note_trace, show_table, warn
from enxuto.errors import UsageError
from enxuto.machine.processors import processors

if TYPE_CHECKING:
    from enxuto.study import Executor, Result, StudyResults
    from enxuto.tables import Table

__all__ = [
    "ComputingOptions",
    "Merge",
    "Scheduler",
    "Svg",
    "choose_executor",
    "data_name",
    "existing_tables_folder",
    "exit_on_failures",
    "merge_records",
    "scale_name",
    "share_threads",
    "show_study_table",
    "tables_folder",
]

Scheduler = Annotated[
    str | None,
    typer.Option(rich_help_panel=COMPUTING, metavar="tcp://…", help="Compute on the Dask cluster there."),
]
Merge = Annotated[
    tuple[Path, ...],
    typer.Option(
        rich_help_panel=COMPUTING,
        metavar="PATH,…",
        help="Take in what other machines recorded of the same study: folders, or files records.jsonl.",
    ),
]
Svg = Annotated[bool, typer.Option("--svg", help="Write charts as SVG instead of PNG.")]


@dataclass(frozen=True, kw_only=True)
class ComputingOptions:
    """Where the points of a study are computed."""

    workers: Workers = None
    threads: WorkerThreads = 1
    scheduler: Scheduler = None
    merge: Merge = ()

    def executor(self) -> Executor:
        """Return what computes the points. Raises `UsageError` for workers beside a scheduler."""
        return choose_executor(self.workers, self.thread_count, self.scheduler)

    @property
    def thread_count(self) -> int:
        """How many threads each process has."""
        return share_threads(
            self.threads, self.workers or (0 if self.workers == 0 else processors()), self.scheduler
        )


def share_threads(threads: int, workers: int, scheduler: str | None) -> int:
    """Return how many threads each process has: as many as asked for, for 0 its share of the processors.

    workers: how many processes there are; 0 is this one alone. A process of a cluster (scheduler) has one thread.
    """
    if threads:
        return threads
    return 1 if scheduler is not None else max(1, processors() // max(1, workers))


def choose_executor(workers: int | None, threads: int, scheduler: str | None) -> Executor:
    """Return what computes the points of a study.

    Args:
        workers: processes; 0 computes in this one, None takes the number of processors divided by `threads`.
        threads: of each process.
        scheduler: address of a Dask cluster, which has workers of its own.

    Raises:
        UsageError: both workers and a scheduler are given.
    """
    from enxuto.study import Cluster, Local, Serial

    if scheduler is not None:
        if workers is not None:
            raise UsageError(
                "a cluster has the workers that were started for it; leave out --workers", code="E022"
            )
        return Cluster(scheduler, threads)
    return Serial(threads) if workers == 0 else Local(workers, threads)


def merge_records(folder: Path, sources: Sequence[Path]) -> None:
    """Take other machines' records into the study's folder; say on stderr how many were new."""
    from enxuto.study import Store

    if not sources:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot make the folder {folder}: {error.strerror or error}", code="E013"
        ) from error
    merged = Store(folder).merge(list(sources))
    note(f"merged: {len(merged.added)} points added, {len(merged.known)} known")
    for problem in merged.problems:
        warn(problem)
    if merged.different:
        warn(f"{len(merged.different)} points have other values elsewhere; those recorded here stay")


def data_name(data: str) -> str:
    """Return what a data set is called in the name of a folder: the set's name, else that of its file or folder."""
    path = Path(data).resolve() if Path(data).exists() else Path(data)
    return re.sub(r"[^\w.-]+", "_", path.stem if path.is_file() else path.name).strip(".") or "data"


def scale_name(scale: str, *changes: object) -> str:
    """Return what a scale is called in the name of a folder: `changed` for a full protocol with any changes."""
    return "changed" if scale == "full" and any(changes) else scale


def tables_folder(
    folder: Path, data: str, subject: Mapping[str, Any], subject_of: Callable[[Result], object]
) -> Path:
    """Return the folder for a study's tables and charts, which is made.

    A study's folder may hold results of several data sets or networks, whose tables must not overwrite each other. The
    tables of the first are written into the folder itself, those of others into folders of their own in it.

    Args:
        folder: of the study.
        data: the data set as the user named it, for the name of a folder in it.
        subject: what the tables are about, such as the hash of the images.
        subject_of: returns the same of a recorded result, or None where the result does not say.
    """
    path = existing_tables_folder(folder, subject, subject_of)
    if path is None:
        first = _first_subject(folder, subject_of) is None
        path = folder if first else folder / f"{data_name(data)}{_ending(subject)}"
    path.mkdir(parents=True, exist_ok=True)
    return path


def existing_tables_folder(
    folder: Path, subject: Mapping[str, Any], subject_of: Callable[[Result], object]
) -> Path | None:
    """Return the folder that `tables_folder` made for a subject, whatever its data were called; None without one."""
    if _first_subject(folder, subject_of) == subject:
        return folder
    return next(iter(sorted(folder.glob(f"*{_ending(subject)}"))), None)


def _first_subject(folder: Path, subject_of: Callable[[Result], object]) -> object:
    """Return what the folder itself has the tables of; None where nothing is recorded yet."""
    from enxuto.study import Store

    return next((found for found in map(subject_of, Store(folder).results()) if found is not None), None)


def _ending(subject: Mapping[str, Any]) -> str:
    """Return how the name of a subject's folder ends."""
    from enxuto.study import content_hash

    return f"-{content_hash(subject)[:8]}"


def show_study_table(table: Table) -> None:
    """Write a study's table to stdout."""
    sides = {name: "left" if place < table.texts else "right" for place, name in enumerate(table.columns)}
    show_table(table.title, sides, table.rows, caption=table.caption + ".")


def exit_on_failures(results: StudyResults) -> None:
    """End the verb with exit code 1 where points failed, and say what to do."""
    if results.exit_code:
        for failed in results.failed:
            note_trace(failed.trace)
        warn(
            f"{len(results.failed)} points failed and {len(results.not_run)} were not run; the same command tries again"
        )
        raise typer.Exit(results.exit_code)
