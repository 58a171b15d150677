"""Pages tell the truth where that is quickly checked: commands are whole, pages exist, the chart is of its table."""

from __future__ import annotations

import ast
import csv
import importlib.util
import itertools
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType

import pytest
import typer

from documented_commands import Command, commands_of, parse
from enxuto.cli import app

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)]
ROOT_COMMAND = typer.main.get_command(app)
VERBS = ROOT_COMMAND.commands  # type: ignore[attr-defined]
USAGE_ERROR: type[Exception] = typer.BadParameter.__base__  # Typer has Click's, or its own copy of it

REPEATABLE = [
    page
    for page in PAGES
    if page in (DOCS / "results.md", DOCS / "training.md")
    or DOCS / "results" in page.parents
    or DOCS / "how-to" in page.parents
]
"""Pages whose commands are to be repeated: their files must be there."""
SHARED = {
    "cifar10-test.parquet", "cifar10-train.parquet", "imagenet-sample.parquet", "resnet20-cifar10.onnx",
    "resnet56-cifar10.onnx", "efficientnet-lite0.onnx",
}  # fmt: skip
"""Files of the folder beside the checkout."""
YOURS = {
    "any-model.md": ("detector.onnx", "model.onnx", "pages.npz", "tokens.jsonl", "sound.npz", "held-out.npz"),
    "compress-within-a-loss.md": (
        "model.onnx", "images.npz", "validation.parquet", "train.parquet", "photos/", "imagenet/val", "synsets.txt",
    ),
    "repeat-tonin.md": ("studies.toml",),
    "run-on-a-cluster.md": ("model.onnx", "test.parquet", "/shared/test.parquet"),
    "train-and-prune.md": ("model.onnx", "flowers/", "photos/"),
    "training.md": ("model.onnx", "runs/model/last.pt", "cat.png"),
}  # fmt: skip
"""Page → what stands for the reader's own files there, as the page says."""


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def commands(page: Path) -> list[Command]:
    """Verbs and benchmarks with what follows them."""
    return [one for one in commands_of(page) if one.ours and not one.mentioned]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_on_pages_are_whole(page: Path) -> None:
    """They parse, have no ellipses, and name files of `../shared` with their folders."""
    for one in commands(page):
        check_command(one, parses=one.in_block or page in REPEATABLE)


def test_commands_of_the_chart_are_whole() -> None:
    with (DOCS / "figures" / "sizes.csv").open() as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            (command,) = parse(row["command"], number, {}, in_block=True)
            check_command(command)
            assert all(exists(path) for path in command.paths if path != "int8.onnx"), command


def check_command(command: Command, *, parses: bool = True) -> None:
    """No ellipsis, no file of `../shared` without its folder; and of verbs, where that is asked for, that it parses."""
    assert not any("…" in word for word in command.words), f"{command}: an ellipsis"
    bare = [word for word in command.paths if Path(word).name in SHARED and not word.startswith("../shared/")]
    assert not bare, f"{command}: {bare} without ../shared/"
    if command.program.startswith("benchmarks/"):
        check_benchmark(command)
    elif parses:
        check_verb(command)


def check_verb(command: Command) -> None:
    """The verb exists and takes these words."""
    if command.program.isupper() or command.program.startswith("-"):
        return
    assert command.program in VERBS, f"there is no verb {command.program}"
    words = list(command.words[: command.words.index(">")] if ">" in command.words else command.words)
    if "--help" in words or "-h" in words:
        return
    try:
        VERBS[command.program].make_context(command.program, words)
    except USAGE_ERROR as error:
        raise AssertionError(f"{command}: {error}") from None


def check_benchmark(command: Command) -> None:
    """The script exists and has these options; what has to be named is named before them."""
    script = ROOT / command.program
    assert script.is_file(), f"{command}: no such script"
    known: set[str] = set()
    wanted = 0
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".add_argument"):
            names = [ast.literal_eval(name) for name in node.args]
            known.update(names)
            optional = any(
                key.arg == "nargs" and ast.unparse(key.value) in ("'*'", "'?'") for key in node.keywords
            )
            wanted += not names[0].startswith("-") and not optional
    used = {word.split("=")[0] for word in command.words if re.match(r"--?[a-z]", word)}
    assert used <= known, f"{command}: {sorted(used - known)}"
    assert len(list(itertools.takewhile(lambda word: word[0] != "-", command.words))) >= wanted, (
        f"{command}: too few"
    )


@pytest.mark.parametrize("page", REPEATABLE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_of_commands_exist_or_are_made_before(page: Path) -> None:
    """By a command above on the page; pages below results.md go on from what that makes. No default name twice."""
    above = page.parent != DOCS and DOCS / "results" in page.parents
    made = [path for one in commands_of(DOCS / "results.md") for path in one.made] if above else []
    own: list[str] = []
    for one in commands_of(page):
        if one.mentioned or not one.words:
            continue
        for path in one.paths:
            found = exists(path) or path in YOURS.get(page.name, ()) or any(
                path == other or path.startswith(f"{other.rstrip('/')}/") for other in made
            )  # fmt: skip
            assert found, f"{one}: {path} is neither there nor made above"
        assert one.named or not set(one.made) & set(own), f"{one}: {one.made} is made above already"
        made += one.made
        own += one.made


def test_what_the_first_commands_of_the_readme_make_is_no_part_of_a_checkout() -> None:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("this is no checkout, or there is no git")
    text = (ROOT / "README.md").read_text()
    last = text[: text.index("With a model and photos of your own")].count("\n")
    made = [path for one in commands_of(ROOT / "README.md") if one.line <= last for path in one.made]
    assert "restored.onnx" in made
    for path in made:
        assert subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False).returncode == 0, (
            path
        )


def exists(path: str) -> bool:
    """Whether it is in the checkout, in the folder beside it or in a Debian package; that folder may be absent."""
    if path.startswith("../shared/"):
        return (ROOT / path).exists() or not (ROOT.parent / "shared").exists()
    return (ROOT / path).exists() or path.startswith("/usr/share/datasets/")


PAGE = r"""Say `enxuto compress` and `python benchmarks/rate.py
--bits 3`.

- a list

  ```
  enxuto prune a.pt \
    --data b/ -o c
  ```

```python
enxuto = 1
```

```console
$ time enxuto curve d.onnx --data e.npz
enxuto printed this
```

```sh
HERE=f
for n in 1 2; do  # twice
  enxuto compress $HERE/g.onnx --bits $n
  cp g.enx g-$n.enx
done
torchrun -m enxuto train net --data h.parquet
enxuto inspect g.enx --json > i.json
```
"""


def test_commands_are_found_in_all_their_forms(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    found = commands_of(page)
    assert [(one.line, one.program, one.words, one.in_block) for one in found] == [
        (1, "compress", (), False),
        (1, "benchmarks/rate.py", ("--bits", "3"), False),
        (7, "prune", ("a.pt", "--data", "b/", "-o", "c"), True),
        (16, "curve", ("d.onnx", "--data", "e.npz"), True),
        (23, "compress", ("f/g.onnx", "--bits", "1"), True),
        (23, "compress", ("f/g.onnx", "--bits", "2"), True),
        (24, "cp", ("g.enx", "g-1.enx"), True),
        (24, "cp", ("g.enx", "g-2.enx"), True),
        (26, "train", ("net", "--data", "h.parquet"), True),
        (27, "inspect", ("g.enx", "--json", ">", "i.json"), True),
    ]
    assert [one.made for one in found[2:]] == [
        ["c"], ["studies/curve-d"], ["g.enx"], ["g.enx"], ["g-1.enx"], ["g-2.enx"], ["runs/net"], ["i.json"],
    ]  # fmt: skip
    assert [one.paths for one in found[2:4]] == [["a.pt", "b/"], ["d.onnx", "e.npz"]]


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
