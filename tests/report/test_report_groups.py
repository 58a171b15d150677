"""Studies of several data sets or settings in one folder: an exhibit for each, and tables that stay apart."""

from __future__ import annotations

import copy
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import report_samples as samples
import typer

from enxuto.cli import app
from enxuto.cli.shared.study_options import data_name, tables_folder
from enxuto.report.results import read_results
from enxuto.study import Point, Result, Store
from enxuto.study.executor import Outcome

OTHER_IMAGES = {"data_hash": "other", "values": {"train": {"hash": "cc", "samples": 512}}}


def changed(records: list[dict[str, Any]], prefix: str, edit: Any) -> list[dict[str, Any]]:
    """Copies with other ids, edited."""
    found = copy.deepcopy(records)
    for one in found:
        one["point"] = prefix + one["point"]
        one["after"] = [prefix + before for before in one["after"]]
        edit(one)
    return found


def other_images(record: dict[str, Any]) -> None:
    record["data_hash"] = "other"
    record["values"]["train"] = {"hash": "cc", "samples": 512}
    record["values"]["measures"]["top1"] = 0.25


def other_settings(record: dict[str, Any]) -> None:
    record["settings"]["config"] = {"epochs": 99}


def other_seed(record: dict[str, Any]) -> None:
    record["seed"] += 1


def test_networks_of_several_seeds_are_one_exhibit_of_their_means(tmp_path: Path) -> None:
    records = samples.souza_records()
    more = changed(records, "x", other_seed)
    for record in more:
        record["values"]["measures"]["top1"] = 0.25
    (exhibit,) = read_results([samples.write_lines(tmp_path / "records.jsonl", [*records, *more])]).exhibits
    assert exhibit.tables[0].rows[0][:4] == ("squeezenet-dsc", "2", "37.50", "25.00 – 50.00")
    (command,) = (text for name, text in exhibit.origin if name.startswith("command"))
    assert command.endswith("--seed 0 --seeds 2")


@pytest.mark.parametrize("edit", [other_images, other_settings])
def test_networks_of_other_images_or_settings_are_exhibits_of_their_own(tmp_path: Path, edit: Any) -> None:
    records = samples.souza_records()
    lines = samples.write_lines(tmp_path / "records.jsonl", [*records, *changed(records, "x", edit)])
    exhibits = read_results([lines]).exhibits
    assert [one.kind for one in exhibits] == ["networks", "networks"]
    assert len({one.title for one in exhibits}) == 2
    for one in exhibits:
        assert [row[0] for row in one.tables[0].rows] == ["squeezenet-dsc", "vgg19-cifar"]
    if edit is other_images:
        assert [one.tables[0].rows[0][1] for one in exhibits] == ["50.00", "25.00"]


def of_config(epochs: int) -> Any:
    def edit(record: dict[str, Any]) -> None:
        record["settings"]["config"] = {"epochs": epochs, "seed": record["seed"]}
        if "left" in (record["values"] or {}):
            record["values"]["top1"] = epochs / 1000

    return edit


def of_data(record: dict[str, Any]) -> None:
    record["data_hash"] = "other"


def linked(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As studies write them: rounds come after the unpruned network."""
    for one in records[1:]:
        one["after"] = [records[0]["point"]]
    return records


@pytest.mark.parametrize("edit", [of_config(9), of_data])
def test_lotteries_of_other_data_or_trainings_are_not_mixed(tmp_path: Path, edit: Any) -> None:
    records = linked(samples.lottery_records())
    lines = samples.write_lines(tmp_path / "records.jsonl", [*records, *changed(records, "x", edit)])
    exhibits = [one for one in read_results([lines]).exhibits if one.kind == "tickets"]
    assert len({one.title for one in exhibits}) == len(exhibits) == 2
    alone = [one for one in read_results([samples.write_lines(tmp_path / "one.jsonl", records)]).exhibits
             if one.kind == "tickets"]  # fmt: skip
    assert exhibits[0].tables[0].rows == alone[0].tables[0].rows


@pytest.mark.parametrize(
    "edit",
    [lambda s: s.update(left=0.9 ** s["round"]), lambda s: s.update(score_images=7),
     lambda s: s.update(retrain_epochs=7), lambda s: s.update(rewind="abc"),
     lambda s: s.update(selection={"target": "macs"})],
)  # fmt: skip
def test_rounds_of_other_ways_are_not_mixed(tmp_path: Path, edit: Any) -> None:
    """Of the same unpruned network, which is in both."""
    records = linked(samples.lottery_records())
    for one in records[1:3]:
        one["settings"] |= {"left": 0.8 ** one["settings"]["round"], "score_images": 5}
    more = changed(records[1:3], "x", lambda one: edit(one["settings"]))
    for one in more:
        one["after"] = [records[0]["point"]]
    lines = samples.write_lines(tmp_path / "records.jsonl", [*records, *more])
    exhibits = [one for one in read_results([lines]).exhibits if one.kind == "tickets"]
    assert len(exhibits) == 2


def test_the_command_is_told_of_its_own_images_alone(tmp_path: Path) -> None:
    records = samples.souza_records()
    for one in records:
        one["data_hash"] = "first"
    samples.write_lines(tmp_path / "records.jsonl", [*records, *changed(records, "x", other_images)])
    (tmp_path / "provenance.json").write_text(json.dumps({"command": "enxuto study souza", "data": "first"}))
    told = [dict(one.origin) for one in read_results([tmp_path]).exhibits]
    assert told[0]["command"] == "enxuto study souza"
    assert "command" not in told[1]
    (tmp_path / "other-1234").mkdir()
    made = {"command": "enxuto study souza --data other", "data": records[0]["data_hash"] + "x"}
    other = [
        one["data_hash"] for one in map(json.loads, (tmp_path / "records.jsonl").read_text().splitlines())
    ][-1]
    (tmp_path / "other-1234" / "provenance.json").write_text(json.dumps(made | {"data": other}))
    told = [dict(one.origin) for one in read_results([tmp_path]).exhibits]
    assert [one.get("command") for one in told] == ["enxuto study souza", "enxuto study souza --data other"]


@pytest.mark.parametrize(
    ("command", "is_told"),
    [
        ("enxuto study souza", True), ("enxuto study souza --scale smoke --data x --seed 3", True),
        ("enxuto study souza --networks squeezenet-dsc,vgg19-cifar", True),
        ("enxuto study souza --scale full", False), ("enxuto study souza --networks vgg19-cifar", False),
        ("enxuto study souza '--scale", False), ("enxuto study souza --scale=full", False),
        ("enxuto study souza --scale=smoke --set epochs=2", True), ("enxuto study souza --set epochs=4", False),
        ("enxuto study souza --set teeth=4", False), ("enxuto study souza --limit 9", False),
    ],
)  # fmt: skip
def test_a_command_that_made_other_networks_is_not_told(tmp_path: Path, command: str, is_told: bool) -> None:
    """A folder keeps the last command of several."""
    samples.write_lines(tmp_path / "records.jsonl", samples.souza_records())
    samples.write(tmp_path / "provenance.json", {"command": command})
    (exhibit,) = read_results([tmp_path]).exhibits
    told = dict(exhibit.origin)
    assert (told.get("command") == command) == is_told
    assert ("command, rebuilt" in told) != is_told


def test_what_is_rebuilt_says_all_that_is_recorded_and_what_is_not(tmp_path: Path) -> None:
    records = samples.souza_records()
    for record in records:
        record["settings"]["scale"] = "full"
        record["settings"]["images"] = {"train": 512, "test": None, "size": [32, 32], "format": "folder"}
    (exhibit,) = read_results([samples.write_lines(tmp_path / "records.jsonl", records)]).exhibits
    told = dict(exhibit.origin)
    assert told["command, rebuilt"] == (
        "enxuto study souza --data DATA --networks squeezenet-dsc,vgg19-cifar --scale full --limit 512 --format folder "
        "--set epochs=2 --seed 0"
    )
    assert (
        told["not recorded"]
        == "what DATA stands for, and options that leave no trace in results, such as --test"
    )
    assert "changed by limit=512, epochs=2" in exhibit.title


def test_rebuilt_commands_are_of_verbs_and_options_that_exist(tmp_path: Path) -> None:
    exhibits = read_results(samples.all_of_them(tmp_path)).exhibits
    commands = [dict(one.origin).get("command, rebuilt") for one in exhibits]
    rebuilt = [command for command in commands if command is not None]
    assert len({command.split()[1] for command in rebuilt}) >= 6
    for exhibit in exhibits:
        assert ("command, rebuilt" in dict(exhibit.origin)) == ("not recorded" in dict(exhibit.origin))
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for command in rebuilt:
        program, verb, *words = shlex.split(command)
        known = {name for one in verbs[verb].params for name in one.opts}
        assert program == "enxuto"
        assert {word for word in words if word.startswith("-")} <= known, command


def recorded(folder: Path, *hashes: str) -> Path:
    folder.mkdir(exist_ok=True)
    with Store(folder).writing() as writer:
        for number, data in enumerate(hashes):
            point = Point("a:b", {"n": number}, data_hash=data)
            writer.add(Result.of(point, Outcome(point.id, {}, None, 0.1)))
    return folder


def test_tables_of_a_second_data_set_get_a_folder_of_their_own(tmp_path: Path) -> None:
    def known(result: Result) -> dict[str, Any]:
        return {"data": result.data_hash}

    folder = recorded(tmp_path / "s", "one", "two")
    assert tables_folder(folder, "photos", {"data": "one"}, known) == folder
    second = tables_folder(folder, "photos", {"data": "two"}, known)
    third = tables_folder(folder, "photos", {"data": "three"}, known)
    assert second.parent == third.parent == folder
    assert second.name.startswith("photos-")
    assert second != third
    assert second == tables_folder(folder, "photos", {"data": "two"}, known)
    assert tables_folder(recorded(tmp_path / "new"), "photos", {"data": "two"}, known) == tmp_path / "new"


@pytest.mark.parametrize(
    ("data", "name"),
    [("cifar10", "cifar10"), ("a/b/photos", "photos"), ("test.parquet", "test"), ("../..", None), (".", None),
     ("a b/ö?*.npz", "ö_.npz")],
)  # fmt: skip
def test_a_data_set_is_called_so_in_names_of_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, name: str | None
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("test.parquet").touch()
    found = data_name(data)
    assert "/" not in found
    assert not found.startswith(".")
    assert found
    if name is not None:
        assert found == name
