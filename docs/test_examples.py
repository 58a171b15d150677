"""Every example on the pages runs: `python` and `console` blocks, page by page, from the top, in an empty folder.

Part of `make docs`. Blocks without a language are not run: those that take hours, a cluster, or data of your own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "site_parts"))

from console_blocks import find_difference, parse_commands, run_command  # noqa: E402

PAGES = [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))]


def evaluate_console(example: Example) -> str | None:
    """Run a block's commands; Sybil reports what is returned."""
    for command in parse_commands(example.parsed):
        printed = run_command(command.line)
        shown = "\n".join(command.shown)
        problem = find_difference(shown, printed) if shown.strip() else None
        if problem:
            return f"$ {command.line}\n{problem}\n\nin full:\n{printed}"
    return None


SYBIL = Sybil([PythonCodeBlockParser(), CodeBlockParser("console", evaluator=evaluate_console)])
EXAMPLES = {page: list(SYBIL.parse(page).examples()) for page in PAGES}


@pytest.mark.parametrize(
    "page",
    [page for page, examples in EXAMPLES.items() if examples],
    ids=lambda page: page.relative_to(DOCS.parent).as_posix(),
)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for example in EXAMPLES[page]:
        example.evaluate()
