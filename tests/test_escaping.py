"""What reaches a terminal, a spreadsheet, Markdown, JSON or a picture: nothing steers it, nothing is lost unsaid."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from enxuto.escaping import (
    anonymise,
    csv_cell,
    csv_text,
    escape_invisible,
    escape_invisible_values,
    json_text,
    legend_label,
    markdown_text,
    one_line,
    prepare_to_save,
)
from enxuto.report.drawing import new_figure, save
from enxuto.report.figures.training import draw_losses

STEERING = {
    "escape": "\x1b[31m",
    "title": "\x1b]0;x\x07",
    "C1 CSI": "\x9b31m",
    "delete": "\x7f",
    "null": "\0",
    "return": "a\rb",
    "newline": "a\nb",
    "vertical tab": "\v",
    "next line": "\x85",
    "bidi override": "\u202e",
    "bidi isolate": "\u2066",
    "Arabic letter mark": "\u061c",
    "zero width": "\u200b",
    "joiner": "\u200d",
    "word joiner": "\u2060",
    "byte order": "\ufeff",
    "soft hyphen": "\xad",
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
    "tag": "\U000e0041",
    "selector": "\U000e0100",
    "filler": "\u3164",
    "surrogate": "\udcff",
}


@pytest.mark.parametrize("text", STEERING.values(), ids=STEERING)
def test_what_steers_or_is_not_seen_becomes_an_escape(text: str) -> None:
    shown = escape_invisible(f"fc{text}.w")
    assert shown.startswith("fc")
    assert shown.endswith(".w")
    # The oracle is the Unicode database: no control, format, surrogate or separator is left.
    assert not {unicodedata.category(one) for one in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert "\\" in shown
    shown.encode()


@pytest.mark.parametrize(
    "text", ["conv1/weight:0", "ação", "猫", "μ-law", "🐈", "a  b", "é", "[red]x[/red]", ":cat:"]
)
def test_names_that_are_seen_stay(text: str) -> None:
    assert escape_invisible(text) == text
    assert one_line(text.replace(" ", "\n", 1)) == " ".join(text.split())


@pytest.mark.parametrize("text", STEERING.values(), ids=STEERING)
def test_json_keeps_the_text_and_shows_nothing_raw(text: str) -> None:
    values = {"name": f"fc{text}", text: [1, "plain"]}
    written = json_text(json.dumps(values, ensure_ascii=False, indent=1))
    assert json.loads(written) == values
    assert not {unicodedata.category(one) for one in written if one != "\n"} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize(
    "start", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "-x", "+0.1 to +0.2"]
)
def test_cells_are_no_formulas(start: str) -> None:
    assert csv_cell(start).startswith("'")
    (row,) = list(csv.reader(io.StringIO(csv_text(["a"], [[start]]))))[1:]
    assert row[0][0] == "'"


@pytest.mark.parametrize(
    "number", ["-1.5", "+0.30", "-1.6e-05", "12", "-1,234.5", "+3 %", "-.5", "", "–", -2.5, 3, None]
)
def test_numbers_stay_numbers(number: object) -> None:
    assert csv_cell(number) == number


def test_headings_are_cells_too() -> None:
    assert csv_text(["=a", "b"], []).startswith("'=a,b")


@pytest.mark.parametrize("text", ["a|b", "`a`", "<b>", "*a*", "[x](javascript:1)", "a\nb", "![x](y)"])
def test_markdown_has_no_marks_of_names(text: str) -> None:
    plain = markdown_text(text)
    assert "\n" not in plain
    assert not re.search(r"(?<!\\)[|`<*\[\]]", plain)
    assert re.sub(r"\\(.)", r"\1", plain) == " ".join(text.split())


def test_values_in_lists_and_keys() -> None:
    assert escape_invisible_values({"\x1b": ["\x1b", 1, None, {"a": ("\n",)}]}) == {
        r"\x1b": [r"\x1b", 1, None, {"a": [r"\n"]}]
    }


@pytest.mark.parametrize(
    ("word", "said"),
    [("/home/ana/m.onnx", "m.onnx"), ("C:\\Users\\ana\\m.onnx", "m.onnx"), ("--data=/home/ana/x", "--data=x"),
     ("https://host/a", "https://…"), ("studies/a", "studies/a"), ("--bits", "--bits"), ("/", "/")],
)  # fmt: skip
def test_commands_name_no_folder_of_anyone(word: str, said: str) -> None:
    assert anonymise(word) == said


NAMES = ["a$b$c", "$\\frac$", "$", "\x1b[31m", "\x00", "x\u202ey", "_hidden", "\\alpha", "猫"]


@pytest.mark.parametrize("kind", ["png", "svg"])
@pytest.mark.parametrize("name", NAMES)
def test_names_are_drawn_as_they_are(tmp_path: Path, name: str, kind: str) -> None:
    figure, (axes,) = new_figure(4, 3)
    axes.plot([0.5, 2], [0.5, 2], label=legend_label(name))
    axes.set_xscale("log")
    axes.set_title(name)
    axes.set_xlabel(name)
    axes.set_yticks([0.5, 2], [name, "b"])
    axes.legend()
    figure.suptitle(name)
    path = save(figure, tmp_path / f"a.{kind}")
    if kind == "svg":  # XML takes no control character, and its texts are what is seen
        texts = [text.text for text in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]
        assert texts.count(escape_invisible(name)) + texts.count(f" {escape_invisible(name)}") >= 4
        assert any((text or "").strip() == escape_invisible(name) for text in texts)


@pytest.mark.parametrize(
    ("low", "high"), [(4.1, 7.9), (9.05, 9.95), (100.2, 100.4), (1, 64), (0.011, 0.019), (3, 3.0001)]
)
@pytest.mark.parametrize("base", [2, 10])
def test_axes_of_logarithms_have_numbers(low: float, high: float, base: int) -> None:
    figure = Figure()
    axes = figure.add_subplot()
    axes.plot([low, high], [1, 2])
    axes.set_xscale("log", base=base)
    axes.set_xlim(low, high)
    with prepare_to_save(figure):
        figure.canvas.draw()
        ticks = [text for text in axes.get_xticklabels() if text.get_text()]
        seen = [float(text.get_text()) for text in ticks if low <= text.get_position()[0] <= high]
    assert len(seen) >= 2
    assert len(set(seen)) == len(seen)


def test_networks_keep_their_place_in_the_legend(tmp_path: Path) -> None:
    records = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}]
    path = draw_losses({"_a$x$": records, "b": records}, tmp_path / "losses.svg", title="$t$")
    texts = [
        (text.text or "").strip() for text in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")
    ]
    assert {"_a$x$", "b", "$t$"} <= set(texts)
