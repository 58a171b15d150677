"""The command line: one module per verb, each a thin function over the Python API with lazy imports.

Exit codes: 0 done, 1 a check failed (a bound not met, a file that does not verify), 2 usage, data or file problem,
130 ended by Ctrl-C, 143 by SIGTERM.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Annotated

import typer

from enxuto._version import __version__
from enxuto.cli.shared.options import expand_options
from enxuto.cli.shared.outputs import check_outputs
from enxuto.cli.shared.provenance import EnxutoCommands
from enxuto.cli.shared.terminal import handle_errors, note, set_debug
from enxuto.machine.compiling import on_first_compile

__all__ = ["app"]

_VERBS = (
    "compress",
    "decompress",
    "inspect",
    "verify",
    "diff",
    "apply",
    "evaluate",
    "classify",
    "bench",
    "demo",
    "summary",
    "zoo",
    "show",
    "train",
    "export",
    "fetch",
    "study",
    "weights",
    "curve",
    "compare",
    "report",
    "doctor",
    "prune",
    "slim",
    "lottery",
)

_is_announcing = False  # once a process
_COMPILING = "first use: compiling for this processor, once per installation, in about a minute"
_COMPILING_MORE = "compiling what is used for the first time, in some seconds"

app = typer.Typer(
    name="enxuto",
    cls=EnxutoCommands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(is_given: bool) -> None:
    if is_given:
        typer.echo(f"enxuto {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show a traceback instead of one line on errors.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Makes trained convolutional networks small without losing what they learnt, and gives plain ONNX back."""
    set_debug(debug)
    global _is_announcing
    if not _is_announcing:
        _is_announcing = True
        on_first_compile(_say_that_it_compiles)


def _say_that_it_compiles() -> None:
    from enxuto.machine.kernels import is_anything_kept

    note(_COMPILING_MORE if is_anything_kept() else _COMPILING)


for _verb in _VERBS:
    _module = import_module(f"enxuto.cli.{_verb}")
    app.command(_verb, help=_module.HELP)(
        handle_errors(expand_options(_module.run, partial(check_outputs, _verb)))
    )
