"""Studies from elsewhere and damaged ones: names are no paths, no line is fatal."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enxuto.errors import UsageError
from enxuto.study import Point, Result, Serial, Store, Study, content_hash
from enxuto.study.executor import Outcome


def result(x: int) -> Result:
    point = Point("study_functions:square", {"x": x}, seed=x)
    made = Result.of(point, Outcome(point.id, {"square": x * x}, None, 0.25))
    return replace(made, finished="2026-01-01T00:00:00+00:00")


def filled(folder: Path, results: list[Result]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with Store(folder).writing() as writer:
        for one in results:
            writer.add(one)
    return folder


def written(folder: Path, *lines: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


GOOD = json.loads(result(7).line())
NAMES = ["../../../src", "..", ".", "", "/etc", "a/b", "a\\b", "C:x", "~", "-rf", "a.b", "0" * 65, "０" * 16,
         "0" * 15 + "\n", "\0" * 16]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_point_of_a_merged_study_is_no_path(tmp_path: Path, name: str) -> None:
    """A folder outside of the study stays as it is, whatever a line calls its point, and nothing is added."""
    mine = tmp_path / "home" / "studies" / "mine"
    (mine / "points").mkdir(parents=True)
    (tmp_path / "home" / "src").mkdir()
    (tmp_path / "home" / "src" / "precious.py").write_text("years of work")
    theirs = written(tmp_path / "download" / "evil" / "s", {**GOOD, "point": name})
    (theirs / "points").mkdir()
    (tmp_path / "download" / "src").mkdir()
    (tmp_path / "download" / "src" / "precious.py").write_text("attacker's code")
    store = Store(mine)
    merged = store.merge([theirs])
    with pytest.raises(UsageError, match="no id"):
        store.folder_of(name)
    assert merged.added == ()
    assert len(merged.problems) == 1
    assert (tmp_path / "home" / "src" / "precious.py").read_text() == "years of work"
    assert list((mine / "points").iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_what_a_point_comes_after_is_no_path(tmp_path: Path, name: str) -> None:
    folder = written(tmp_path / "s", {**GOOD, "after": [name]})
    assert Store(folder).results() == []


def test_links_in_a_merged_study_are_left_out(tmp_path: Path) -> None:
    """They would bring a file of this machine into the study, or hang at a pipe."""
    secret = tmp_path / "secret"
    secret.write_text("key")
    theirs = filled(tmp_path / "theirs", [result(1), result(2)])
    place = theirs / "points" / result(1).point
    place.mkdir(parents=True)
    (place / "net.pt").write_text("weights")
    (place / "stolen").symlink_to(secret)
    (place / "folder").symlink_to(tmp_path)
    os.mkfifo(place / "pipe")
    (theirs / "points" / result(2).point).symlink_to(tmp_path)
    mine = Store(filled(tmp_path / "mine", []))
    merged = mine.merge([theirs])
    assert merged.added == (result(1).point, result(2).point)
    assert [path.name for path in mine.folder_of(result(1).point).iterdir()] == ["net.pt"]
    assert not mine.folder_of(result(2).point).exists()
    assert len(merged.problems) == 4


@pytest.mark.parametrize(
    "changed", [{"settings": {"x": 8}}, {"kind": "a.b"}, {"seed": 8}, {"code": "c"}, {"data_hash": "d"},
                {"after": ["0" * 16]}],
)  # fmt: skip
def test_a_line_that_does_not_fit_its_id_is_not_taken_for_the_point(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    """Such as one with a known id and settings of its own, from which names of files are made."""
    theirs = written(tmp_path / "theirs", {**GOOD, **changed, "values": {"square": -1}})
    merged = Store(filled(tmp_path / "mine", [])).merge([theirs])
    assert merged.added == ()
    assert "do not give its id" in merged.problems[0]
    point = Point("study_functions:square", {"x": 7}, seed=7)
    assert point.id == GOOD["point"]
    assert Study([point], theirs).run(Serial())[point].values == {"square": 49, "seed": 7}


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "line",
    [
        *(json.dumps({**GOOD, "seconds": value}).encode()
          for value in (2**63, 2**64, 10**400, 1e300, -1, -0.5, True, None, "1", [])),
        *(json.dumps(GOOD).replace('"seconds": 0.25', f'"seconds": {value}').encode()
          for value in ("1e400", "-1e400", "NaN", "Infinity", "1" * 5000)),
        *(json.dumps({**GOOD, "seed": value}).encode() for value in (2**63, 2**64, -(2**63) - 1, True, 0.5)),
        *(json.dumps({**GOOD, "versions": value}).encode() for value in ({"a": 1}, {"a": []}, [])),
        *(json.dumps({**GOOD, "settings": value}).encode() for value in (nested(300), {"a": nested(300)}, None)),
        json.dumps({**GOOD, "values": {"a": nested(200)}}).encode(),
        json.dumps(GOOD).replace('"square": 49', '"square": 1e999').encode(),
        json.dumps(GOOD).replace('"square": 49', '"square": ' + "9" * 5000).encode(),
        json.dumps({**GOOD, "finished": "\ud800"}).encode(),
        json.dumps(GOOD).encode()[:-20], json.dumps(GOOD).encode() * 2, b'{"a":' * 50_000, b"[" * 100_000,
        b"NaN", b"\0" * 1000, b"\xff\xfe", b"null", b"1", b'"text"',
        json.dumps(GOOD).encode("utf-16"), json.dumps({**GOOD, "error": 7}).encode(),
    ],
)  # fmt: skip
def test_no_line_is_fatal(tmp_path: Path, line: bytes) -> None:
    """It is left out with its number; the lines beside it stay, and the study goes on."""
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "records.jsonl").write_bytes(result(0).line() + line + b"\n" + result(1).line())
    store = Store(folder)
    assert store.results() == [result(0), result(1)]
    assert all(problem.count("\n") == 0 for problem in store.problems)
    assert "line 2 is left out" in store.problems[0]
    with store.writing() as writer:
        writer.add(result(2))
    assert store.find(result(2).point) == result(2)
    assert len(Store(filled(tmp_path / "mine", [])).merge([folder]).added) == 3


def test_a_line_twice_counts_once(tmp_path: Path) -> None:
    folder = written(tmp_path / "s", GOOD, GOOD, GOOD)
    assert Store(folder).results() == [result(7)]


def test_a_pipe_in_the_place_of_the_records_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "records.jsonl")
    with pytest.raises(UsageError, match="E080"):
        Store(tmp_path)


def test_the_id_is_what_the_hash_writes() -> None:
    assert Result.parse(json.dumps({**GOOD, "point": content_hash({})}).encode()).point == content_hash({})
