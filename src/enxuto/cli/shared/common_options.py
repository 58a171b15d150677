"""Options that many verbs have, each written once."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "COMPUTING",
    "All",
    "Batch",
    "Batches",
    "Force",
    "InputShape",
    "Json",
    "Threads",
    "WorkerThreads",
    "Workers",
]

COMPUTING = "Computing"
"""The panel of the help that options of processes stand in."""

Threads = Annotated[int, typer.Option(min=0, metavar="N", help="Threads; 0 takes one per processor.")]
WorkerThreads = Annotated[
    int,
    typer.Option(
        "--threads",
        min=0,
        rich_help_panel=COMPUTING,
        metavar="N",
        help="Threads of each process; 0 shares the processors among them.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        rich_help_panel=COMPUTING,
        metavar="N",
        help="Number of processes; 0 computes in this one. By default the number of processors divided by --threads.",
    ),
]
Batch = Annotated[int, typer.Option("--batch", min=1, metavar="N", help="Samples per run.")]
Batches = Annotated[
    tuple[int, ...],
    typer.Option("--batch", metavar="N,…", help="Samples per run; of several numbers, each is measured."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Force = Annotated[
    bool, typer.Option("--force", help="Overwrite the file of the default name, if it is there.")
]
All = Annotated[bool, typer.Option("--all", help="Show every row of the tables, not only the most telling.")]
InputShape = Annotated[
    str | None,
    typer.Option("--input-shape", metavar="C,H,W", help="Channels, height and width of the input."),
]
