"""What all verbs share at the terminal: where output goes, how progress shows, how errors end.

Results go to stdout (tables, or JSON with --json), progress and remarks to stderr. Nothing is coloured or redrawn
where the stream is not a terminal, and NO_COLOR is kept.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from enxuto.errors import EnxutoError
from enxuto.signals import exit_code

__all__ = [
    "ends_well",
    "human_bytes",
    "note",
    "print_json",
    "progress_bar",
    "set_debug",
    "show_table",
    "warn",
]

P = ParamSpec("P")
R = TypeVar("R")

_debug = False


def set_debug(on: bool) -> None:
    """Choose whether errors end with a traceback instead of one line."""
    global _debug
    _debug = on


def ends_well(verb: Callable[P, R]) -> Callable[P, R]:
    """Turn errors of a verb into one line on stderr and an exit code: 2, or 1 where a check failed."""

    @functools.wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if _debug:
            return verb(*args, **kwargs)
        try:
            return verb(*args, **kwargs)
        except EnxutoError as error:
            _fail(str(error), error.exit_code)
        except KeyboardInterrupt as interrupt:
            _fail("interrupted; no file was left half-written", exit_code(interrupt))
        except MemoryError:
            _fail("not enough memory; try fewer threads or a smaller batch", 2)
        except BrokenPipeError:
            raise typer.Exit(0) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:  # the outermost boundary: one line instead of a traceback
            if type(error).__module__.startswith("typer"):
                raise
            _fail(
                f"internal error: {type(error).__name__}: {error} (run `enxuto --debug …` and report it)", 2
            )
        raise AssertionError("unreachable")

    return run


def _fail(message: str, code: int) -> None:
    line = " ".join(message.split())
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"[red]error:[/red] {escape(line)}")
    raise typer.Exit(code)


def note(message: str) -> None:
    """Write a remark to stderr."""
    Console(stderr=True, soft_wrap=True, highlight=False).print(escape(message))


def warn(message: str) -> None:
    """Write a warning to stderr."""
    line = " ".join(message.split())
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"[yellow]warning:[/yellow] {escape(line)}")


def print_json(values: Any) -> None:
    """Write a result to stdout as JSON."""
    sys.stdout.write(json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def show_table(
    title: str | None,
    columns: Mapping[str, str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str | None = None,
) -> None:
    """Write a table to stdout; `columns` maps headings to `left` or `right`."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=title, caption=caption, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left"
    )
    for heading, side in columns.items():
        table.add_column(heading, justify="right" if side == "right" else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 400  # a pipe has no width; do not fold for one that nobody sees
    console.print(table)


def human_bytes(count: float) -> str:
    """Return bytes as people read them: `18,615,732 B`, in full, since a ledger must add up."""
    return f"{count:,.0f} B"


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function (what, done, total) that keeps a bar up to date on stderr; silent away from a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda what, done, total: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f}%"),
               TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
