"""Pages tell the truth where that is quickly checked: verbs, options and pages exist, the chart is of its table."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType

import pytest
import typer

from enxuto.cli import app

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)]
ROOT_COMMAND = typer.main.get_command(app)
VERBS = ROOT_COMMAND.commands  # type: ignore[attr-defined]


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def commands(page: Path) -> list[list[str]]:
    """The words of every line that begins with `enxuto` in a page's blocks."""
    found = []
    for block in re.findall(r"^```(?:console)?\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True) if "enxuto " in line else []
            if len(words) > 1 and words[0] == "enxuto":
                found.append(words[1:])
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_verbs_and_options_on_pages_exist(page: Path) -> None:
    for verb, *words in commands(page):
        if verb in VERBS:
            known = {name for option in VERBS[verb].params for name in (*option.opts, *option.secondary_opts)}
            used = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
            assert used <= known | {"--help", "-h"}, f"enxuto {verb}: {sorted(used - known)}"
        else:
            assert verb.isupper() or verb.startswith("-"), f"there is no verb {verb}"


def test_every_page_is_in_the_index() -> None:
    entries = ["index"]
    for index in (DOCS / "index.md", *DOCS.glob("*/index.md")):
        folder = index.parent.relative_to(DOCS)
        trees = re.findall(r"^```\{toctree\}\n(.*?)^```", index.read_text(), re.MULTILINE | re.DOTALL)
        lines = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
        entries += [(folder / line).as_posix() for line in lines]
    for page in PAGES[1:]:
        name = page.relative_to(DOCS).with_suffix("").as_posix()
        assert any(fnmatch(name, entry) for entry in entries), name


def test_the_design_names_files_and_folders_that_exist_and_all_of_them() -> None:
    text = (DOCS / "design.md").read_text()
    package = ROOT / "src" / "enxuto"
    paths = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    for name in re.findall(r"`([\w/]+\.py)`", text.replace("`tests/test_house.py`", "")):
        assert any(f"/{path}".endswith(f"/{name}") for path in paths), name
    rows = re.findall(r"^\| (`.*?) \|", text.split("## Folders")[1], re.MULTILINE)
    rooms = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert rooms == {path.split("/")[0].removesuffix(".py") for path in paths if not path.startswith("_")}


def test_the_chart_is_what_its_table_gives() -> None:
    chart = loaded(DOCS / "figures" / "size_chart.py")
    assert (DOCS / "figures" / "sizes.svg").read_text() == chart.chart(
        chart.read_points(DOCS / "figures" / "sizes.csv")
    )


def test_examples_are_compared_word_by_word_and_number_by_number() -> None:
    blocks = loaded(DOCS / "site_parts" / "console_blocks.py")
    (command,) = blocks.parse_commands("$ enxuto a \\\n  b\nsize 1,000 B\n")
    assert command == blocks.Command("enxuto a b", ("size 1,000 B",))
    printed = "tried\n\n  size   1,020 B\nend 99.2%\n"
    assert blocks.find_difference("tried\nsize 1,000 B\nend 99.2%", printed) is None
    assert blocks.find_difference("…\nsize 1,000 …\n…", printed) is None
    assert "1,020" in blocks.find_difference("tried\nsize 900 B\n…", printed)
    assert "size" in blocks.find_difference("…\nsize 1,000 MB\n…", printed)
    assert blocks.find_difference("tried", printed) == "not shown: size 1,020 B"
    assert blocks.find_difference("size 1,000 B\n…", printed) is not None


def test_sections_of_docstrings_become_lists() -> None:
    docstrings = loaded(DOCS / "site_parts" / "docstrings.py")
    lines = [
        "Say.",
        "",
        ">>> say(1)",
        "",
        "Args:",
        "    a, b: what *is*",
        "        said",
        "Returns:",
        "    A `str`.",
    ]
    assert docstrings.to_restructured(lines) == [
        "Say.", "", ">>> say(1)", "", "", "**Arguments**", "", "- ``a, b``: what \\*is\\* said", "",
        "", "**Returns:** A \\ ``str``\\ .", "",
    ]  # fmt: skip
