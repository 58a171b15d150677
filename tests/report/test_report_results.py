"""Results become exhibits by their form; what is missing, damaged or strange is named and left out."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import report_samples as samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enxuto.errors import UsageError
from enxuto.report import Exhibit, Results, read_results
from enxuto.studies.souza.records import make_records
from enxuto.study import Result


def only(path: Path) -> Exhibit:
    """The one exhibit of a file without problems."""
    results = read_results([path])
    assert results.problems == ()
    (found,) = results.exhibits
    return found


def column(exhibit: Exhibit, name: str, series: int = 0, chart: int = 0) -> list[Any]:
    """The values of a column of a chart."""
    drawn = exhibit.charts[chart]
    return [row[drawn.columns.index(name)] for row in drawn.frames[0].series[series].rows]


def test_every_form_has_its_kind(tmp_path: Path) -> None:
    results = read_results(samples.all_of_them(tmp_path))
    assert results.problems == ()
    assert [one.kind for one in results.exhibits] == [
        "ledger", "rate-curve", "layers", "histograms", "tickets", "tickets", "removed-filters", "removed-filters",
        "speed-up", "speed-up", "networks", "evaluation", "comparison", "table",
    ]  # fmt: skip
    assert all(one.tables and one.charts for one in results.exhibits)


def test_ledger_keeps_its_order_and_tells_the_calculated_apart(tmp_path: Path) -> None:
    found = only(samples.write(tmp_path / "a.json", samples.LEDGER))
    assert column(found, "form") == ["float32 weights", "ONNX file", ".enx file"]
    assert column(found, "bytes", series=0) == [None, 4500, 500]  # measured
    assert column(found, "bytes", series=1) == [4000, None, None]  # calculated
    assert found.tables[0].rows[0] == ("float32 weights", "≈ 4,000", "1.00", "32.000")
    assert dict(found.origin)["command, rebuilt"] == "enxuto compress MODEL.onnx -o net.enx --json"


def test_one_file_may_hold_several_kinds(tmp_path: Path) -> None:
    both = {**samples.LEDGER, "layers": samples.LAYERS["layers"]}
    results = read_results([samples.write(tmp_path / "a.json", both)])
    assert [one.kind for one in results.exhibits] == ["ledger", "layers"]


def test_search_shows_what_was_tried_and_what_came_out_on_other_images(tmp_path: Path) -> None:
    results = read_results([samples.write(tmp_path / "a.json", samples.SEARCH)])
    assert [one.kind for one in results.exhibits] == ["ledger", "rate-curve", "layers"]
    search = results.exhibits[1]
    assert [column(search, "kb", place) for place in range(3)] == [[0.9], [0.4], [0.5]]
    assert [column(search, "drop", place) for place in range(3)] == [[0.1], [3.0], [0.75]]
    assert [row[0] for row in search.tables[0].rows] == ["within", "too far", "result, on other images"]
    told = dict(search.origin)
    assert (
        told["command, rebuilt"]
        == "enxuto compress MODEL.onnx -o net.enx --data DATA --images 64 --seed 5 --json"
    )
    assert told["data"] == "cafe / beef"


def test_search_on_images_without_labels_tells_no_top1(tmp_path: Path) -> None:
    def without(judged: dict[str, Any] | None) -> dict[str, Any] | None:
        return judged and {**judged, "top1": None, "drop": None, "drop_interval": None}

    search = {**samples.SEARCH, "reported": without(samples.SEARCH["reported"])}
    search["trials"] = [{**one, "judged": without(one["judged"])} for one in samples.SEARCH["trials"]]
    found = read_results([samples.write(tmp_path / "a.json", search)]).exhibits[1]
    assert [measure.key for measure in found.charts[0].y] == ["same", "kl"]
    assert [row[2:5] for row in found.tables[0].rows] == [("–", "–", "–")] * 3


def test_curve_stands_beside_the_published_and_its_axes_show_all_metrics(tmp_path: Path) -> None:
    found = only(samples.write(tmp_path / "a.json", samples.curve()))
    (chart,) = found.charts
    assert [measure.key for measure in chart.x] == ["file_bits", "entropy_bits", "file_kb"]
    assert [measure.key for measure in chart.y][:2] == ["top1", "macro_precision"]
    assert [one.name for one in chart.frames[0].series] == ["midtread", "enxuto", "original"]
    assert column(found, "top1") == [50.0, 75.0, 87.5]
    assert column(found, "top1_low") == pytest.approx([45.0, 70.0, 82.5])
    assert any(row[0] == "published: ResNet-101" for row in found.tables[0].rows)
    told = dict(found.origin)
    assert (told["samples"], told["seed"], told["data"]) == ("200", "7", "beef")


def test_records_of_a_curve_give_the_same_chart_as_its_json(tmp_path: Path) -> None:
    printed = samples.curve()["models"][0]
    shared = {"model": "resnet-x", "model_hash": "f00d"}
    kind = "curve.measure"
    original = {"mode": "original", "method": "original", "i": 32}
    lines = [samples.record("o", kind, {**shared, "compress": original}, printed["original"])]
    for place, row in enumerate(printed["points"]):
        compress = {key: row[key] for key in ("mode", "method", "i", "bits") if key in row}
        values = {key: value for key, value in row.items() if key not in (*compress, "setting")}
        lines.append(samples.record(f"p{place}", kind, {**shared, "compress": compress}, values))
    recorded = only(samples.write_lines(tmp_path / "records.jsonl", lines))
    assert recorded.charts == only(samples.write(tmp_path / "a.json", samples.curve())).charts
    assert dict(recorded.origin)["versions"] == "enxuto 0.1.0"


def test_tickets_are_medians_with_their_spread(tmp_path: Path) -> None:
    found = only(samples.write(tmp_path / "a.json", samples.TICKETS))
    # UnprunedNetwork: 90, 91, 92. l1: 91, 92, 93 in the first round, 70, 85, 90 in the second.
    assert column(found, "remaining") == [50.0, 25.0]
    assert column(found, "accuracy") == pytest.approx([92.0, 85.0])
    assert column(found, "low") == pytest.approx([91.0, 70.0])
    assert column(found, "high") == pytest.approx([93.0, 90.0])
    assert column(found, "ticket") == [1, 0]
    # By seed: 93 ≥ 90, 91 < 92, 92 ≥ 91; then 90 ≥ 90, 85 < 92, 70 < 91.
    places, rounds = found.tables
    assert places.rows[:2] == (("l1", "50.00", "25.00"), ("random", "none", "25.00"))
    assert places.rows[2][0].startswith("published: VGG-16")
    assert [row[6] for row in rounds.rows if row[0] == "l1"] == ["2 of 3", "1 of 3"]
    assert dict(found.origin)["command"] == "enxuto prune net"


def test_removed_filters_add_up_in_every_round(tmp_path: Path) -> None:
    found = only(samples.write(tmp_path / "a.json", samples.REMOVED))
    frames = found.charts[0].frames
    assert [frame.name for frame in frames] == ["l1, round 1", "l1, round 2"]
    counts = {one.name: [row[1] for row in one.rows] for one in frames[1].series}
    assert counts == {"kept": [7, 9], "removed in this round": [1, 6], "removed before": [2, 5]}


def test_kept_filters_are_medians_over_seeds(tmp_path: Path) -> None:
    rounds = [
        {"method": "l1", "seed": seed, "round": 1, "kept": kept}
        for seed, kept in enumerate(([8, 15], [6, 20], [9, 9]))
    ]
    found = only(samples.write(tmp_path / "a.json", {**samples.REMOVED, "rounds": rounds}))
    assert found.tables[0].rows == (
        ("l1", "conv1", "1", "3", "10", "2", "8", "80.0"), ("l1", "conv2", "1", "3", "20", "5", "15", "75.0"),
    )  # fmt: skip


def test_speed_ups_are_of_medians_beside_the_first(tmp_path: Path) -> None:
    found = only(samples.write(tmp_path / "a.json", samples.SPEEDS))
    assert column(found, "speedup", series=1) == [1.0, 4.0]
    assert "--batch 1,32" in dict(found.origin)["command, rebuilt"]


def test_lottery_study_is_read_from_its_records(tmp_path: Path) -> None:
    results = read_results([samples.write_lines(tmp_path / "records.jsonl", samples.lottery_records())])
    tickets, removed, speeds = results.exhibits
    assert column(tickets, "ticket") == [1, 0]
    assert column(tickets, "accuracy") == pytest.approx([82.0, 60.0])
    assert removed.tables[0].rows[-1] == ("l1, rewind to 0", "conv2", "2", "1", "20", "6", "9", "45.0")
    assert column(speeds, "speedup") == [1.0, 2.0, 4.0]


def test_what_a_lottery_study_makes_of_its_records_is_read_too(tmp_path: Path) -> None:
    arm = {
        "criterion": "l1",
        "mode": "lr-rewind",
        "scope": "global",
        "schedule": "iterative",
        "rewind_epoch": 0,
    }
    levels = [
        {**arm, "round": number, "left": {"parameters": 0.5**number}, "seeds": seeds, "claim": claim}
        for number, seeds, claim in (
            (1, {"0": 0.9, "1": 0.8}, {}),
            (2, {"0": 0.7, "1": 0.6}, {}),
            (3, {"0": 0.1}, None),
        )
    ]
    summary = {
        "network": "net",
        "about": "500 images",
        "unpruned": {"seeds": {"0": 0.8, "1": 0.7}},
        "levels": levels,
    }
    found = only(samples.write(tmp_path / "lottery.json", summary))
    assert column(found, "remaining") == [50.0, 25.0]
    assert column(found, "accuracy") == pytest.approx([85.0, 65.0])
    assert column(found, "ticket") == [1, 0]
    summary["levels"] = levels[2:]
    with pytest.raises(UsageError, match="no finished networks"):
        read_results([samples.write(tmp_path / "lottery.json", summary)])


@pytest.mark.parametrize("summed_up", [False, True])
def test_beside_networks_that_learnt_nothing_no_ticket_is_marked(summed_up: bool, tmp_path: Path) -> None:
    records = samples.lottery_records()
    records[0]["values"]["top1"] = 0.5  # of two classes
    place = samples.write_lines(tmp_path / "records.jsonl", records)
    if summed_up:
        levels = [
            {**one["settings"]["arm"], "round": number, "left": one["values"]["left"],
             "seeds": {"0": one["values"]["top1"]},
             "claim": {}}
            for number, one in enumerate(records[1:3], start=1)
        ]  # fmt: skip
        void = "1 of 1 unpruned networks are no better than chance"
        summary = {"network": "net", "unpruned": {"seeds": {"0": 0.5}}, "levels": levels, "void": void}
        place = samples.write(tmp_path / "lottery.json", summary)
    tickets = read_results([place]).exhibits[0]
    assert column(tickets, "ticket") == [0, 0]
    assert column(tickets, "tickets") == ["void", "void"]
    assert "no better than chance" in tickets.charts[0].note
    for table in tickets.tables:
        assert "no better than chance" in table.caption
        assert "void" in table.rows[0]


def test_networks_stand_beside_the_published(tmp_path: Path) -> None:
    found = only(samples.write_lines(tmp_path / "records.jsonl", samples.souza_records()))
    assert column(found, "top1", series=0) == [50.0, 50.0]
    assert column(found, "top1", series=1) == [88.32, 91.13]
    assert column(found, "parameters", series=0) == [248_670, 20_040_522]
    assert found.tables[0].rows[0][:4] == ("squeezenet-dsc", "50.00", "45.6 – 54.4", "88.32")
    assert found.tables[0].rows[0][4] == "248,670"
    told = dict(found.origin)
    assert (told["data"], told["machine"]) == ("aa / bb", "cpu abacus, cores 2")


def test_what_the_souza_verb_prints_shows_the_same(tmp_path: Path) -> None:
    lines = samples.write_lines(tmp_path / "records.jsonl", samples.souza_records())
    results = [Result.parse(line) for line in lines.read_bytes().splitlines()]
    printed = samples.write(tmp_path / "a.json", {"study": "souza", "records": make_records(results)})
    assert only(printed).charts == only(lines).charts
    assert only(printed).tables == only(lines).tables


def test_records_of_an_earlier_form_are_named_with_what_to_do(tmp_path: Path) -> None:
    old = {"point": "p", "study": "souza", "version": 1, "network": "vgg19-cifar", "seed": 0}
    good = samples.record("1", "mine:measure", {"step": 1}, {"rate": 1})
    results = read_results([samples.write_lines(tmp_path / "records.jsonl", [old, good])])
    (problem,) = results.problems
    assert "1 line is left out, written by an earlier enxuto" in problem
    assert "run the study again in another folder" in problem


def test_histogram_has_the_density_and_the_best_fits(tmp_path: Path) -> None:
    found = only(samples.write(tmp_path / "a.json", samples.weights()))
    assert [frame.name for frame in found.charts[0].frames] == ["all weights", "conv1"]
    steps = found.charts[0].frames[0].series[0]
    assert len(steps.rows) == 202
    width = steps.rows[1][0] - steps.rows[0][0]  # type: ignore[operator]
    assert sum(row[1] for row in steps.rows[:-1]) * width == pytest.approx(1, abs=0.01)  # type: ignore[misc, operator]
    best = {one.name for one in found.charts[0].frames[0].series[1:]}
    assert "Laplace" in best or "generalised Gaussian" in best


def test_dependence_is_a_map_of_layers_and_axes(tmp_path: Path) -> None:
    found = only(samples.write(tmp_path / "a.json", samples.weights()))
    correlation, information = found.charts[-2:]
    assert correlation.bars == information.bars == "cells"
    assert [measure.key for measure in correlation.y] == ["lag1", "lag2"]  # no layer has neighbours 3 apart
    assert [measure.key for measure in information.y] == ["information", "scale"]
    place = len(found.charts) - 2
    assert column(found, "axis", chart=place) == ["outputs", "columns", "outputs"]
    assert column(found, "layer", chart=place) == ["conv1", "conv1", "conv2"]
    assert column(found, "lag1", chart=place) == [0.5, -0.25, 0.125]
    assert column(found, "information", chart=place) == [0.02, 0.1, 0.04]
    assert column(found, "beyond", chart=place) == ["yes", "yes", "yes"]  # more than four spreads of chance
    assert found.tables[-1].rows[0][:4] == ("conv1", "6×5×3×3", "outputs", "+0.500, +0.100")
    told = dict(found.origin)
    assert told["command, rebuilt"] == "enxuto weights net.onnx --layers --dependence --json"
    assert told["seed"] == "0"


def test_calibrated_points_tell_the_images_they_did_not_judge(tmp_path: Path) -> None:
    values = samples.curve()
    row = {
        **values["models"][0]["points"][0],
        "method": "enxuto calibrated",
        "setting": "enxuto calibrated, about 3 bits",
    }
    row["calibrated"] = {"images": 64, "data": "cafe of photos", "seed": 5, "price": 1e-6}
    values["models"][0]["points"].append(row)
    found = only(samples.write(tmp_path / "a.json", values))
    assert "enxuto calibrated" in [series.name for series in found.charts[0].frames[0].series]
    assert dict(found.origin)["calibrated on"] == "64 other images, cafe of photos, seed 5"
    assert (
        "Calibrated on 64 images (cafe of photos, seed 5), none of them among those judged"
        in found.tables[0].caption
    )


def test_unknown_kinds_become_a_table(tmp_path: Path) -> None:
    lines = [
        samples.record(str(n), "mine:measure", {"step": n}, {"rate": {"bits": n / 2}, "list": [1]})
        for n in (1, 2)
    ]
    lines.append(samples.record("9", "mine:measure", {"step": 9}, None))
    results = read_results([samples.write_lines(tmp_path / "records.jsonl", lines)])
    (table,) = results.exhibits[0].tables
    assert table.columns == ("step", "seed", "rate.bits", "seconds")
    assert [row[:3] for row in table.rows] == [("1", "0", "0.5"), ("2", "0", "1")]
    assert results.problems == (f"{tmp_path / 'records.jsonl'}: point 9 failed: it broke",)


def test_folders_are_read_and_repeated_points_count_once(tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    line = samples.record("1", "mine:measure", {"step": 1}, {"rate": 1})
    samples.write_lines(
        study / "records.jsonl", [samples.record("1", "mine:measure", {"step": 1}, None), line, line]
    )
    samples.write(tmp_path / "a.json", samples.LEDGER)
    results = read_results([tmp_path, tmp_path, study])
    assert [one.kind for one in results.exhibits] == ["ledger", "table"]
    assert len(results.exhibits[1].tables[0].rows) == 1
    assert results.problems == ()


DAMAGED = {
    "cut.json": '{"parameters": 3, "rows": [',
    "list.json": "[1, 2]",
    "nan.json": '{"parameters": NaN}',
    "strange.json": '{"hello": 1}',
    "binary.json": b"\xff\xfe\x00",
    "deep.json": "[" * 100_000,
    "empty.jsonl": "",
    "lines.jsonl": '{"point": 3}\nno json\n',
    "schema.json": '{"schema": "enxuto-report/9", "kind": "tickets"}',
    "kind.json": '{"schema": "enxuto-report/1", "kind": "unheard-of"}',
    "ledger.json": '{"parameters": -1, "rows": []}',
    "bench.json": '{"models": [{"model": "a", "latency": [{"batch": 1, "median": 0}]}]}',
    "curve.json": '{"models": [{"model": "a", "points": 3}]}',
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_named_and_the_rest_is_shown(tmp_path: Path, name: str) -> None:
    content = DAMAGED[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else str(content).encode())
    good = samples.write(tmp_path / "good.json", samples.LEDGER)
    results = read_results([tmp_path / name, good, tmp_path / "missing.json"])
    assert [one.kind for one in results.exhibits] == ["ledger"]
    assert len(results.problems) >= 2
    assert str(tmp_path / name) in results.problems[0]
    assert "missing.json" in results.problems[-1]
    assert all("\n" not in problem for problem in results.problems)


def test_nothing_to_show_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no result to show: .*missing\.json"):
        read_results([tmp_path / "missing.json"])


def places(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all parts of a JSON value."""
    yield path
    parts = (
        values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    )
    for key, part in parts:
        yield from places(part, (*path, key))


FORMS = [
    samples.LEDGER, samples.SEARCH, samples.SPEEDS, samples.TICKETS, samples.REMOVED, samples.OWN, samples.EVALUATION,
    samples.COMPARISON, samples.curve(), {"records": samples.lottery_records()}, {"records": samples.souza_records()},
]  # fmt: skip
STRANGE = st.sampled_from(
    [None, True, -1, 0, 1e308, 2**70, "", "x", [], {}, [[]], [None], {"a": 1}, "</script>"]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_damage_to_a_value_stops_a_report(tmp_path: Path, data: st.DataObject) -> None:
    """Any part of any form replaced by something strange, or taken away: shown or named, never a traceback."""
    values = copy.deepcopy(data.draw(st.sampled_from(FORMS)))
    path = data.draw(st.sampled_from(list(places(values))[1:]))
    inner = values
    for key in path[:-1]:
        inner = inner[key]
    if data.draw(st.booleans()):
        del inner[path[-1]]
    else:
        inner[path[-1]] = data.draw(STRANGE)
    if "records" in values:
        lines = values["records"] if isinstance(values["records"], list) else []
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        file = tmp_path / "a.jsonl"
    else:
        file = samples.write(tmp_path / "a.json", values)
    results = read_results([file, samples.write(tmp_path / "good.json", samples.LEDGER)])
    check_drawable(results)


def check_drawable(results: Results) -> None:
    """Everything in exhibits can be written as strict JSON, and rows have the columns of their chart."""
    for one in results.exhibits:
        for chart in one.charts:
            json.dumps(chart.to_dict(), allow_nan=False)
            assert all(
                len(row) == len(chart.columns)
                for frame in chart.frames
                for series in frame.series
                for row in series.rows
            )
        for table in one.tables:
            assert all(len(row) == len(table.columns) for row in table.rows)


@pytest.mark.parametrize("where", ["itself", "in a folder", "beside records"])
@pytest.mark.parametrize("what", ["pipe", "device"])
def test_what_is_no_file_is_not_read(what: str, where: str, tmp_path: Path) -> None:
    """A pipe would be waited for, and a device such as /dev/zero read until the memory is full."""
    folder = tmp_path / "results"
    folder.mkdir()
    strange = folder / ("provenance.json" if where == "beside records" else "a.json")
    if what == "pipe":
        os.mkfifo(strange)
    else:
        strange.symlink_to("/dev/zero")
    if where == "beside records":
        samples.write_lines(folder / "records.jsonl", samples.souza_records())
    if where == "beside records":  # what it would tell is left out
        assert read_results([folder]).exhibits
        return
    kind = "a pipe" if what == "pipe" else "a device"
    with pytest.raises(
        UsageError, match=re.escape(f"a.json: cannot be read (it is {kind}, not a file); left out")
    ):
        read_results([strange if where == "itself" else folder])
