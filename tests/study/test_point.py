"""Points are known by what determines them, and by nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enxuto.errors import UsageError
from enxuto.study import Point, Task, content_hash

TEXT = st.text('ab é€"\n', max_size=4)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def test_the_id_is_the_hash_of_all_that_determines_the_point() -> None:
    point = Point("a.b:c", {"x": 1}, seed=2, data_hash="d", code="1")
    assert point.id == content_hash(
        {"kind": "a.b:c", "settings": {"x": 1}, "seed": 2, "data_hash": "d", "code": "1", "after": []}
    )
    others = [
        Point("a.b:d", {"x": 1}, seed=2, data_hash="d", code="1"),
        Point("a.b:c", {"x": 2}, seed=2, data_hash="d", code="1"),
        Point("a.b:c", {"x": 1}, seed=3, data_hash="d", code="1"),
        Point("a.b:c", {"x": 1}, seed=2, data_hash="e", code="1"),
        Point("a.b:c", {"x": 1}, seed=2, data_hash="d", code="2"),
        Point("a.b:c", {"x": 1}, seed=2, data_hash="d", code="1", after=[point]),
        Point("a.b:c", {"x": 1}, seed=2, data_hash="d", code="1", after=[Point("a.b:c")]),
    ]
    assert len({point, *others}) == len(others) + 1


def test_paths_and_the_order_of_settings_do_not_matter() -> None:
    one = Point("a.b:c", {"x": 1, "y": (2, 3)}, paths={"model": "/here"})
    two = Point("a.b:c", {"y": [2, 3], "x": 1}, paths={"model": "/there"})
    assert one == two
    assert one.settings == two.settings
    assert len({one, two}) == 1


def test_settings_cannot_be_changed_behind_the_id() -> None:
    mine = {"list": [1]}
    point = Point("a.b:c", mine)
    mine["list"].append(2)
    assert point.settings == {"list": [1]}


@given(st.dictionaries(TEXT, JSON, max_size=4))
def test_points_with_equal_json_are_equal(settings: dict[str, Any]) -> None:
    again = json.loads(json.dumps(settings))
    assert Point("a.b:c", settings).id == Point("a.b:c", again).id


@pytest.mark.parametrize("settings", [{"x": float("nan")}, {"x": {1}}, {"x": object()}, {"x": "\ud800"}])
def test_settings_that_json_cannot_hold_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="settings"):
        Point("a.b:c", settings)


def test_a_kind_stands_for_the_function_in_the_id() -> None:
    """A function that moves to another module takes its results along."""
    here, there = (Point(function, {"x": 1}, kind="mine.rates") for function in ("a.b:c", "d.e:f"))
    assert here == there
    assert here != Point("a.b:c", {"x": 1}, kind="mine.other")
    assert Point("a.b:c", {"x": 1}).kind == "a.b:c"
    assert Point("a.b:c", {"x": 1}) == Point("a.b:c", {"x": 1}, kind="a.b:c")


@pytest.mark.parametrize("kind", ["mine", "a.b:d", "Mine.rates", "mine.", ".rates", "mine rates", "../x"])
def test_a_kind_that_is_no_name_is_refused(kind: str) -> None:
    with pytest.raises(UsageError, match="kind"):
        Point("a.b:c", kind=kind)


@pytest.mark.parametrize("function", ["a.b", ":c", "a.b:", "a.b:c d", "a.b:c:d"])
def test_a_function_that_is_no_name_is_refused(function: str) -> None:
    with pytest.raises(UsageError, match=r"package\.module:function"):
        Point(function)


def test_a_seed_that_no_table_can_hold_is_refused() -> None:
    with pytest.raises(UsageError, match="64 bits"):
        Point("a.b:c", seed=2**63)


def test_a_tasks_folder_is_made_when_asked_for(tmp_path: Path) -> None:
    task = Task("p", "a:b", {}, 0, None, {}, (), tmp_path / "points" / "p")
    assert not (tmp_path / "points").exists()
    assert task.folder.is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="E013"):
        _ = Task("p", "a:b", {}, 0, None, {}, (), tmp_path / "file" / "p").folder
