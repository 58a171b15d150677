"""What all verbs share at the terminal: where output goes, how it is written, how errors end.

Results go to stdout (tables, or JSON with --json), progress and remarks to stderr. Nothing is coloured or redrawn
where the stream is not a terminal, and NO_COLOR is kept. All that a verb says passes `_say`: there what steers a
terminal becomes visible (`enxuto.escaping`), and a pipe that was closed ends the output, not the verb.
"""

from __future__ import annotations

import functools
import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TextIO, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from enxuto._version import __version__
from enxuto.cli.shared.option_names import name_options
from enxuto.cli.shared.progress import progress_bar
from enxuto.cli.shared.streams import as_encodable, write
from enxuto.cli.shared.tables import lay_out, wrap
from enxuto.errors import EnxutoError, InFloat32Warning
from enxuto.escaping import escape_invisible, json_text, one_line
from enxuto.machine.signals import exit_code

__all__ = [
    "add_schema",
    "fail",
    "handle_errors",
    "human_bytes",
    "note",
    "note_command",
    "note_trace",
    "print_json",
    "progress_bar",
    "say",
    "set_debug",
    "show_table",
    "warn",
    "warnings_as_remarks",
    "write_text",
]

P = ParamSpec("P")
R = TypeVar("R")

_debug = False
_running = "enxuto"
_verb: Callable[..., Any] | None = None
_told: set[str] = set()


def set_debug(on: bool) -> None:
    """Choose whether errors end with a traceback instead of one line."""
    global _debug
    _debug = on


def handle_errors(verb: Callable[P, R]) -> Callable[P, R]:
    """Return the verb with its errors turned into one line on stderr and an exit code: 2, or 1 for a failed check."""

    @functools.wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        global _running, _verb
        _verb = verb
        _running = verb.__module__.rpartition(".")[2]
        if _debug:
            return verb(*args, **kwargs)
        try:
            with _telling_once():
                return verb(*args, **kwargs)
        except EnxutoError as error:
            fail(f"{error} [{error.code}]", error.exit_code)
        except KeyboardInterrupt as interrupt:
            fail("interrupted; no file was left half-written", exit_code(interrupt))
        except MemoryError:
            fail("not enough memory; try fewer threads or a smaller batch [E092]", 2)
        except BrokenPipeError:
            raise typer.Exit(0) from None
        except (typer.Exit, typer.Abort):
            raise
        except OSError as error:  # a folder that may not be entered, a name too long, a disk that fails
            where = "" if error.filename is None else f" {os.fsdecode(error.filename)}"
            fail(
                f"cannot use{where or ' a file'}: {error.strerror or error}; check the path and its folder [E011]",
                2,
            )
        except Exception as error:  # the outermost boundary: one line instead of a traceback
            if type(error).__module__.startswith("typer"):
                raise
            fail(f"internal error: {type(error).__name__}: {error} (run `enxuto --debug …` and report it)", 2)
        raise AssertionError("unreachable")

    return run


def fail(message: str, code: int) -> None:
    """End the verb with an error of one line and an exit code."""
    _say(sys.stderr, ("error:", "red"), f" {one_line(_name_options(message))}")
    raise typer.Exit(code)


def _name_options(message: str) -> str:
    """A message with arguments of the library as options of the verb that runs."""
    return message if _verb is None else name_options(message, _verb)


def note(message: str) -> None:
    """Write a remark to stderr."""
    _say(sys.stderr, _fit(escape_invisible(_name_options(message)), sys.stderr))


def note_command(command: str, before: str = "", after: str = "") -> None:
    """Write a command to stderr as a shell takes it: in one line at any width. before, after: said around it."""
    _say(sys.stderr, escape_invisible(f"{before}{command}{after and f'  # {after}'}"))


def warn(message: str) -> None:
    """Write a warning to stderr."""
    text = _fit(f"warning: {one_line(_name_options(message))}", sys.stderr)
    _say(sys.stderr, ("warning:", "yellow"), text.removeprefix("warning:"))


def note_trace(trace: str | None) -> None:
    """Write the traceback of what failed in another place to stderr, where --debug asks for it."""
    if _debug and trace:
        sys.stderr.write(escape_invisible(trace, keep="\n"))


@contextmanager
def warnings_as_remarks() -> Iterator[None]:
    """Write warnings that the library gives in the block to stderr, in our words, when it ends."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", UserWarning)
        yield
    for one in found:
        if not issubclass(one.category, InFloat32Warning):
            warn(str(one.message))
        elif str(one.message) not in _told:
            _told.add(str(one.message))
            note(str(one.message))


@contextmanager
def _telling_once() -> Iterator[None]:
    """Write to stderr that a model runs in float32: once in a verb, however many sessions it takes."""
    _told.clear()
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if not issubclass(category, InFloat32Warning):
            usual(message, category, *rest, **more)
        elif str(message) not in _told:
            _told.add(str(message))
            note(str(message))

    with warnings.catch_warnings():
        warnings.filterwarnings("always", category=InFloat32Warning)
        warnings.showwarning = show
        yield


def say(message: str) -> None:
    """Write a line of a result to stdout."""
    _say(sys.stdout, _fit(escape_invisible(message), sys.stdout))


def _fit(text: str, stream: TextIO | None) -> str:
    """Return a line with breaks between words where a terminal is too narrow for it."""
    console = _console(stream)
    return "\n".join(wrap(as_encodable(text, stream), console.width)) if console.is_terminal else text


def write_text(text: str) -> None:
    """Write a result of several lines, such as Markdown, to stdout."""
    write(sys.stdout, escape_invisible(text, keep="\n"))


def add_schema(values: Mapping[str, Any], verb: str | None = None) -> dict[str, Any]:
    """A result with what readers know it by: the verb's name and the version of its keys, and enxuto's own version."""
    return {"schema": f"enxuto.{verb or _running}/1", "version": __version__, **values}


def print_json(values: Mapping[str, Any]) -> None:
    """Write a verb's result to stdout as JSON, with its schema; lists of numbers take one line each."""
    write(sys.stdout, json_text(_lines(add_schema(values), "")) + "\n")


def _lines(values: Any, indent: str) -> str:
    """JSON, indented, but for lists of plain values."""
    deeper = indent + "  "
    if isinstance(values, Mapping) and values:
        rows = [
            f"{json.dumps(str(key), ensure_ascii=False)}: {_lines(value, deeper)}"
            for key, value in values.items()
        ]
        return "{\n" + ",\n".join(deeper + row for row in rows) + f"\n{indent}}}"
    if isinstance(values, (list, tuple)) and any(isinstance(one, (list, tuple, Mapping)) for one in values):
        if all(isinstance(one, (list, tuple)) and _flat(one) for one in values):
            return "[\n" + ",\n".join(deeper + _flat_text(one) for one in values) + f"\n{indent}]"
        return "[\n" + ",\n".join(deeper + _lines(one, deeper) for one in values) + f"\n{indent}]"
    return _flat_text(values)


def _flat(values: Sequence[Any]) -> bool:
    return not any(isinstance(one, (list, tuple, Mapping)) for one in values)


def _flat_text(values: Any) -> str:
    return json.dumps(values, ensure_ascii=False, allow_nan=False)


def show_table(
    title: str | None,
    columns: Mapping[str, str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str | None = None,
    give_way: Sequence[str] = (),
) -> None:
    """Write a table to stdout; `columns` maps headings to `left` or `right`.

    At a terminal it is no wider than that (`tables`): numbers stay whole, names are shortened in the middle,
    and columns give way, those named in `give_way` first, which the line below the table says.
    """
    console = _console(sys.stdout)
    width = console.width if console.is_terminal else None  # a pipe has no width
    shown = {as_encodable(escape_invisible(heading), sys.stdout): side for heading, side in columns.items()}
    cells = [[as_encodable(escape_invisible(cell), sys.stdout) for cell in row] for row in rows]
    less = [as_encodable(escape_invisible(heading), sys.stdout) for heading in give_way]
    table = lay_out(shown, cells, width, less)
    around = width or max(table.width, _PROSE)
    if title:
        _say(
            sys.stdout,
            ("\n".join(wrap(as_encodable(escape_invisible(title), sys.stdout), around)), "italic"),
        )
    _say(sys.stdout, "")
    _say(sys.stdout, ("\n".join(table.head), "bold"))
    _say(sys.stdout, " " + as_encodable("─", sys.stdout) * min(around - 1, table.width))
    _say(sys.stdout, "\n".join([*table.body, ""]))
    below = escape_invisible(caption or "", keep="\n").split("\n")
    if table.left_out:
        below.append(f"not shown at this width: {', '.join(table.left_out)}")
    for line in filter(None, below):
        for part in wrap(as_encodable(line, sys.stdout), around):
            _say(sys.stdout, (part, "dim"))


_PROSE = 110  # characters of a line of prose below a table where the stream has no width


def human_bytes(count: float) -> str:
    """Return bytes as people read them: `18,615,732 B`, in full, since a ledger must add up."""
    return f"{count:,.0f} B"


def _console(stream: TextIO | None) -> Console:
    return Console(file=stream, soft_wrap=True, highlight=False, markup=False, emoji=False)


def _say(stream: TextIO | None, *parts: str | tuple[str, str]) -> None:
    """Write a line: texts that are visible already, some with a style."""
    there = _console(stream)
    text = io.StringIO()
    Console(
        file=text, force_terminal=there.is_terminal, color_system=there.color_system or "auto",  # type: ignore[arg-type]
        no_color=there.no_color, soft_wrap=True, highlight=False, markup=False, emoji=False,
    ).print(Text.assemble(*parts))  # fmt: skip
    write(stream, text.getvalue())
