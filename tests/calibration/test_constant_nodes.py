"""Tensors of Constant nodes, as old exports of PyTorch have them, count as initializers in every piece of a graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from enxuto.calibration.calibrate import calibrate
from enxuto.calibration.layers import calibrated_layers
from enxuto.calibration.partial_runs import PartialRuns
from enxuto.calibration.straight_model import straighten
from enxuto.compression.at_price import compress_at
from enxuto.data.samples import Samples
from enxuto.onnx_model import Model
from enxuto.runtime import Runner

node = helper.make_node
SAMPLES = np.random.default_rng(3).standard_normal((30, 6, 8)).astype(np.float32)


def floats(*shape: int) -> np.ndarray:
    return (0.4 * np.random.default_rng(list(shape)).standard_normal(shape)).astype(np.float32)


def model_of(nodes: Sequence[NodeProto], arrays: dict[str, np.ndarray]) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def in_two_stages() -> ModelProto:
    """Axes, a scale and a weight, each read before and after the first layer's output."""
    nodes = [
        node("Mul", ["x", "scale"], ["s"]),
        node("MatMul", ["s", "w"], ["a"]),
        node("Mul", ["a", "scale"], ["b"]),
        node("MatMul", ["b", "w"], ["c"]),
        node("Unsqueeze", ["c", "axis"], ["u"]),
        node("Tanh", ["u"], ["t"]),
        node("MatMul", ["t", "w2"], ["v"]),
        node("Squeeze", ["v", "axis"], ["q"]),
        node("ReduceMean", ["q"], ["m"], axes=[1], keepdims=0),
        node("Gemm", ["m", "w3", "b3"], ["y"]),
    ]
    one = np.array([1], np.int64)
    more = {"axis": one, "scale": np.float32(1.5).reshape(()), "b3": floats(5)}
    return model_of(nodes, {"w": floats(8, 8), "w2": floats(8, 9), "w3": floats(9, 5), **more})


def as_cells() -> ModelProto:
    """A cell whose matrices come through Slice and Concat, with the bounds of the slices constant too."""
    bounds = {f"at {place}": np.array([place], np.int64) for place in (0, 4, 8, 12, 16)}
    nodes, held = [], {**bounds, "axis": np.array([0], np.int64)}
    for name, width in (("w", 8), ("r", 4)):
        held[f"{name}0"] = floats(16, width)
        for gate in (3, 2, 1, 0):
            ends = [f"at {4 * gate}", f"at {4 * gate + 4}", "axis"]
            nodes.append(node("Slice", [f"{name}0", *ends], [f"{name} {gate}"]))
        nodes.append(node("Concat", [f"{name} {gate}" for gate in (3, 2, 1, 0)], [f"{name} all"], axis=0))
        nodes.append(node("Unsqueeze", [f"{name} all", "axis"], [name]))
    nodes += [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        node("LSTM", ["t", "w", "r"], ["", "h"], hidden_size=4),
        node("Squeeze", ["h", "axis"], ["f"]),
        node("MatMul", ["f", "head"], ["y"]),
    ]
    return model_of(nodes, {**held, "head": floats(4, 5)})


def with_constant_nodes(proto: ModelProto) -> ModelProto:
    """Return the model with every initializer as a Constant node."""
    made = ModelProto()
    made.CopyFrom(proto)
    nodes = [node("Constant", [], [tensor.name], value=tensor) for tensor in proto.graph.initializer]
    del made.graph.initializer[:], made.graph.node[:]
    made.graph.node.extend([*nodes, *proto.graph.node])
    return made


PROTOS = {"stages": in_two_stages, "cells": as_cells}


def both_forms(name: str) -> tuple[Model, Model]:
    proto = PROTOS[name]()
    return Model.from_proto(proto), Model.from_proto(with_constant_nodes(proto))


@pytest.mark.parametrize("stops", [["a"], ["a", "c", "t"], ["scale", "a", "axis", "v"]], ids=len)
def test_stages_and_tails_hold_the_constants_that_they_read(stops: list[str]) -> None:
    _, model = both_forms("stages")
    weights = [stop for stop in stops if stop in model]
    values = [stop for stop in stops if stop not in model]
    expected = dict(
        zip([*values, "y"], Runner(model, extra_outputs=values).outputs(SAMPLES, [*values, "y"]), strict=True)
    )
    expected |= {name: model.load(name) for name in weights}
    runs = PartialRuns(model, stops)
    for stop, found in zip([*stops, "y"], runs.run(SAMPLES, {}, threads=1), strict=True):
        np.testing.assert_allclose(found, expected[stop], rtol=1e-5, atol=1e-6)
    changed = {"w2": model.load("w2") * np.float32(0.5)}
    whole = Runner(model.replace_weights(changed)).scores(SAMPLES)
    for stop, scores in zip(stops, runs.tails(SAMPLES, threads=1), strict=True):
        if stop != "v":  # behind it nothing reads the weight
            np.testing.assert_allclose(scores(changed), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", PROTOS)
def test_a_model_of_constant_nodes_is_calibrated_as_one_of_initializers(name: str) -> None:
    found = []
    for model in both_forms(name):
        straight = straighten(model, Samples({"x": SAMPLES}).groups(), threads=1)
        layers = {layer.weight for layer in calibrated_layers(straight)}
        calibration = calibrate(model, SAMPLES, threads=1)
        assert calibration.reason is None
        outcome = compress_at(calibration, 1e-4)
        methods = {layer.name: layer.method for layer in outcome.layers}
        arrays = {weight: outcome.model.to_model().load(weight) for weight in sorted(model.weight_names)}
        found.append((layers, methods, arrays))
    (layers, methods, arrays), (also, same, others) = found
    assert layers == also == {"stages": {"w2", "w3"}, "cells": {"w0", "r0", "head"}}[name]
    assert methods == same
    for weight, array in arrays.items():
        np.testing.assert_array_equal(others[weight], array)
