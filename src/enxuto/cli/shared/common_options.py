"""Options that many verbs have, each written once."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["All", "Force", "InputShape", "Json", "Threads"]

Threads = Annotated[int, typer.Option(min=0, metavar="N", help="Threads; 0 takes one per processor.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite a file that has the default name.")]
All = Annotated[bool, typer.Option("--all", help="Show every row of the tables, not the most telling alone.")]
InputShape = Annotated[
    str | None,
    typer.Option("--input-shape", metavar="C,H,W", help="Channels, height and width of the input."),
]
