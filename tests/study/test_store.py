"""The store: whole lines or none, results of several machines merged, earlier forms refused."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enxuto.errors import UsageError
from enxuto.study import Point, Result, Store
from enxuto.study.executor import Outcome


def result(x: int, *, error: str | None = None, values: dict[str, Any] | None = None) -> Result:
    point = Point("study_functions:square", {"x": x, "name": "δ"}, seed=x)
    found = {"square": x * x} if values is None else values
    made = Result.of(point, Outcome(point.id, None if error else found, error, 0.25))
    return replace(made, finished="2024-05-01T00:00:00+00:00")


def filled(folder: Path, results: list[Result]) -> Path:
    folder.mkdir(exist_ok=True)
    with Store(folder).writing() as writer:
        for one in results:
            writer.add(one)
    return folder


def test_what_is_added_is_found_by_another_reader(tmp_path: Path) -> None:
    results = [result(x) for x in range(3)]
    filled(tmp_path, results)
    store = Store(tmp_path)
    assert store.results() == results
    assert store.results("study_functions:square") == results
    assert store.results("other.kind") == []
    assert store.find(results[1].point) == results[1]
    assert store.find("nothing") is None
    with store.writing() as writer:
        writer.add(result(3))
    assert store.find(result(3).point) is not None
    line = json.loads((tmp_path / "records.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert line["settings"] == {"x": 0, "name": "δ"}


@pytest.mark.parametrize("cut", [1, 2, 40, -3])
def test_a_torn_last_line_is_named_left_out_and_mended(tmp_path: Path, cut: int) -> None:
    """A kill in the middle of a write leaves `cut` bytes of the last line."""
    filled(tmp_path, [result(0), result(1)])
    path = tmp_path / "records.jsonl"
    torn = result(2).line()[:cut]
    path.write_bytes(path.read_bytes() + torn)
    store = Store(tmp_path)
    assert store.results() == [result(0), result(1)]
    assert [("cut off" in problem, str(path) in problem) for problem in store.problems] == [(True, True)]
    with store.writing() as writer:
        writer.add(result(3))
    assert store.problems == []
    assert store.results() == [result(0), result(1), result(3)]


def test_a_last_line_without_its_end_is_completed(tmp_path: Path) -> None:
    path = filled(tmp_path, [result(0), result(1)]) / "records.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    store = Store(tmp_path)
    with store.writing():
        pass
    assert store.results() == [result(0), result(1)]


GOOD = json.loads(result(7).line())


@pytest.mark.parametrize(
    "line",
    [
        b"", b"{", b"[1]", b"\xff\xfe", b"\x00" * 50, b"[" * 100_000, b'{"point": "x"}',
        json.dumps({**GOOD, "seed": "7"}).encode(), json.dumps({**GOOD, "seed": 2**70}).encode(),
        json.dumps({**GOOD, "values": None}).encode(), json.dumps({**GOOD, "error": "and"}).encode(),
        json.dumps({**GOOD, "after": [1]}).encode(), json.dumps({**GOOD, "point": "\ud800"}).encode(),
        json.dumps({**GOOD, "values": {"x": float("nan")}}).encode(), json.dumps({**GOOD, "finished": 3}).encode(),
        json.dumps({key: value for key, value in GOOD.items() if key != "data_hash"}).encode(),
    ],
)  # fmt: skip
def test_a_damaged_line_is_named_and_left_out(tmp_path: Path, line: bytes) -> None:
    path = filled(tmp_path, [result(0)]) / "records.jsonl"
    path.write_bytes(path.read_bytes() + line + b"\n" + result(1).line())
    store = Store(tmp_path)
    assert store.results() == [result(0), result(1)]
    assert len(store.problems) == 1
    assert "line 2 is left out" in store.problems[0]


def test_fields_of_later_versions_do_not_matter(tmp_path: Path) -> None:
    assert Result.parse(json.dumps({**GOOD, "colour": "blue"}).encode()) == result(7)


def test_values_win_over_an_error_and_the_first_values_stay(tmp_path: Path) -> None:
    first = result(1, values={"square": 1})
    filled(tmp_path, [result(1, error="no"), first, result(1, values={"square": 2}), result(1, error="late")])
    assert Store(tmp_path).results() == [first]


def test_lines_that_others_add_or_take_away_are_noticed(tmp_path: Path) -> None:
    path = filled(tmp_path, [result(x) for x in range(4)]) / "records.jsonl"
    store = Store(tmp_path)
    for kept in ([0, 1, 2, 3], [0, 1, 2, 3, 4, 5], [3, 1], []):
        path.write_bytes(b"".join(result(x).line() for x in kept))
        assert [one.settings["x"] for one in store.results()] == kept
    path.unlink()
    assert store.results() == []


def test_records_that_name_no_kind_are_refused_with_what_to_do(tmp_path: Path) -> None:
    earlier = {"function": "a.b:c", **{key: value for key, value in GOOD.items() if key != "kind"}}
    path = tmp_path / "records.jsonl"
    path.write_text(2 * (json.dumps(earlier) + "\n"))
    store = Store(tmp_path)
    assert store.results() == []
    (problem,) = store.problems
    assert problem.startswith(f"{path}: 2 lines are left out, written by an earlier enxuto")
    with pytest.raises(UsageError, match="E080") as refused, store.writing():
        pass
    assert "run the study again in another folder" in str(refused.value)
    mine = Store(filled(tmp_path / "mine", []))
    assert mine.merge([tmp_path]).problems == (problem,)


def test_machines_merge_and_the_same_point_is_kept_once(tmp_path: Path) -> None:
    mine = filled(tmp_path / "mine", [result(0), result(1, error="disk full"), result(2)])
    theirs = filled(tmp_path / "theirs", [result(1), result(2, values={"square": 5}), result(3), result(0)])
    (theirs / "points" / result(3).point / "deep").mkdir(parents=True)
    (theirs / "points" / result(3).point / "deep" / "net.pt").write_text("weights")
    alone = tmp_path / "third.jsonl"
    alone.write_bytes(result(4).line() + b"{torn\n" + result(3).line())
    store = Store(mine)
    merged = store.merge([theirs, alone])
    assert merged.added == (result(1).point, result(3).point, result(4).point)
    assert merged.known == (result(2).point, result(0).point, result(3).point)
    assert merged.different == (result(2).point,)
    assert [("third.jsonl: line 2" in problem) for problem in merged.problems] == [True]
    assert [(one.settings["x"], one.done) for one in store.results()] == [
        (0, True), (2, True), (1, True), (3, True), (4, True),
    ]  # fmt: skip
    assert (store.folder_of(result(3).point) / "deep" / "net.pt").read_text() == "weights"
    assert store.merge([theirs, alone]).added == ()
    with pytest.raises(UsageError, match="E010"):
        store.merge([tmp_path / "nowhere"])
    assert sorted(path.name for path in (mine / "points").iterdir()) == [result(3).point]


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path, [result(0)])
    write = os.write
    store = Store(tmp_path)
    with store.writing() as writer:
        with monkeypatch.context() as patch:
            patch.setattr("enxuto.study.store.os.write", lambda handle, line: write(handle, line[:20]))
            with pytest.raises(UsageError, match="disk is full"):
                writer.add(result(1))
        writer.add(result(2))
        assert store.results() == [result(0), result(2)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_can_be_read(tmp_path: Path) -> None:
    folder = filled(tmp_path / "study", [result(0)])
    folder.chmod(0o500)
    try:
        store = Store(folder)
        assert store.results() == [result(0)]
        with pytest.raises(UsageError, match="E013"), store.writing():
            pass
    finally:
        folder.chmod(0o700)


def test_a_result_does_not_hold_both_values_and_an_error() -> None:
    assert result(1).done
    assert not result(1, error="no").done
    assert replace(result(1), seconds=0.5) != result(1)
