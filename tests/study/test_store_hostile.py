"""Studies from elsewhere and damaged ones: names are no paths, an edited index is not believed, no line is fatal."""

from __future__ import annotations

import json
import os
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enxuto.errors import UsageError
from enxuto.study import Here, Point, Result, Store, Study, content_hash
from enxuto.study.executor import Outcome


def result(x: int) -> Result:
    point = Point("study_functions:square", {"x": x}, seed=x)
    made = Result.of(point, Outcome(point.id, {"square": x * x}, None, 0.25))
    return replace(made, finished="2026-01-01T00:00:00+00:00")


def filled(folder: Path, results: list[Result]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with Store(folder) as store, store.writing() as writer:
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
    with Store(mine) as store:
        merged = store.merge([theirs])
        with pytest.raises(UsageError, match="no point"):
            store.place(name)
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
    with Store(filled(tmp_path / "mine", [])) as mine:
        merged = mine.merge([theirs])
        assert merged.added == (result(1).point, result(2).point)
        assert [path.name for path in mine.place(result(1).point).iterdir()] == ["net.pt"]
        assert not mine.place(result(2).point).exists()
        assert len(merged.problems) == 4


def test_a_merged_study_is_only_read(tmp_path: Path) -> None:
    """Its index is not believed and not written, and may be a link to a database that is somebody else's."""
    theirs = written(tmp_path / "theirs", GOOD)
    base = sqlite3.connect(tmp_path / "precious.db")
    base.executescript("create table points(mine); insert into points values (1)")
    base.close()
    (theirs / "index.sqlite").symlink_to(tmp_path / "precious.db")
    before = (tmp_path / "precious.db").read_bytes()
    with Store(filled(tmp_path / "mine", [])) as mine:
        assert mine.merge([theirs]).added == (GOOD["point"],)
    assert (theirs / "index.sqlite").is_symlink()
    with Store(theirs) as store:  # as one's own: a file takes the place of the link
        assert len(store.results()) == 1
    assert (tmp_path / "precious.db").read_bytes() == before


@pytest.mark.parametrize(
    "changed", [{"settings": {"x": 8}}, {"function": "a:b"}, {"seed": 8}, {"code": "c"}, {"data_hash": "d"},
                {"after": ["0" * 16]}],
)  # fmt: skip
def test_a_line_that_does_not_fit_its_id_is_not_taken_for_the_point(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    """Such as one with a known id and settings of its own, from which names of files are made."""
    theirs = written(tmp_path / "theirs", {**GOOD, **changed, "values": {"square": -1}})
    with Store(filled(tmp_path / "mine", [])) as mine:
        merged = mine.merge([theirs])
        assert merged.added == ()
        assert "does not give its id" in merged.problems[0]
    point = Point("study_functions:square", {"x": 7}, seed=7)
    assert point.id == GOOD["point"]
    assert Study([point], theirs).run(Here())[point].values == {"square": 49, "seed": 7}


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
    with Store(folder) as store:
        assert store.results() == [result(0), result(1)]
        assert all(problem.count("\n") == 0 for problem in store.problems)
        assert "line 2 is left out" in store.problems[0]
        with store.writing() as writer:
            writer.add(result(2))
        assert store.find(result(2).point) == result(2)
    with Store(filled(tmp_path / "mine", [])) as mine:
        assert len(mine.merge([folder]).added) == 3


def test_a_line_twice_counts_once(tmp_path: Path) -> None:
    folder = written(tmp_path / "s", GOOD, GOOD, GOOD)
    assert Store(folder).results() == [result(7)]


EDITS = [
    "update points set start = 99999999", "update points set length = 5", "update points set start = -5",
    "update points set start = 9223372036854775807, length = 9223372036854775807",
    "update points set start = 'abc'", "update points set start = null", "update points set start = 0",
    "update points set id = 'x' where rowid = 2", "update points set id = x'ff' where rowid = 2", "delete from points",
    "delete from points where rowid = 2", "update points set function = 'f'",
    "update covered set bytes = 99999999999", "update covered set bytes = 'x'", "delete from covered",
    "insert into covered select * from covered", "update covered set last_crc = 'x'",
    "drop table points", "drop table covered", "drop table damage",
    "create trigger t after insert on points begin delete from points; end",
    "create view v as select 1; drop table damage", "insert into damage values (1, 'nonsense')",
    "drop table points; create view points as select 1",
    "alter table points add column more", "pragma user_version = 77", "create table other(x)",
]  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_index_changes_nothing(tmp_path: Path, edit: str) -> None:
    """The lines count. What was edited is found at the latest when the folder is opened again."""
    expected = [result(x) for x in range(5)]
    folder = filled(tmp_path / "s", expected)
    base = sqlite3.connect(folder / "index.sqlite")
    base.executescript(edit)
    base.commit()
    base.close()
    with Store(folder) as store:
        assert store.results() == expected
        assert store.results("study_functions:square") == expected
        assert store.problems == []
        with store.writing() as writer:
            writer.add(result(9))
        assert store.find(result(9).point) == result(9)


@pytest.mark.parametrize("edit", EDITS[:9])
def test_an_index_edited_while_it_is_open_changes_no_result(tmp_path: Path, edit: str) -> None:
    """A place where another line stands is noticed."""
    expected = [result(x) for x in range(5)]
    with Store(filled(tmp_path / "s", expected)) as store:
        base = sqlite3.connect(tmp_path / "s" / "index.sqlite")
        base.executescript(edit)
        base.commit()
        base.close()
        assert store.results() == expected


@pytest.mark.parametrize("seed", range(20))
def test_bytes_of_the_index_may_be_anything(tmp_path: Path, seed: int) -> None:
    import random

    chance = random.Random(seed)
    expected = [result(x) for x in range(5)]
    index = filled(tmp_path / "s", expected) / "index.sqlite"
    data = bytearray(index.read_bytes())
    for _ in range(chance.randrange(1, 40)):
        data[chance.randrange(100 if chance.random() < 0.4 else len(data))] = chance.randrange(256)
    index.write_bytes(data[: chance.randrange(len(data))] if chance.random() < 0.2 else data)
    with Store(tmp_path / "s") as store:
        assert store.results() == expected


@pytest.mark.parametrize("name", ["index.sqlite", "records.jsonl"])
def test_a_pipe_in_the_place_of_a_file_does_not_hang(tmp_path: Path, name: str) -> None:
    folder = filled(tmp_path / "s", [result(0)])
    (folder / name).unlink()
    os.mkfifo(folder / name)
    if name == "records.jsonl":
        with pytest.raises(UsageError, match="no file"):
            Store(folder)
    else:
        assert Store(folder).results() == [result(0)]


def test_the_id_is_what_the_hash_writes() -> None:
    assert Result.parse(json.dumps({**GOOD, "point": content_hash({})}).encode()).point == content_hash({})
