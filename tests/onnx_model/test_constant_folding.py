"""Weights that the graph computes: the same outputs by ONNX Runtime, and hands off where nothing is won."""

from __future__ import annotations

from dataclasses import dataclass, field

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx_graphs import constant, floats, initializer, model_of

from enxuto.calibration.calibrate import calibrate
from enxuto.compression.at_price import compress_at
from enxuto.compression.compress import compress
from enxuto.compression.data_free import compress as data_free
from enxuto.data.samples import Samples
from enxuto.enx.folding import fold_alike
from enxuto.enx.learned import parameters
from enxuto.enx.table import LevelsRow
from enxuto.enx.verify import verify
from enxuto.errors import FormatError, UsageError
from enxuto.onnx_model import Model, fold_constants
from enxuto.onnx_model.constant_folding import RULES
from enxuto.onnx_model.scopes import reads_of
from enxuto.runtime import Runner

node = helper.make_node
CONV = node("Conv", ["x", "k", "b"], ["y"], pads=[1, 1, 1, 1])
INTS = {
    "0": np.array([0]), "1": np.array([1]), "8": np.array([8]), "2": np.array([2]), "halves": np.array([4, 4]),
    "first": np.arange(8), "kernel": np.array([8, 6, 3, 3]),
}  # fmt: skip


@dataclass
class Kind:
    """Nodes in front of a convolution's kernel `k` (8, 6, 3, 3), and the weights that they read."""

    nodes: list[NodeProto]
    weights: dict[str, np.ndarray]
    made: list[str] = field(default_factory=lambda: ["k"])
    last: list[NodeProto] = field(default_factory=lambda: [CONV])
    close: float = 0.0


FOLDED: dict[str, Kind] = {
    "Slice": Kind(
        [node("Slice", ["w", "0", "8", "0"], ["k"]), node("Slice", ["w", "8", "2e9", "0"], ["l"])],
        {"w": floats(16, 6, 3, 3), "2e9": np.array([2_000_000_000])},
        ["k", "l"],
        [node("Conv", ["x", "k", "b"], ["h"], pads=[1] * 4), node("Conv", ["x", "l"], ["m"], pads=[1] * 4),
         node("Add", ["h", "m"], ["y"])],
    ),
    "Split": Kind(
        [node("Split", ["w", "halves"], ["one", "two"], axis=0), node("Concat", ["two", "one"], ["k"], axis=0)],
        {"w": floats(8, 6, 3, 3)},
    ),
    "Concat": Kind(
        [node("Concat", ["w", "v"], ["k"], axis=1)], {"w": floats(8, 2, 3, 3), "v": floats(8, 4, 3, 3, seed=1)}
    ),
    "Gather": Kind([node("Gather", ["w", "first"], ["k"], axis=0)], {"w": floats(16, 6, 3, 3)}),
    "Reshape": Kind([node("Reshape", ["w", "kernel"], ["k"])], {"w": floats(48, 9)}),
    "Squeeze": Kind([node("Squeeze", ["w", "2"], ["k"])], {"w": floats(8, 6, 1, 3, 3)}),
    "Unsqueeze behind Identity": Kind(
        [node("Identity", ["w"], ["i"]), node("Reshape", ["i", "kernel"], ["k"])], {"w": floats(8, 54)}
    ),
    "Transpose of a kernel": Kind([node("Transpose", ["w"], ["k"], perm=[3, 2, 0, 1])], {"w": floats(3, 3, 6, 8)}),
    "Flatten": Kind(
        [node("Flatten", ["w"], ["k"])],
        {"w": floats(54, 2, 4)},
        last=[node("Reshape", ["x", "rows"], ["r"]), node("MatMul", ["r", "k"], ["y"])],
    ),
    "weight norm": Kind(
        [node("ReduceL2", ["v"], ["n"], axes=[1, 2, 3], keepdims=1), node("Div", ["v", "n"], ["u"]),
         node("Mul", ["u", "g"], ["k"])],
        {"v": floats(8, 6, 3, 3), "g": floats(8, 1, 1, 1, seed=2)},
        close=1e-5,
    ),
    "low rank": Kind(
        [node("MatMul", ["b2", "a"], ["ba"]), node("Mul", ["ba", "strength"], ["s"]), node("Add", ["w", "s"], ["k"])],
        {"w": floats(54, 8), "b2": floats(54, 2), "a": floats(2, 8), "strength": np.float32(0.5).reshape(())},
        last=[node("Reshape", ["x", "rows"], ["r"]), node("MatMul", ["r", "k"], ["y"])],
        close=1e-5,
    ),
}  # fmt: skip

KEPT: dict[str, Kind] = {
    "a transposed matrix, which layers see through": Kind(
        [node("Transpose", ["w"], ["k"])],
        {"w": floats(8, 54)},
        last=[node("Reshape", ["x", "rows"], ["r"]), node("MatMul", ["r", "k"], ["y"])],
    ),
    "a wider type": Kind(
        [node("Reshape", ["w", "kernel"], ["h"]), node("Cast", ["h"], ["k"], to=1)],
        {"w": floats(8, 54).astype(np.float16)},
        made=["h"],
    ),
    "results larger than their weights": Kind([node("Gather", ["w", "first"], ["k"])], {"w": floats(1, 6, 3, 3)}),
    "a weight that another node reads": Kind(
        [node("Reshape", ["w", "kernel"], ["k"])],
        {"w": floats(48, 9)},
        last=[node("Conv", ["x", "k", "b"], ["h"], pads=[1] * 4), node("ReduceSum", ["w"], ["s"], keepdims=0),
              node("Add", ["h", "s"], ["y"])],
    ),
    "a vector of biases": Kind(
        [node("Conv", ["x", "k", "b"], ["h"], pads=[1] * 4), node("Reshape", ["v", "row"], ["r"])],
        {"k": floats(40, 6, 3, 3), "b": floats(40), "v": floats(40), "row": np.array([1, 40, 1, 1])},
        last=[node("Add", ["h", "r"], ["y"])],
    ),
    "activations": Kind(
        [node("Conv", ["x", "w", "b"], ["h"], pads=[1] * 4), node("Slice", ["h", "0", "8", "1"], ["i"])],
        {"w": floats(8, 6, 3, 3)},
        last=[node("Relu", ["i"], ["y"])],
    ),
}  # fmt: skip
KEPT["results larger than their weights"].weights["first"] = np.zeros(8, np.int64)


def network(kind: Kind, *, opset: int = 13, ir_version: int = 8, constants: bool = False) -> ModelProto:
    held = {**INTS, "rows": np.array([-1, 54]), "b": floats(8, seed=9), **kind.weights}
    read = {name for one in (*kind.nodes, *kind.last) for name in one.input}
    held = {name: array for name, array in held.items() if name in read}
    nodes = [*kind.nodes, *kind.last]
    if constants:
        nodes = [*(constant(name, array) for name, array in held.items()), *nodes]
    rank = 2 if any(one.op_type == "MatMul" and one.output[0] == "y" for one in kind.last) else 4
    return model_of(
        nodes,
        [] if constants else [initializer(name, array) for name, array in held.items()],
        inputs={"x": ["n", 6, 9, 9]},
        outputs={"y": [None] * rank},
        opset=opset,
        ir_version=ir_version,
    )


def outputs_of(model: Model) -> np.ndarray:
    return Runner(model, threads=1).run({"x": floats(2, 6, 9, 9, seed=99)}, ["y"])[0]


@pytest.mark.parametrize("constants", [False, True])
@pytest.mark.parametrize("name", FOLDED)
def test_folds(name: str, constants: bool) -> None:
    kind = FOLDED[name]
    model = Model.from_proto(network(kind, constants=constants))
    folded, made = fold_constants(model)
    assert list(made) == kind.made
    assert all(set(sources) <= set(kind.weights) for sources in made.values())
    assert {one.op_type for one in folded.proto.graph.node} <= {one.op_type for one in kind.last} | {
        "Constant"
    }
    assert not set(kind.weights) & set(folded.weight_names)
    assert sum(info.elements for info in folded.infos()) <= sum(info.elements for info in model.infos())
    want, got = outputs_of(model), outputs_of(folded)
    np.testing.assert_allclose(got, want, rtol=kind.close, atol=kind.close * float(np.abs(want).max()))
    onnx.checker.check_model(folded.to_proto())
    assert fold_constants(folded) == (folded, {})


@pytest.mark.parametrize("name", KEPT)
def test_keeps(name: str) -> None:
    kind = KEPT[name]
    model = Model.from_proto(network(kind))
    folded, made = fold_constants(model)
    if kind.made == ["h"]:  # the narrow weight may move, in its own type
        assert list(made) == ["h"]
        assert folded.info("h").dtype == np.float16
        np.testing.assert_array_equal(outputs_of(folded), outputs_of(model))
    else:
        assert (folded, made) == (model, {})


def test_old_ir_lists_weights_as_inputs() -> None:
    proto = network(FOLDED["Concat"], ir_version=3, opset=8)
    for tensor in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    folded, made = fold_constants(Model.from_proto(proto))
    assert list(made) == ["k"]
    assert [item.name for item in folded.proto.graph.input] == ["x", "b", "k"]
    onnx.checker.check_model(folded.to_proto())


def test_what_a_caller_may_give_stays() -> None:
    proto = network(FOLDED["Concat"])
    proto.graph.input.append(helper.make_tensor_value_info("v", 1, [8, 4, 3, 3]))
    assert fold_constants(Model.from_proto(proto))[1] == {}


def test_what_is_given_out_stays() -> None:
    proto = network(FOLDED["Concat"])
    proto.graph.output.append(helper.make_tensor_value_info("k", 1, [8, 6, 3, 3]))
    assert fold_constants(Model.from_proto(proto))[1] == {}


def test_doubling_over_and_over_is_not_computed() -> None:
    nodes = [node("Concat", [f"{i}", f"{i}"], [f"{i + 1}"], axis=0) for i in range(40)]
    nodes.append(node("MatMul", ["x", "40"], ["y"]))
    proto = model_of(nodes, [initializer("0", floats(4, 8))])
    assert fold_constants(Model.from_proto(proto))[1] == {}


@pytest.mark.parametrize("keep", [(), ("w",)])
@pytest.mark.parametrize("name", ["Slice", "Concat", "weight norm"])
def test_calibrated_files(name: str, keep: tuple[str, ...]) -> None:
    """Folded weights are layers' own, agree with the given model, and are exact where what they are of shall be."""
    kind = FOLDED[name]
    model = Model.from_proto(network(kind))
    if name == "weight norm":
        keep = tuple("v" for _ in keep)
    calibration = calibrate(model, Samples({"x": floats(24, 6, 9, 9, seed=4)}), threads=1)
    assert [layer.weight for layer in calibration.layers] == kind.made
    compressed = compress_at(calibration, 1e-5, keep_exact=keep).model
    decoded = compressed.to_model()
    assert compressed.metadata["constants_folded"] == RULES
    assert verify(compressed, model).ok
    folded = fold_constants(model)[0]
    exact = [np.array_equal(decoded.load(one), folded.load(one)) for one in kind.made]
    assert exact == [bool(keep)] * len(exact)
    want, got = outputs_of(model), outputs_of(decoded)
    assert np.mean((want - got) ** 2) < 0.05 * want.var()


@pytest.mark.parametrize("steps", ["checked", "measured"])
@pytest.mark.parametrize("name", FOLDED)
def test_files_without_data(name: str, steps: str) -> None:
    """Weights are folded here too, and counted as they were given; a name that shall stay keeps everything in place."""
    model = Model.from_proto(network(FOLDED[name]))
    compressed = data_free(model, steps=steps, threads=1)  # type: ignore[arg-type]
    assert compressed.metadata["constants_folded"] == RULES
    assert compressed.metadata["parameters"] == parameters(model)
    assert verify(compressed, model).ok
    coded = {entry.name for entry, payload in compressed.entries() if isinstance(payload.row, LevelsRow)}
    assert coded >= set(FOLDED[name].made)
    want, got = outputs_of(model), outputs_of(compressed.to_model())
    assert np.mean((want - got) ** 2) < 0.01 * want.var()
    kept = data_free(model, keep_exact=[next(iter(FOLDED[name].weights))], threads=1)
    assert "constants_folded" not in kept.metadata
    assert "constants_folded" not in data_free(model, fold_bn=False, threads=1).metadata


def test_bytes_of_narrow_weights_are_those_of_the_given_model() -> None:
    kind = FOLDED["low rank"]
    weights = {**kind.weights, "v": floats(8, 16).astype(np.float16)}
    nodes = [*kind.nodes, *kind.last[:1], node("MatMul", ["r", "k"], ["z"]), node("Cast", ["v"], ["v32"], to=1),
             node("MatMul", ["z", "v32"], ["y"])]  # fmt: skip
    model = Model.from_proto(network(Kind(nodes[:-1], weights, last=nodes[-1:])))
    stored = sum(array.nbytes for name, array in weights.items() if name != "strength")
    calibration = calibrate(model, Samples({"x": floats(24, 6, 9, 9, seed=4)}), threads=1)
    assert calibration.computed
    for compressed in (data_free(model, threads=1), compress(model, threads=1).compressed):
        assert compressed.metadata["weight_bytes"] == stored


def test_numbers_keep_their_rank() -> None:
    """A scalar that others read too would give an activation another axis, were it made a list of one."""
    kind = Kind(
        [node("Squeeze", ["one"], ["i"]), node("Gather", ["w", "i"], ["k"], axis=0), node("Gather", ["x", "i"], ["h"])],
        {"w": floats(2, 8, 6, 3, 3), "one": np.array([1])},
        last=[node("Conv", ["h4", "k", "b"], ["c"], pads=[1] * 4), node("Add", ["c", "zero"], ["y"])],
    )  # fmt: skip
    nodes = [*kind.nodes, node("Unsqueeze", ["h", "0"], ["h4"]), *kind.last]
    held = {**INTS, **kind.weights, "b": floats(8, seed=9), "zero": np.float32(0).reshape(())}
    read = {name for one in nodes for name in one.input}
    proto = model_of(
        nodes,
        [initializer(name, array) for name, array in held.items() if name in read],
        inputs={"x": ["n", 6, 9, 9]},
        outputs={"y": [None] * 4},
        opset=13,
    )
    model = Model.from_proto(proto)
    folded, made = fold_constants(model)
    assert set(made) == {"k", "i"}
    np.testing.assert_array_equal(outputs_of(folded), outputs_of(model))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_types_are_computed_in_double_precision(dtype: str) -> None:
    narrow = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(np.float16)
    v, g = floats(54, 512).astype(narrow), np.ones((1, 512), narrow)
    nodes = [node("ReduceL2", ["v"], ["n"], axes=[0], keepdims=1), node("Div", ["v", "n"], ["u"]),
             node("Mul", ["u", "g"], ["k"]), node("MatMul", ["x", "k"], ["y"])]  # fmt: skip
    kind = TensorProto.BFLOAT16 if dtype == "bfloat16" else TensorProto.FLOAT16
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, ["n", 54])],
        [helper.make_tensor_value_info("y", kind, ["n", 512])],
        [numpy_helper.from_array(v, "v"), numpy_helper.from_array(g, "g")],
    )
    model = Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    )
    folded, made = fold_constants(model)
    assert list(made) == ["k"]
    exact = v.astype(np.float64) / np.linalg.norm(v.astype(np.float64), axis=0)
    np.testing.assert_array_equal(folded.load("k"), exact.astype(narrow))


def test_positions_stay_with_the_table_that_they_are_of() -> None:
    """Rows of a table that are added: as a table they have a role, taken out of it they would stay exact."""
    nodes = [
        node("Gather", ["table", "ids"], ["p"]),
        node("Add", ["x", "p"], ["h"]),
        node("MatMul", ["h", "m"], ["y"]),
    ]
    held = {"table": floats(64, 32), "ids": np.arange(48).reshape(1, 48), "m": floats(32, 8)}
    proto = model_of(
        nodes,
        [initializer(name, array) for name, array in held.items()],
        inputs={"x": ["n", 48, 32]},
        outputs={"y": [None] * 3},
    )
    assert fold_constants(Model.from_proto(proto))[1] == {}


def test_an_outer_product_is_not_computed() -> None:
    nodes = [node("MatMul", ["a", "b2"], ["k"]), node("MatMul", ["x", "k"], ["y"])]
    held = {"a": floats(4, 1), "b2": floats(1, 100_000)}
    proto = model_of(nodes, [initializer(name, array) for name, array in held.items()])
    assert fold_constants(Model.from_proto(proto))[1] == {}


def test_many_constant_nodes_look_through_the_graph_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would look through all of it, were readers not known beforehand."""
    calls = 0

    def counting(one: NodeProto) -> list[str]:
        nonlocal calls
        calls += 1
        return reads_of(one)

    monkeypatch.setattr("enxuto.onnx_model.constant_folding.reads_of", counting)
    nodes, held, last = [], [], "x"
    for number in range(1500):
        nodes.append(node("Unsqueeze", [f"s{number}", "0"], [f"u{number}"]))
        nodes.append(node("Add", [last, f"u{number}"], [f"h{number}"]))
        held.append(initializer(f"s{number}", np.float32(number).reshape(())))
        last = f"h{number}"
    nodes.append(node("MatMul", [last, "w"], ["y"]))
    proto = model_of(
        nodes, [*held, initializer("0", np.array([0])), initializer("w", floats(4, 4))], opset=13
    )
    assert fold_constants(Model.from_proto(proto))[1] == {}
    assert calls == len(nodes)


@pytest.mark.parametrize("pattern", ["w", "w*", "halves"])
def test_patterns_of_the_given_model_hold_after_calibration(pattern: str) -> None:
    model = Model.from_proto(network(FOLDED["Split"]))
    calibration = calibrate(model, Samples({"x": floats(24, 6, 9, 9, seed=4)}), threads=1)
    compressed = compress_at(calibration, 1e-5, keep_exact=[pattern]).model
    assert compressed.metadata["parameters"] == parameters(model)
    exact = np.array_equal(compressed.to_model().load("k"), fold_constants(model)[0].load("k"))
    assert exact == (pattern != "halves")
    with pytest.raises(UsageError, match="no weight is named 'v'"):
        compress_at(calibration, 1e-5, keep_exact=["v"])


def test_rules_of_a_later_version_are_refused() -> None:
    model = Model.from_proto(network(FOLDED["Concat"]))
    with pytest.raises(FormatError, match="later enxuto"):
        fold_alike(model, {"constants_folded": RULES + 1})
