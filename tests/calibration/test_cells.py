"""Weights of recurrent cells, as the operator takes them and as PyTorch's exporter hands them over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from enxuto.calibration.calibrate import calibrate
from enxuto.calibration.layers import calibrated_layers
from enxuto.calibration.straight_model import straighten
from enxuto.compression.at_price import compress_at
from enxuto.data.samples import Samples
from enxuto.onnx_model import Model
from enxuto.runtime import Runner

node = helper.make_node
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, WIDE, HIDDEN = 5, 6, 4
SAMPLES = np.random.default_rng(1).standard_normal((30, STEPS, WIDE)).astype(np.float32)


def floats(*shape: int) -> np.ndarray:
    return (0.5 * np.random.default_rng(list(shape)).standard_normal(shape)).astype(np.float32)


def stored(kind: str, ways: int, as_exported: bool) -> tuple[list[NodeProto], dict[str, Any]]:
    """Return the nodes that make w and r of weights, and these: one each, or one a direction with its gates in turn."""
    rows = GATES[kind] * HIDDEN
    if not as_exported:
        return [], {"w": floats(ways, rows, WIDE), "r": floats(ways, rows, HIDDEN)}
    nodes, held = [], {"axis": np.array([0], np.int64)}
    order = list(range(GATES[kind]))[::-1]
    for name, width in (("w", WIDE), ("r", HIDDEN)):
        for way in range(ways):
            held[f"{name}{way}"] = floats(rows, width) + way
            for gate in order:
                held |= {f"at {n}": np.array([n * HIDDEN], np.int64) for n in (gate, gate + 1)}
                bounds = [f"at {gate}", f"at {gate + 1}", "axis"]
                nodes.append(node("Slice", [f"{name}{way}", *bounds], [f"{name}{way} {gate}"]))
            parts = [f"{name}{way} {gate}" for gate in order]
            nodes.append(node("Concat", parts, [f"{name}{way} turned"], axis=0))
            nodes.append(node("Unsqueeze", [f"{name}{way} turned", "axis"], [f"{name}{way} one"]))
        nodes.append(node("Concat", [f"{name}{way} one" for way in range(ways)], [name], axis=0))
    return nodes, held


def model_of(kind: str, ways: int, as_exported: bool, **attributes: Any) -> Model:
    before, held = stored(kind, ways, as_exported)
    nodes = [
        *before,
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        node(
            kind, ["t", "w", "r"], ["a"], hidden_size=HIDDEN,
            direction="bidirectional" if ways > 1 else "forward", **attributes,
        ),
        node("Transpose", ["a"], ["s"], perm=[2, 0, 1, 3]),
        node("Flatten", ["s"], ["f"]),
        node("MatMul", ["f", "head"], ["z"]),
        node("Tanh", ["z"], ["y"]),
    ]  # fmt: skip
    held["head"] = floats(STEPS * ways * HIDDEN, 5)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", STEPS, WIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in held.items()],
    )
    return Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    )


@pytest.mark.parametrize("as_exported", [False, True], ids=["whole", "sliced"])
@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize("kind", GATES)
def test_layers_of_cells_are_their_products(kind: str, ways: int, as_exported: bool) -> None:
    """What a layer's vectors and matrix give is what its weight adds to the gates, in the operator's order."""
    model = model_of(kind, ways, as_exported)
    straight = straighten(model, Samples({"x": SAMPLES}).groups(), threads=1)
    layers = [layer for layer in calibrated_layers(straight) if layer.start]
    assert len(layers) == 2 * (ways if as_exported else 1)
    names = ["w", "r", "t", "a", *{layer.input for layer in layers}]
    values = dict(
        zip(names, Runner(straight, threads=1, extra_outputs=[n for n in names if n not in straight]).run(
            {"x": SAMPLES}, [n for n in names if n not in straight]
        ), strict=False)
    ) if as_exported else {}  # fmt: skip
    for layer in layers:
        array = model.load(layer.weight)
        rebuilt = layer.restore(layer.matrix(array), array.shape)
        np.testing.assert_array_equal(rebuilt, array)
        if as_exported:
            inputs = values[layer.input]
            whole = values["w" if layer.weight.startswith("w") else "r"][layer.direction or 0]
            vectors = layer.vectors(inputs, 10**6, np.random.default_rng(0))[0]
            product = vectors @ layer.matrix(array)[0].T
            gates = (vectors @ whole.T)[None, :, :].reshape(STEPS, 1, len(SAMPLES), -1)
            gates = np.repeat(gates, ways, axis=1)
            ordered = layer.output_columns(gates, 10**6, np.random.default_rng(0))[0]
            np.testing.assert_allclose(ordered, product, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", GATES)
def test_hidden_states_are_those_before_each_step(kind: str) -> None:
    straight = straighten(model_of(kind, 2, False), Samples({"x": SAMPLES}).groups(), threads=1)
    after, before = Runner(straight, threads=1, extra_outputs=["a", "hidden states of a"]).run(
        {"x": SAMPLES}, ["a", "hidden states of a"]
    )
    np.testing.assert_array_equal(before[1:, 0], after[:-1, 0])
    np.testing.assert_array_equal(before[:-1, 1], after[1:, 1])
    assert not before[0, 0].any()
    assert not before[-1, 1].any()


@pytest.mark.parametrize("as_exported", [False, True], ids=["whole", "sliced"])
def test_cells_are_calibrated_within_the_price(as_exported: bool) -> None:
    model = model_of("LSTM", 2, as_exported)
    calibration = calibrate(model, SAMPLES, threads=1)
    assert calibration.reason is None
    assert not calibration.others
    want, lost, sizes = Runner(model, threads=1).run({"x": SAMPLES}, ["y"])[0], [], []
    for price in (1e-8, 1e-5):
        outcome = compress_at(calibration, price)
        found = Runner(outcome.model.to_model(), threads=1).run({"x": SAMPLES}, ["y"])[0]
        lost.append(float(np.mean((found - want) ** 2) / want.var()))
        sizes.append(sum(layer.bytes for layer in outcome.layers))
        assert all(layer.method in ("calibrated", "nearest", "kept") for layer in outcome.layers)
    assert lost[0] < 1e-4 < lost[1] < 0.1
    assert sizes[1] < 0.8 * sizes[0]


def test_long_sequences_have_second_moments_without_gradients() -> None:
    long = np.random.default_rng(2).standard_normal((9, 120, WIDE)).astype(np.float32)
    held = {"w": floats(1, HIDDEN, WIDE), "r": floats(1, HIDDEN, HIDDEN), "head": floats(HIDDEN, 3)}
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        node("RNN", ["t", "w", "r"], ["", "last"], hidden_size=HIDDEN),
        node("Squeeze", ["last", "axis"], ["q"]),
        node("MatMul", ["q", "head"], ["y"]),
    ]
    held_all = {**held, "axis": np.array([0], np.int64)}
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", 1, ["n", 120, WIDE])],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(array, name) for name, array in held_all.items()],
    )  # fmt: skip
    model = Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    )
    calibration = calibrate(model, long, threads=1)
    assert calibration.reason is not None
    assert "120 steps" in calibration.reason
    assert {layer.weight for layer in calibration.layers} == {"w", "r", "head"}
    assert all(one.sensitivity > 0 for one in calibration.curvatures.values())
