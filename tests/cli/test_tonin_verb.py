"""`enxuto study tonin` as a user calls it, on the packaged network: one command, its tables, resumed, and as a page."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from enxuto.cli import app
from enxuto.demo import MODEL, TEST_IMAGES
from enxuto.report import read_results

Invoke = Callable[..., Result]

STUDY = """
methods = ["midtread", "A-law"]
levels = [5, 5]
bits = [3]
images = 20
[data.digits]
path = "digits.npz"
limit = 90
[[networks]]
name = "VGG of digits"
model = "digits.onnx"
data = "digits"
retrained = "digits.onnx"
published = "vgg"
"""


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the study's file, the network and its images."""
    folder = tmp_path_factory.mktemp("tonin")
    shutil.copy(MODEL, folder / "digits.onnx")
    shutil.copy(TEST_IMAGES, folder / "digits.npz")
    (folder / "study.toml").write_text(STUDY)
    return folder


@pytest.fixture(scope="module")
def first(place: Path) -> Result:
    """The command, once."""
    return run("study", "tonin", place / "study.toml", "-o", place / "out", "--workers", 0)


def test_one_command_makes_the_tables_of_the_source(first: Result, place: Path) -> None:
    assert first.exit_code == 0, first.output
    for title in (
        "Table 3.1",
        "Table 3.7",
        "Table 3.8",
        "Table 3.9",
        "Table 3.10",
        "Literature",
    ):
        assert title in first.stdout
    text = (place / "out" / "tonin.md").read_text()
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")
    ]
    methods = {row[1] for row in rows if row[0] == "VGG of digits"}
    assert {"enxuto, default", "enxuto calibrated, about 3 bits", "enxuto retrained, file 1"} <= methods
    published = {row[0]: row for row in rows if row[0].startswith("published") and len(row) == 10}
    assert published["published: ShuffleNet"][3].startswith(r"67.508\* (") or "67.508*" in str(published)
    assert published["published: mean of 8"][5] == "7.97"
    assert "35 images" in text  # half of 70: of 90 images 20 calibrate
    assert (place / "out" / "quantizers.svg").read_text().startswith("<?xml")
    lines = list(csv.DictReader(io.StringIO((place / "out" / "tonin.csv").read_text())))
    assert {line["part"] for line in lines} == {"choosing", "reporting"}
    assert {line["samples"] for line in lines} == {"35"}
    exact = {row[1]: row[3:] for row in rows if row[0] == "VGG of digits" and len(row) == 7}
    assert exact["enxuto, default"] == ["0", "0", "5", "342"]
    assert exact["enxuto retrained, file 1"] == ["–"] * 4  # plain ONNX
    names = {row[1]: row[2:] for row in rows if row[0] == "VGG of digits" and len(row) == 4}
    assert names["enxuto, default"] == ["not rounded", "0.bias, 3.bias, 7.bias, 9.bias, 11.bias"]
    assert names["midtread, 5"] == ["rounded", "0.bias, 11.bias"]
    of_csv = {line["setting"]: line for line in lines if line["part"] == "reporting"}
    assert of_csv["enxuto, default"]["not_rounded_names"] == "0.bias; 3.bias; 7.bias; 9.bias; 11.bias"
    assert of_csv["midtread, 5"]["stored_exactly"] == "34"
    assert of_csv["midtread, 5"]["stored_exactly_names"] == "0.bias; 11.bias"
    assert len({line["data"] for line in lines}) == 2
    assert json.loads((place / "out" / "provenance.json").read_text())["command"].startswith(
        "enxuto study tonin"
    )


def test_it_resumes_and_prints_json_that_a_report_shows(first: Result, place: Path) -> None:
    assert first.exit_code == 0, first.output
    again = run("study", "tonin", place / "study.toml", "-o", place / "out", "--workers", 0, "--json")
    assert again.exit_code == 0, again.output
    assert "7 of 7 points are recorded already\n6 of 6 points are recorded already" in again.stderr
    said = json.loads(again.stdout)
    (network,) = said["networks"]
    assert network["published"]["network"] == "VGG-19"
    assert network["choosing"]["data"] != network["reporting"]["data"]
    assert said["failed"] == []
    assert any(one["right"] == "67.508" for one in said["corrections"])
    assert any("Deep Compression" in one["work"] for one in said["literature"])
    (place / "study.json").write_text(again.stdout)
    pages = [read_results([place / "out"]), read_results([place / "study.json"])]
    for page in pages:
        assert page.problems == ()
        (exhibit,) = page.exhibits
        assert [table.title for table in exhibit.tables][:5] == [
            f"Table {name}" for name in (
                "3.1: networks and their files", "3.7: classifiers of faces before quantization",
                "3.8: image classifiers before quantization", "3.9: best settings of classifiers of faces",
                "3.10: best settings of image classifiers",
            )
        ]  # fmt: skip
        assert (
            len(exhibit.charts[-1].frames) == len({frame.name for frame in exhibit.charts[-1].frames}) == 12
        )
    assert pages[0].exhibits[0].tables == pages[1].exhibits[0].tables


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("study", "tonin"), "takes a TOML file"),
        (("study", "tonin", "study.toml", "--scale", "full"), "--scale is of the study souza"),
        (("study", "tonin", "study.toml", "--data", "x"), "--data is of the study souza"),
        (("study", "souza", "study.toml"), "takes no file"),
        (("study", "tonin", "missing.toml"), "missing.toml does not exist"),
        (("study", "tonni", "study.toml"), "did you mean"),
    ],
)
def test_wrong_words_are_one_line(place: Path, words: tuple[str, ...], says: str) -> None:
    result = run(*(place / word if word.endswith(".toml") else word for word in words))
    assert result.exit_code == 2
    assert says in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
