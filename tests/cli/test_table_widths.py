"""Every verb's tables at every width: numbers are whole, lines fit, what is left out is said."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner

sys.path.append(str(Path(__file__).parents[1] / "report"))
import report_samples as samples

from enxuto.cli import app
from enxuto.cli.shared import terminal
from enxuto.cli.shared.study_options import show_study_table
from enxuto.cli.shared.tables import lay_out, shorten, wrap
from enxuto.demo import MODEL, TEST_IMAGES
from enxuto.report import read_results

WIDTHS = (40, 60, 80, 100, 160)
VERBS = (
    "zoo", "zoo of one", "summary", "summary of blocks", "inspect ONNX", "inspect .enx", "compress",
    "compress --report", "verify", "evaluate", "compare", "bench", "weights", "doctor", "demo",
    "studies",
)  # fmt: skip
NUMBER = re.compile(r"\d[\d,.]*\d(?:e[+-]?\d+)?|\d")


@dataclass
class Shown:
    """What a verb asked for: titles, headings, cells and captions of its tables."""

    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shown]:
    """Each verb run once, its tables taken down."""
    folder = tmp_path_factory.mktemp("widths")
    found: dict[str, Shown] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENXUTO_CACHE", str(folder / "cache"))
        taken: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        def note_down(*args: Any, **more: Any) -> None:
            taken.append((args, more))

        for name, module in list(sys.modules.items()):
            if name.startswith("enxuto.cli") and hasattr(module, "show_table"):
                patch.setattr(module, "show_table", note_down)
        enx, data = folder / "digits.enx", ["--data", TEST_IMAGES]
        commands: dict[str, list[object]] = {
            "zoo": ["zoo"],
            "zoo of one": ["zoo", "mobilenet"],
            "summary": ["summary", "resnet20-cifar"],
            "summary of blocks": ["summary", "resnet20-cifar", "--depth", "2"],
            "inspect ONNX": ["inspect", MODEL],
            "compress": ["compress", MODEL, "-o", enx, "--bits", "4", "--no-xz"],
            "compress --report": ["compress", MODEL, "-o", folder / "c.enx", "--bits", "4", "--report", "--synthetic",
                                  "--images", "8", "--resize", "28,28", "--channels", "L", "--no-xz"],
            "inspect .enx": ["inspect", enx],
            "verify": ["verify", enx, MODEL],
            "evaluate": ["evaluate", enx, *data, "--reference", MODEL, "--per-class", "--confusion"],
            "compare": ["compare", MODEL, enx, *data],
            "bench": ["bench", MODEL, enx, "--repeats", "1", "--warmup", "0"],
            "weights": ["weights", MODEL, "--dependence"],
            "doctor": ["doctor", "--no-trial"],
            "demo": ["demo"],
        }  # fmt: skip
        for verb, words in commands.items():
            taken.clear()
            result = CliRunner().invoke(app, [str(word) for word in words])
            assert result.exit_code == 0, (verb, result.output)
            assert taken, verb
            found[verb] = Shown(list(taken))
        taken.clear()
        for exhibit in read_results(samples.all_of_them(folder)).exhibits:
            for table in exhibit.tables:
                show_study_table(table)
        found["studies"] = Shown(list(taken))
    return found


def written(call: tuple[tuple[Any, ...], dict[str, Any]], width: int, patch: pytest.MonkeyPatch) -> str:
    """A table as a terminal of that width gets it."""
    stream = io.StringIO()
    patch.setattr("enxuto.cli.shared.terminal.sys.stdout", stream)
    console = Console(file=stream, width=width, force_terminal=True, color_system=None)
    patch.setattr(terminal, "_console", lambda stream: console)
    terminal.show_table(*call[0], **call[1])
    patch.undo()
    return re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue())


def texts_of(
    title: str | None, columns: Mapping[str, str], rows: Sequence[Sequence[str]], caption: str | None
) -> str:
    return "\n".join([title or "", *columns, *(cell for row in rows for cell in row), caption or ""])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("verb", VERBS)
def test_numbers_are_whole(
    shown: dict[str, Shown], monkeypatch: pytest.MonkeyPatch, verb: str, width: int
) -> None:
    for call in shown[verb].calls:
        args, more = call
        title, columns, rows = args
        text = written(call, width, monkeypatch)
        lines = text.splitlines()
        assert max(map(cell_len, lines)) <= width, text
        known = set(NUMBER.findall(texts_of(title, columns, rows, more.get("caption"))))
        for line in lines:
            for word in line.split():
                if "…" not in word:
                    assert set(NUMBER.findall(word)) <= known, (word, text)
        assert len(rows) <= len(lines)


def test_a_long_name_keeps_both_ends_and_numbers_their_column() -> None:
    name = "backbone.stage3.block12.conv2.depthwise.weight"
    table = lay_out({"tensor": "left", "size": "right"}, [(name, "18,615,732 B"), ("b", "1.6e-05")], 40)
    (first, second) = table.body
    assert first.endswith("18,615,732 B")
    assert second.endswith("1.6e-05")
    assert len(first) == len(second) == 40
    assert re.match(r" backbone\.\w*.*….*\.weight ", first)


def test_columns_of_less_weight_give_way_first_and_are_named() -> None:
    columns = {"name": "left", "a": "right", "b": "right", "c": "right"}
    rows = [("n" * 16, "1" * 8, "2" * 8, "3" * 8)]
    assert lay_out(columns, rows, 40, ("a",)).left_out == ("a",)
    assert lay_out(columns, rows, 40).left_out == ("c",)
    assert lay_out(columns, rows, 30, ("b", "a")).left_out == ("a", "b")
    assert lay_out(columns, rows, None, ("a",)).left_out == ()


def test_a_verdict_without_heading_goes_last() -> None:
    columns = {"name": "left", "error": "right", "allowed": "right", "": "left"}
    table = lay_out(columns, [("n" * 20, "0.123456", "0.000001", "WRONG")], 34)
    assert table.body[0].endswith("WRONG")


@pytest.mark.parametrize("width", range(1, 60))
def test_shortened_names_are_never_wider(width: int) -> None:
    for text in ("layer1.0.conv1.weight", "猫猫猫猫猫猫猫猫", "", "x" * 10_000):
        assert cell_len(shorten(text, width)) <= max(width, 0)
        assert all(cell_len(line) <= max(width, 8) for line in wrap(text, width))


def test_sentences_wrap_at_blanks_and_numbers_stay() -> None:
    lines = wrap("lost +0.50 points (95 % interval -1,234.50 to +0.25)", 10)
    assert "-1,234.50" in " ".join(lines).split()
    assert all(len(line) <= 10 for line in lines)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437", "utf-8"])
def test_tables_in_any_encoding(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    """Characters are replaced, columns stay in line."""
    bytes_ = io.BytesIO()
    stream = io.TextIOWrapper(bytes_, encoding=encoding, errors="strict")
    monkeypatch.setattr("enxuto.cli.shared.terminal.sys.stdout", stream)
    terminal.show_table(
        "t → ☃", {"name": "left", "±": "right"}, [("μ-law δ ≈", "1 ± 2×"), ("猫[red]\x1b\udcff", "12")]
    )
    lines = bytes_.getvalue().decode(encoding).splitlines()
    assert "\x1b" not in bytes_.getvalue().decode(encoding)
    assert any(r"[red]\x1b\udcff" in line for line in lines)
    (first, second) = (line for line in lines if line.endswith(("x", "×", "12")))
    assert cell_len(first) == cell_len(second)


def test_json_has_its_schema_and_short_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("enxuto.cli.shared.terminal.sys.stdout", stream)
    values = {
        "a": [1, 2, 3],
        "b": [[1, 2], [3, 4]],
        "c": {},
        "d": [],
        "e": {"x": [{"y": None}]},
        "f": "\u202e\x7f",
    }
    terminal.print_json(values)
    found = json.loads(stream.getvalue())
    assert re.fullmatch(r"enxuto\.\w+/1|enxuto.enxuto/1", found.pop("schema"))
    assert found.pop("version")
    assert found == values
    assert '"a": [1, 2, 3]' in stream.getvalue()
    assert "\u202e" not in stream.getvalue()


@pytest.mark.parametrize("width", WIDTHS)
def test_bars_stand_beside_their_own_column_or_not_at_all(width: int) -> None:
    """A bar without its column would be read as one of the column before it."""
    columns = {"stage": "left", "first": "right", " ": "left", "second": "right", "  ": "left"}
    rows = [("a name of a stage", "1,234,567", "████ 11.1 %", "7,654,321", "█ 22.2 %")] * 2
    found = lay_out(columns, rows, width, give_way=("second",))
    for line in found.body:
        assert ("22.2 %" in line) <= ("7,654,321" in line)
        assert ("11.1 %" in line) <= ("1,234,567" in line)
