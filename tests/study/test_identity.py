"""The hash that computations are known by."""

from __future__ import annotations

from enxuto.study import content_hash


def test_a_hash_follows_the_content_and_not_its_order() -> None:
    values = {"a": 1, "b": {"c": [1, 2], "d": None}}
    assert content_hash(values) == content_hash({"b": {"d": None, "c": [1, 2]}, "a": 1})
    others = ({"a": 2}, {"a": "1"}, {"a": 1, "b": {"c": [2, 1], "d": None}}, {})
    assert len({content_hash(other) for other in (values, *others)}) == 5
    assert len(content_hash({})) == 16
