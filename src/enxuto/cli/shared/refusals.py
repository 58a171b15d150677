"""What the parser of the command line refuses, in one line with a code, as all other errors are.

Its exceptions are told apart by their names: Typer has its own copies of Click's classes, or takes Click's, by version.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from enxuto.cli.shared.terminal import fail
from enxuto.errors import did_you_mean

__all__ = ["one_line_refusals"]


@contextmanager
def one_line_refusals(verb: str = "") -> Iterator[None]:
    """Inside, a usage error that the parser raises for a verb becomes a line on stderr and exit code 2."""
    try:
        yield
    except Exception as error:
        # Without any arguments the parser shows the help by an exception.
        if not hasattr(error, "format_message") or type(error).__name__ == "NoArgsIsHelpError":
            raise
        said, code = _describe(error)
        command = f"enxuto {verb}".strip()
        fail(f"{said}; `{command} --help` shows {'how to call it' if verb else 'what there is'} [{code}]", 2)


def _describe(error: Any) -> tuple[str, str]:
    """Return what is wrong, and the code of such errors."""
    kind, context = type(error).__name__, error.ctx
    message = str(error.message or "").strip().rstrip(".")
    if kind == "NoSuchOption":
        known = [name for one in context.command.params for name in one.opts]
        return f"there is no option {error.option_name}{_meant(error.option_name, known)}", "E021"
    if message.startswith("No such command"):
        name = message.split("'")[1] if "'" in message else ""
        return (
            f"there is no verb {name!r}{did_you_mean(name, getattr(context.command, 'commands', ()))}",
            "E021",
        )
    if kind == "MissingParameter" and error.param is not None:
        return f"{_name(error.param)} is missing", "E023"
    if kind == "BadOptionUsage":
        needs = "requires" in message
        return f"{error.option_name} {'needs a' if needs else 'takes no'} value", "E023" if needs else "E020"
    if kind == "BadParameter" and error.param is not None:
        return f"{_name(error.param)}: {message[:1].lower()}{message[1:]}", "E020"
    return f"{message[:1].lower()}{message[1:]}", "E020"


def _meant(option: str, known: Sequence[str]) -> str:
    """Return a hint at what was meant: an option of a network, which `--option` takes, or one spelt alike."""
    from enxuto.zoo.options import MEANINGS

    name = option.lstrip("-").replace("-", "_")
    if "--option" in known and name in MEANINGS:
        return f"; options of a network are given as --option {name}=…"
    return did_you_mean(option, known)


def _name(parameter: Any) -> str:
    """Return what the user calls an argument or option: `MODEL.onnx`, `-o/--output`."""
    if all(name.startswith("-") for name in parameter.opts):
        return "/".join(parameter.opts)
    return str(parameter.metavar or parameter.name)
