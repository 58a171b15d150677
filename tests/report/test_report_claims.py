"""What a report claims: tickets are never controls, commands name no folder of anyone, schemas are known."""

from __future__ import annotations

import copy
import csv
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import report_samples as samples

from enxuto.report import Results, read_results, write_page, write_texts
from enxuto.report.page import page_text
from enxuto.report.values import shell_command
from enxuto.weights.families import FAMILIES, FittedFamily

STEERING = "fc\x1b]0;PWNED\x07\u202egnp.exe\rover"


def lottery(control: float) -> list[dict[str, Any]]:
    """Records of an arm beside the unpruned 0.8, its controls, a chain of fresh weights, and the network trained on."""
    found = samples.lottery_records()
    shared = {"network": found[0]["settings"]["network"]}
    arm = {"mode": "reinit", "criterion": "l1", "scope": "global", "schedule": "iterative", "rewind_epoch": 0}
    for point, settings in (
        ("c1", {**shared, "arm": arm, "round": 1}),
        ("c2", {**shared, "arm": {**arm, "mode": "rewind", "control": "fresh"}, "round": 1}),
        ("c3", {**shared, "arm": {**arm, "mode": "rewind", "control": "random"}, "round": 1}),
        ("c0", {**shared, "arm": {**arm, "mode": "fine-tune"}, "round": 0}),
    ):
        values = {**found[1]["values"], "top1": control}
        found.append(samples.record(point, "lottery.round", settings, values))
    return found


def test_a_control_is_never_a_winning_ticket(tmp_path: Path) -> None:
    results = read_results([samples.write_lines(tmp_path / "records.jsonl", lottery(0.95))])
    exhibit = next(one for one in results.exhibits if one.kind == "tickets")
    chart = exhibit.charts[0]
    place = chart.columns.index("ticket")
    ringed = {series.name: [row[place] for row in series.rows] for series in chart.frames[0].series}
    names = ["l1, reinit", "l1, rewind to 0: fresh weights", "l1, rewind to 0: random filters"]
    assert [ringed[name] for name in names] == [[0], [0], [0]]
    assert ringed["l1, fine-tune (only trained on)"] == [0]
    assert ringed["l1, rewind to 0"] == [1, 0]  # 0.82 and 0.6 beside 0.8
    found = dict(row[:2] for row in exhibit.tables[0].rows)
    assert {found[name] for name in [*names, "l1, fine-tune (only trained on)"]} == {"(control)"}


def test_a_ticket_needs_all_seeds(tmp_path: Path) -> None:
    values = copy.deepcopy(samples.TICKETS)
    first = values["runs"][0]
    method, number = first["method"], first["round"]
    same = [run for run in values["runs"] if (run["method"], run["round"]) == (method, number)]
    for run in same:
        run["accuracy"] = 1.0
    values["runs"] = [run for run in values["runs"] if run not in same[1:]]
    if len(values["unpruned"]) == 1:
        values["unpruned"].append({**values["unpruned"][0], "seed": 99})
    (exhibit,) = read_results([samples.write(tmp_path / "t.json", values)]).exhibits
    chart = exhibit.charts[0]
    place = chart.columns.index("ticket")
    series = next(one for one in chart.frames[0].series if one.name == method)
    assert next(row for row in series.rows if row[chart.columns.index("round")] == number)[place] == 0


def test_no_arm_is_out_of_sight_close_up(tmp_path: Path) -> None:
    values = copy.deepcopy(samples.TICKETS)
    for run in values["runs"]:
        run["accuracy"] = 0.05
    (exhibit,) = read_results([samples.write(tmp_path / "t.json", values)]).exhibits
    close = exhibit.charts[0].y[0].close
    assert close is not None
    assert close[0] <= 5.0


def train_folder(folder: Path) -> Path:
    """What `enxuto train` leaves, but for the checkpoints."""
    folder.mkdir()
    rows = [
        {"epoch": number, "loss": 2.0 / number, "lr": 0.1, "seconds": 3.0, "images_per_s": 100.0,
         "validation_loss": 1.5 / number, "validation_top1": 0.2 * number, "validation_top5": None}
        for number in (1, 2, 3)
    ]  # fmt: skip
    samples.write_lines(folder / "history.jsonl", rows)
    samples.write(folder / "provenance.json", {"command": "enxuto train"})
    (folder / "preprocess.toml").write_text("")
    return folder


def test_the_folder_of_a_training_is_shown(tmp_path: Path) -> None:
    folder = train_folder(tmp_path / "lenet5")
    (exhibit,) = read_results([folder]).exhibits
    assert exhibit.kind == "training"
    assert [row[0] for row in exhibit.tables[0].rows] == ["1", "2", "3"]
    assert exhibit.tables[0].rows[0][1:4] == ("2.0000", "1.5000", "20.00")
    training, validation = exhibit.charts[0].frames[0].series
    assert [row[:2] for row in training.rows] == [(1, 2.0), (2, 1.0), (3, 2.0 / 3)]
    assert [row[2] for row in validation.rows] == pytest.approx([20, 40, 60])
    assert read_results([folder / "history.jsonl"]).exhibits[0].kind == "training"


def test_what_train_prints_is_shown_too(tmp_path: Path) -> None:
    rows = [
        json.loads(line) for line in (train_folder(tmp_path / "a") / "history.jsonl").read_text().splitlines()
    ]
    history = {
        "records": rows,
        "stopped": "epochs",
        "best_epoch": 3,
        "samples": 90,
        "validation_samples": 10,
        "seed": 4,
    }
    printed = {
        "schema": "enxuto.train/1",
        "network": "lenet5",
        "data": "d.npz",
        "config": {},
        "history": history,
    }
    (exhibit,) = read_results([samples.write(tmp_path / "train.json", printed)]).exhibits
    assert (exhibit.kind, dict(exhibit.origin)["seed"]) == ("training", "4")


@pytest.mark.parametrize("damage", ["{", "[]", '{"epoch": "x"}', "null", '{"epoch": 1, "loss": NaN}'])
def test_a_damaged_history_is_named(tmp_path: Path, damage: str) -> None:
    folder = train_folder(tmp_path / "lenet5")
    (folder / "history.jsonl").write_text(damage)
    ledger = samples.write(tmp_path / "ledger.json", samples.LEDGER)
    results = read_results([folder, ledger])
    assert len(results.exhibits) == 1
    assert "history.jsonl" in results.problems[0]


def test_fits_of_a_file_are_shown_without_scipy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = samples.write(tmp_path / "w.json", samples.weights())
    expected = read_results([path]).exhibits
    for name in [name for name in sys.modules if name.partition(".")[0] == "scipy"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "scipy", None)
    assert read_results([path]).exhibits == expected


DENSITIES: list[tuple[str, tuple[float, ...]]] = [
    ("Gaussian", (0.1, 0.7)), ("uniform", (-1.0, 2.0)), ("Cauchy", (0.1, 0.4)), ("exponential", (-1.0, 0.6)),
    ("gamma", (2.5, -3.1, 0.8)), ("gamma", (1e5, -1000.0, 0.01)), ("Laplace", (0.0, 0.3)), ("alpha", (2.0, -3.5, 4.0)),
    ("logistic", (0.0, 0.3)), ("generalised Gaussian", (0.8, 0.1, 0.4)), ("generalised Gaussian", (300.0, 0.1, 0.4)),
    ("Student t", (3.3, 0.1, 0.5)), ("Student t", (9e3, 0.1, 0.5)), ("Gaussian", (0.0, -1.0)),
    ("gamma", (-1.0, 0.0, 1.0)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments"), DENSITIES)
def test_densities_are_those_of_scipy(name: str, arguments: tuple[float, ...]) -> None:
    import numpy as np
    from scipy import stats

    family = next(one for one in FAMILIES if one.name == name)
    x = np.linspace(-3, 3, 601)
    expected = getattr(stats, family.scipy)(*arguments).pdf(x)
    np.testing.assert_allclose(FittedFamily(family, arguments).density(x), expected, rtol=1e-8, atol=1e-300)


@pytest.mark.parametrize("schema", ["enxuto.inspect/1", "enxuto.compress/1", None])
def test_files_with_and_without_a_schema_are_read(tmp_path: Path, schema: str | None) -> None:
    values = samples.LEDGER if schema is None else {"schema": schema, "version": "9.9", **samples.LEDGER}
    (exhibit,) = read_results([samples.write(tmp_path / "a.json", values)]).exhibits
    assert exhibit.kind == "ledger"


@pytest.mark.parametrize(
    "schema", ["enxuto.inspect/2", "enxuto.inspect", "else/1", 1, None, ["enxuto.inspect/1"], {}]
)
def test_other_schemas_are_named_and_left_out(tmp_path: Path, schema: object) -> None:
    paths = [samples.write(tmp_path / "a.json", {"schema": schema, **samples.LEDGER}),
             samples.write(tmp_path / "b.json", samples.LEDGER)]  # fmt: skip
    results = read_results(paths)
    assert len(results.exhibits) == 1
    assert "a.json: its schema is" in results.problems[0]


def test_the_command_of_a_page_is_quoted_and_names_no_folder(tmp_path: Path) -> None:
    place = tmp_path / "of ana; rm -rf"
    place.mkdir()
    paths = [samples.write(place / "my results.json", samples.LEDGER), place / "missing.json"]
    text, _ = page_text(read_results(paths))
    assert str(tmp_path) not in text
    assert "of ana" not in text.replace("of ana; rm -rf/my results.json", "")
    command = re.search(r"<footer>.*<code>(.*)</code>", text)
    assert command is not None
    import html

    words = shlex.split(html.unescape(command[1]))
    assert words == ["enxuto", "report", "my results.json", "missing.json", "-o", "report.html"]


def test_rebuilt_commands_name_no_folder() -> None:
    assert (
        shell_command("enxuto evaluate", "/home/ana/m n.onnx", "--data", "d/x", None)
        == "enxuto evaluate 'm n.onnx' --data d/x"
    )


def test_nothing_steers_what_shows_a_report(tmp_path: Path) -> None:
    ledger = copy.deepcopy(samples.LEDGER)
    ledger["output"] = STEERING
    ledger["rows"][1]["name"] = "=HYPERLINK(1)"
    ledger["rows"][2]["name"] = STEERING
    results = read_results([samples.write(tmp_path / "a.json", ledger)])
    results = Results(results.exhibits, (STEERING,), (STEERING,))
    write_page(results, tmp_path / "r.html", title=STEERING)
    for path in [tmp_path / "r.html", *write_texts(results, tmp_path / "tables")]:
        text = path.read_text(encoding="utf-8")
        assert not set(text) & {"\x1b", "\x07", "\u202e", "\r", "\0"}, path
    (table,) = (tmp_path / "tables").glob("*.csv")
    cells = [row[0] for row in csv.reader(table.read_text(encoding="utf-8").splitlines())]
    assert "'=HYPERLINK(1)" in cells
    assert "4,500" in table.read_text()
