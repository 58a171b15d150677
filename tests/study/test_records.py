"""Records of a study: found by what defines them, written whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from enxuto.errors import FormatError, UsageError
from enxuto.study import Records, content_hash


def test_a_hash_follows_the_content_and_not_its_order() -> None:
    values = {"a": 1, "b": {"c": [1, 2], "d": None}}
    assert content_hash(values) == content_hash({"b": {"d": None, "c": [1, 2]}, "a": 1})
    others = ({"a": 2}, {"a": "1"}, {"a": 1, "b": {"c": [2, 1], "d": None}}, {})
    assert len({content_hash(other) for other in (values, *others)}) == 5
    assert len(content_hash({})) == 16


def test_what_is_added_is_found_in_another_session(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    records = Records(path)
    assert (len(records), records.find("x")) == (0, None)
    records.add({"point": "x", "value": 1})
    records.add({"point": "y", "value": "ß"})
    records.add({"point": "x", "value": 3})
    again = Records(path)
    assert len(again) == 3
    assert again.find("x") == {"point": "x", "value": 3}
    assert [record["value"] for record in again] == [1, "ß", 3]
    assert len(path.read_text(encoding="utf-8").splitlines()) == 3
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("line", ['{"point": "x"', "[]", '{"value": 1}', '{"point": 3}'])
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"point": "ok"}\n' + line + "\n")
    with pytest.raises(FormatError, match="line 2"):
        Records(path)


def test_a_record_that_cannot_be_written_is_not_taken(tmp_path: Path) -> None:
    records = Records(tmp_path / "nowhere" / "records.jsonl")
    with pytest.raises(UsageError, match="cannot write"):
        records.add({"point": "x"})
    assert len(records) == 0
    with pytest.raises(ValueError, match="JSON"):
        Records(tmp_path / "r.jsonl").add({"point": "x", "value": float("nan")})
    assert list(tmp_path.iterdir()) == []
