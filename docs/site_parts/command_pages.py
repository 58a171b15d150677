"""The directive `commands`: the whole command line as a page, made of the Typer application at every build.

The text is what Typer's own documentation command prints, so verbs and options cannot go stale. Only the examples in
the help are marked as such here, as they are known by their indentation in a terminal.
"""

from __future__ import annotations

import re
import subprocess
import sys

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

__all__ = ["Commands", "command_text", "setup"]

_EXAMPLES = re.compile(r"(?:^```\n)?((?:^ *enxuto [a-z].*\n?)+)(?:^```\n)?", re.MULTILINE)


def command_text() -> str:
    """Markdown of all verbs: help, usage, arguments and options, as `typer … utils docs` prints it."""
    command = [sys.executable, "-m", "typer", "enxuto.cli", "utils", "docs", "--name", "enxuto"]
    text = subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout
    _, found, verbs = text.partition("\n## ")
    if not found:
        raise RuntimeError("typer's documentation command names no verbs")
    return _EXAMPLES.sub(_as_example, found + verbs)


def _as_example(match: re.Match[str]) -> str:
    lines = [line.strip() for line in match[1].splitlines()]
    return "\n".join(["```console", *(f"$ {line}" for line in lines), "```", ""])


class Commands(SphinxDirective):
    """`{commands}`: a section for each verb."""

    def run(self) -> list[nodes.Node]:
        """Parse the Markdown where the directive stands."""
        return self.parse_text_to_nodes(command_text(), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
