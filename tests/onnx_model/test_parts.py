"""Parts of features: what is added to them, scales them or is joined to them is quantized where every byte counts."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

import enxuto
from enxuto.onnx_model import Model, parts_of_features

made = helper.make_node
NEXT = made("MatMul", ["a", "m"], ["y"])


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(list(shape)).standard_normal(shape).astype(np.float32)


def model_of(nodes: list[NodeProto], held: dict[str, np.ndarray], opset: int = 17) -> Model:
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8, 64]),
            helper.make_tensor_value_info("c", TensorProto.BOOL, ["n", 8, 1]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    return Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    )


MASK = np.where(np.tri(8, 64) > 0, np.float32(0), np.float32(-1e9))[None]
VECTOR, TABLE = floats(64), floats(1, 8, 64)
KINDS: dict[str, tuple[list[NodeProto], np.ndarray, bool]] = {
    "positions": ([made("Add", ["x", "w"], ["a"]), NEXT], TABLE, True),
    "positions taken off": ([made("Sub", ["x", "w"], ["a"]), NEXT], TABLE, True),
    "rotations": ([made("Mul", ["x", "w"], ["a"]), NEXT], TABLE, True),
    "class token": ([made("Concat", ["w", "x"], ["a"], axis=0), NEXT], TABLE, True),
    "in place of others": ([made("Where", ["c", "x", "w"], ["a"]), NEXT], TABLE, True),
    "cut": (
        [made("Slice", ["w", "s", "e"], ["p"]), made("Add", ["x", "p"], ["a"]), NEXT],
        floats(2, 8, 64),
        True,
    ),
    "repeated": (
        [made("Shape", ["x"], ["d"]), made("Expand", ["w", "d"], ["p"]), made("Add", ["x", "p"], ["a"]), NEXT],
        floats(1, 1, 64),
        True,
    ),
    "bias": ([made("MatMul", ["x", "m"], ["a"]), made("Add", ["w", "a"], ["y"])], VECTOR, True),
    "layer norm": ([made("LayerNormalization", ["x", "w"], ["a"]), NEXT], VECTOR, True),
    "scale": ([made("Mul", ["x", "w"], ["a"]), NEXT], VECTOR, True),
    "mask": ([made("Add", ["x", "w"], ["a"]), NEXT], MASK, False),
    "infinite mask": ([made("Add", ["x", "w"], ["a"]), NEXT], np.where(MASK < 0, -np.inf, TABLE), False),
    "anchors": ([made("Add", ["x", "w"], ["y"])], TABLE, False),
    "strides": ([made("Mul", ["x", "w"], ["y"])], VECTOR, False),
    "threshold": ([made("Greater", ["x", "w"], ["g"]), made("Cast", ["g"], ["a"], to=1), NEXT], TABLE, False),
    "few": ([made("Add", ["x", "w"], ["a"]), NEXT], floats(8, 1), False),
    "a layer's own": ([made("MatMul", ["x", "w"], ["y"])], floats(64, 64), False),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_features_are_found(kind: str) -> None:
    nodes, table, expected = KINDS[kind]
    held = {"w": table, "m": floats(64, 64), "s": np.array([0]), "e": np.array([1])}
    names = parts_of_features(model_of(nodes, {**held, "w": np.asarray(table, np.float32)}))
    assert names == (["w"] if expected else [])


@pytest.mark.parametrize("kind", ["positions", "rotations", "class token", "in place of others"])
@pytest.mark.parametrize("with_data", [False, True])
def test_tables_are_in_the_budget(kind: str, with_data: bool) -> None:
    """A size that they alone would pass is kept; without a size they stay as they are, and where they are kept."""
    nodes, _, _ = KINDS[kind]
    model = model_of(nodes, {"w": floats(1, 8, 64), "m": floats(64, 16)})
    rng = np.random.default_rng(1)
    data = {"x": rng.standard_normal((24, 8, 64)).astype(np.float32), "c": rng.random((24, 8, 1)) > 0.5}
    if "c" not in {name for one in nodes for name in one.input}:
        data["c"] = np.zeros((24, 8, 1), bool)
    more = {"data": data} if with_data else {}
    small = enxuto.compress(model, bits=8, threads=1, **more)
    assert small.bits_per_weight <= 8
    kept = small.model.load("w")
    assert 0 < np.abs(kept - model.load("w")).max() < 0.5
    if not with_data:
        same = enxuto.compress(model, threads=1).model.load("w")
        assert np.array_equal(same, model.load("w"))
        exact = enxuto.compress(model, bits=20, keep_exact=["w"], threads=1).model.load("w")
        assert np.array_equal(exact, model.load("w"))


def test_a_budget_out_of_reach_names_what_would_help() -> None:
    model = model_of([made("Add", ["x", "w"], ["y"])], {"w": floats(1, 8, 64)})
    with pytest.raises(enxuto.BudgetError, match=r"roles= \(bias, norm, other\) or fewer keep_exact="):
        enxuto.compress(model, bits=4, threads=1)
