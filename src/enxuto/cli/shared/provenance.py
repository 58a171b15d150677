"""`provenance`: how a result was made, under the key of that name in all that verbs print and write as JSON.

The command as it was given, what it was made with and on what. Paths from the root, and addresses, name machines and
people: a path is shortened to its last name, an address to its scheme.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from typer.core import TyperGroup

from enxuto.cli.shared.refusals import one_line_refusals
from enxuto.cli.shared.streams import replace_unencodable
from enxuto.escaping import anonymise, json_text, shell_words
from enxuto.files import atomic_write

__all__ = ["EnxutoCommands", "command_line", "provenance", "write_provenance"]

_FILE = "provenance.json"

_arguments: tuple[str, ...] | None = None


class EnxutoCommands(TyperGroup):
    """The command line, which remembers the arguments that it was given last, and writes to any terminal."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run as usual, with streams that take every character."""
        replace_unencodable()
        return super().main(*args, **kwargs)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parse as usual; what is refused is said in one line."""
        with one_line_refusals():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Run as usual, likewise."""
        verb = next((word for word in _arguments or () if not word.startswith("-")), "")
        with one_line_refusals(verb if verb in self.commands else ""):
            return super().invoke(ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as usual."""
        global _arguments
        _arguments = tuple(args)
        return super().parse_args(ctx, args)


def provenance(
    *, samples: Any = None, seed: Any = None, data: Any = None, threads: int | None = None
) -> dict[str, Any]:
    """What this run's results say of how they were made.

    samples, seed, data: how many images (runs, weights), what chance was drawn by, hash of the images; numbers and
    texts, or such by part; None where the results have nothing of the kind. threads: as asked, 0 being one a processor.
    """
    from enxuto.machine.facts import machine, versions

    facts = machine()
    if threads is not None:
        facts["threads"] = threads or facts["cores"]
    values = {"samples": samples, "seed": seed, "data": data}
    return {
        "command": None if _arguments is None else command_line(_arguments),
        **{key: value for key, value in values.items() if value is not None},
        "versions": versions(),
        "machine": facts,
    }


def write_provenance(folder: Path, values: Mapping[str, Any]) -> None:
    """Leave it as `provenance.json` in the folder of a verb's files. Raises `UsageError` where that cannot be."""
    with atomic_write(folder / _FILE) as file:
        text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
        file.write((json_text(text) + "\n").encode())


def command_line(arguments: Sequence[str]) -> str:
    """The command with these arguments, as a shell takes it."""
    return shell_words(["enxuto", *(anonymise(argument) for argument in arguments)])
