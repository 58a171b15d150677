"""Which inputs are ids and masks, and how large ids may be, follows from what a graph does with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from enxuto.onnx_model import IdInputs, Model, find_id_inputs, id_limits

node = helper.make_node
FLOAT, INT32, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL

CONSTANTS: dict[str, Any] = {
    "table": np.zeros((40, 4), np.float32), "small": np.zeros((7, 4), np.float32), "rows": np.int64(40),
    "columns": np.array([0, 7, 15]), "none": np.int64(0), "one": np.int64(1), "starts": np.array([0]),
    "ends": np.array([1]), "axes": np.array([1]), "halves": np.array([1, 1]), "last": np.array([2]),
    "tenth": np.float32(0.1), "w": np.zeros((9, 4), np.float32), "most": np.int64(39),
}  # fmt: skip


def graph(nodes: Sequence[NodeProto], inputs: Mapping[str, tuple[int, int]]) -> Model:
    """A model of these nodes that gives `y`; inputs: element type and rank by name."""
    used = {name for one in nodes for name in one.input}
    values = [
        helper.make_tensor_value_info(name, kind, [None] * rank) for name, (kind, rank) in inputs.items()
    ]
    made = helper.make_graph(
        list(nodes),
        "ids",
        values,
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in CONSTANTS.items() if name in used],
    )
    return Model.from_proto(
        helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    )


# What recent Keras writes for `table[ids]`, so that negative ids count from the end.
KERAS = [
    node("Add", ["i", "rows"], ["up"]), node("Cast", ["i"], ["f"], to=FLOAT),
    node("Cast", ["none"], ["zero"], to=FLOAT),
    node("Less", ["f", "zero"], ["less"]), node("Not", ["less"], ["not"]), node("Cast", ["not"], ["n"], to=INT64),
    node("Cast", ["less"], ["l"], to=INT64), node("Mul", ["i", "n"], ["a"]), node("Mul", ["l", "up"], ["b"]),
    node("Add", ["b", "a"], ["c"]), node("Gather", ["table", "c"], ["y"]),
]  # fmt: skip
LIMITS: dict[str, tuple[list[NodeProto], int | None, int]] = {
    "moved": ([node("Unsqueeze", ["i", "axes"], ["u"]), node("Gather", ["table", "u"], ["y"])], 40, 40),
    "one column by Gather": (
        [node("Gather", ["i", "one"], ["u"], axis=1), node("Gather", ["small", "u"], ["y"])], None, 7,
    ),
    "one column by Slice": (
        [node("Slice", ["i", "starts", "ends", "axes"], ["u"]), node("Gather", ["small", "u"], ["y"])], None, 7,
    ),
    "two columns by Split, each to its table": (
        [node("Split", ["i", "halves"], ["u", "v"], axis=1), node("Gather", ["table", "u"], ["a"]),
         node("Gather", ["small", "v"], ["b"]), node("Add", ["a", "b"], ["y"])], None, 7,
    ),
    "negative ids by Where": (
        [node("Add", ["i", "rows"], ["up"]), node("Less", ["i", "none"], ["less"]),
         node("Where", ["less", "up", "i"], ["c"]), node("Gather", ["table", "c"], ["y"])], None, 40,
    ),
    "negative ids by Mul": (KERAS, None, 40),
    "tables behind each other": (
        [node("Add", ["i", "columns"], ["u"]), node("Gather", ["table", "u"], ["y"])], None, 25,
    ),
    "a start before them": (
        [node("Concat", ["axes", "i"], ["u"], axis=0), node("Gather", ["table", "u"], ["y"])], None, 40,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", LIMITS)
def test_ids_are_followed_to_their_tables(kind: str) -> None:
    nodes, exact, most = LIMITS[kind]
    rank = 1 if kind == "a start before them" else 2
    model = graph(nodes, {"i": (INT64, rank)})
    found = find_id_inputs(model)
    assert found.limits == {"i": most}
    assert found.exact == ({} if exact is None else {"i": exact}) == id_limits(model)
    assert not found.masks


@pytest.mark.parametrize("kind", ["bounded", "scaled", "picked from activations"])
def test_ids_that_no_table_bounds_have_no_limit(kind: str) -> None:
    if kind == "picked from activations":
        nodes = [node("MatMul", ["x", "w"], ["h"]), node("Gather", ["h", "i"], ["y"])]
        found = find_id_inputs(graph(nodes, {"x": (FLOAT, 2), "i": (INT64, 2)}))
    else:
        change = (
            node("Clip", ["i", "none", "most"], ["u"])
            if kind == "bounded"
            else node("Mul", ["i", "i"], ["u"])
        )
        found = find_id_inputs(graph([change, node("Gather", ["table", "u"], ["y"])], {"i": (INT64, 2)}))
    assert found == IdInputs({}, {})


BESIDE: dict[str, tuple[list[NodeProto], int, int, bool]] = {
    "a mask of whole numbers": (
        [node("Cast", ["m"], ["f"], to=FLOAT), node("Unsqueeze", ["f", "last"], ["u"]), node("Mul", ["e", "u"], ["y"])],
        INT64, 2, True,
    ),
    "a mask that positions are counted by": (
        [node("CumSum", ["m", "one"], ["s"]), node("Gather", ["table", "s"], ["p"]), node("Add", ["e", "p"], ["y"])],
        INT64, 2, True,
    ),
    "ids of a second table": (
        [node("Gather", ["small", "m"], ["p"]), node("Add", ["e", "p"], ["y"])], INT64, 2, False,
    ),
    "places that are bounded": (
        [node("Clip", ["m", "none", "most"], ["u"]), node("Gather", ["table", "u"], ["p"]),
         node("Add", ["e", "p"], ["y"])],
        INT64, 2, False,
    ),
    "numbers of another rank": (
        [node("Cast", ["m"], ["f"], to=FLOAT), node("Mul", ["e", "f"], ["y"])], INT64, 1, False,
    ),
    "one hot": (
        [node("Cast", ["m"], ["f"], to=INT32), node("OneHot", ["f", "rows", "pair"], ["o"]),
         node("MatMul", ["o", "table"], ["p"]), node("Add", ["e", "p"], ["y"])], INT64, 2, False,
    ),
    "what an operator of another domain reads": (
        [node("Strange", ["m", "e"], ["y"], domain="com.example")], INT64, 2, False,
    ),
    "what nothing reads": ([node("Identity", ["e"], ["y"])], INT64, 2, False),
}  # fmt: skip


@pytest.mark.parametrize("kind", BESIDE)
def test_what_points_nowhere_beside_ids_is_a_mask(kind: str) -> None:
    nodes, dtype, rank, expected = BESIDE[kind]
    model = graph([node("Gather", ["table", "i"], ["e"]), *nodes], {"i": (INT64, 2), "m": (dtype, rank)})
    assert find_id_inputs(model).masks == ({"m"} if expected else set())


def test_without_ids_nothing_is_a_mask() -> None:
    model = graph([node("Cast", ["m"], ["y"], to=FLOAT)], {"m": (INT64, 2), "n": (INT64, 2)})
    assert find_id_inputs(model).masks == set()


REAL: dict[str, tuple[list[NodeProto], bool]] = {
    "cast": ([node("Cast", ["i"], ["u"], to=INT32), node("Gather", ["table", "u"], ["y"])], True),
    "moved, then cast": (
        [node("Transpose", ["i"], ["t"]), node("Cast", ["t"], ["u"], to=INT64), node("Gather", ["table", "u"], ["y"])],
        True,
    ),
    "cast, then as Keras does": (
        [node("Cast", ["g"], ["i"], to=INT64), *KERAS], True,
    ),
    "also read as real numbers": (
        [node("Cast", ["i"], ["u"], to=INT64), node("Gather", ["table", "u"], ["a"]),
         node("Mul", ["i", "tenth"], ["b"]),
         node("MatMul", ["b", "a"], ["y"])],
        False,
    ),
    "rounded after a scale": (
        [node("Div", ["i", "tenth"], ["d"]), node("Cast", ["d"], ["u"], to=INT64),
         node("Gather", ["table", "u"], ["y"])],
        False,
    ),
    "picking from activations": (
        [node("Cast", ["i"], ["u"], to=INT64), node("Abs", ["table"], ["h"]), node("Gather", ["h", "u"], ["y"])], False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REAL)
def test_real_numbers_of_which_only_ids_are_made_are_ids(kind: str) -> None:
    nodes, expected = REAL[kind]
    name = "g" if kind == "cast, then as Keras does" else "i"
    found = find_id_inputs(graph(nodes, {name: (FLOAT, 2)}))
    assert found.real == ({name} if expected else set())
    assert not expected or found.limits == {name: 40}
