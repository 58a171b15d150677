"""The kinds of points: names that stay, so that results are found again wherever the functions have moved to."""

from __future__ import annotations

import ast
from pathlib import Path

import enxuto.studies.kinds
from enxuto.studies.kinds import FUNCTIONS, make_point
from enxuto.study.point import import_function, is_kind

# Recorded results are found by these ids: neither may change.
IDS = {
    "curve.measure": "f4bf8fe4cd098a95",
    "curve.calibrate": "c65bf3658dd03fa8",
    "curve.outputs": "91d85fb8ebfbe0da",
    "lottery.unpruned": "4a27e62142301e53",
    "lottery.start": "edfff0224b45561c",
    "lottery.round": "b72ef32a8cf5c24d",
    "lottery.speed": "ffc5e7517311cd99",
    "souza.network": "314aee40e9dae5ca",
    "tonin.measure": "db8b5b90af1bd5c5",
}


def test_ids_of_all_kinds_stay() -> None:
    first = make_point("lottery.unpruned", {"x": 1}, 7, "data", code="1")
    ids = {
        kind: make_point(kind, {"x": 1, "δ": [0.5, None]}, 7, "data", [first], code="1").id
        for kind in FUNCTIONS
    }
    assert ids == IDS


def test_every_kind_is_there_once_and_has_a_function_of_its_own() -> None:
    names = [
        node.value.value
        for node in ast.parse(Path(enxuto.studies.kinds.__file__).read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    ]
    assert sorted(names) == sorted(FUNCTIONS)
    assert len(set(FUNCTIONS.values())) == len(FUNCTIONS)
    for kind, function in FUNCTIONS.items():
        assert is_kind(kind)
        assert callable(import_function(function))
