"""Gradients by a graph that runs backwards, beside differences of the forward graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from enxuto.calibration.gradients.backward import Backward
from enxuto.calibration.gradients.graph import UnsupportedError
from enxuto.onnx_model import Model
from enxuto.runtime import Runner

node = helper.make_node
GENERATOR = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def integers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


CASES: dict[str, tuple[list[NodeProto], dict[str, np.ndarray]]] = {
    "relu": ([node("Relu", ["h"], ["y"])], {}),
    "leaky relu": ([node("LeakyRelu", ["h"], ["y"], alpha=0.2)], {}),
    "clip": (
        [node("Clip", ["h", "low", "high"], ["y"])],
        {"low": np.float32(-0.5), "high": np.float32(0.7)},
    ),
    "clip above": ([node("Clip", ["h", "", "high"], ["y"])], {"high": np.float32(0.2)}),
    "sigmoid": ([node("Sigmoid", ["h"], ["y"])], {}),
    "tanh": ([node("Tanh", ["h"], ["y"])], {}),
    "hard sigmoid": ([node("HardSigmoid", ["h"], ["y"], alpha=0.3, beta=0.5)], {}),
    "hard swish": ([node("HardSwish", ["h"], ["y"])], {}),
    "conv": ([node("Conv", ["h", "w"], ["y"], pads=[1, 1, 1, 1])], {"w": weights(5, 4, 3, 3)}),
    "conv strided": (
        [node("Conv", ["h", "w"], ["y"], strides=[2, 2], pads=[1, 0, 0, 1])],
        {"w": weights(5, 4, 3, 3)},
    ),
    "conv strided, rest unread": (
        [node("Conv", ["h", "w"], ["y"], strides=[3, 2])],
        {"w": weights(5, 4, 2, 3)},
    ),
    "conv dilated": (
        [node("Conv", ["h", "w"], ["y"], dilations=[2, 1], pads=[2, 1, 2, 1])],
        {"w": weights(3, 4, 3, 3)},
    ),
    "conv padded beyond its reach": (
        [node("Conv", ["h", "w"], ["y"], pads=[1, 2, 1, 2])],
        {"w": weights(3, 4, 1, 1)},
    ),
    "conv grouped": ([node("Conv", ["h", "w"], ["y"], group=2)], {"w": weights(6, 2, 3, 3)}),
    "conv depthwise strided": (
        [node("Conv", ["h", "w"], ["y"], group=4, strides=[2, 2], pads=[1, 1, 1, 1])],
        {"w": weights(4, 1, 3, 3)},
    ),
    "conv same": (
        [node("Conv", ["h", "w"], ["y"], auto_pad="SAME_UPPER", strides=[2, 2])],
        {"w": weights(5, 4, 4, 3)},
    ),
    "max pool overlapping": (
        [node("MaxPool", ["h"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])],
        {},
    ),
    "global average": ([node("GlobalAveragePool", ["h"], ["y"])], {}),
    "whole average": ([node("AveragePool", ["h"], ["y"], kernel_shape=[6, 7])], {}),
    "mean": ([node("ReduceMean", ["h"], ["y"], axes=[2, 3], keepdims=0)], {}),
    "batch norm": (
        [node("BatchNormalization", ["h", "s", "b", "m", "v"], ["y"])],
        {
            "s": weights(4),
            "b": weights(4),
            "m": weights(4),
            "v": np.array([0.5, 1, 2, 3], np.float32),
        },
    ),
    "residual": ([node("Relu", ["h"], ["r"]), node("Add", ["r", "h"], ["y"])], {}),
    "difference": ([node("Tanh", ["h"], ["r"]), node("Sub", ["r", "h"], ["y"])], {}),
    "squeeze and excite": (
        [
            node("GlobalAveragePool", ["h"], ["p"]),
            node("Sigmoid", ["p"], ["g"]),
            node("Mul", ["h", "g"], ["y"]),
        ],
        {},
    ),
    "scaled": (
        [node("Mul", ["h", "k"], ["m"]), node("Div", ["m", "d"], ["y"])],
        {"k": weights(4, 1, 1), "d": np.float32(3.0)},
    ),
    "concatenated": ([node("Relu", ["h"], ["r"]), node("Concat", ["r", "h"], ["y"], axis=1)], {}),
    "sliced": (
        [node("Slice", ["h", "starts", "ends", "axes", "steps"], ["y"])],
        {"starts": integers(0, 1), "ends": integers(99, 99), "axes": integers(2, 3), "steps": integers(2, 2)},
    ),
    "padded channels": ([node("Pad", ["h", "pads"], ["y"])], {"pads": integers(0, 2, 0, 0, 0, 1, 0, 1)}),
    "transposed": ([node("Transpose", ["h"], ["y"], perm=[0, 2, 3, 1])], {}),
    "flattened": ([node("Flatten", ["h"], ["y"])], {}),
    "reshaped": ([node("Reshape", ["h", "shape"], ["y"])], {"shape": integers(0, 2, -1)}),
    "squeezed": (
        [
            node("GlobalAveragePool", ["h"], ["p"]),
            node("Squeeze", ["p", "axes"], ["q"]),
            node("Unsqueeze", ["q", "two"], ["y"]),
        ],
        {"axes": integers(2, 3), "two": integers(2)},
    ),
    "reshaped by its own shape": (
        [
            node("Shape", ["h"], ["s"]),
            node("Gather", ["s", "first"], ["n"]),
            node("Concat", ["n", "rest"], ["t"], axis=0),
            node("Reshape", ["h", "t"], ["y"]),
        ],
        {"first": integers(0), "rest": integers(-1)},
    ),
}


def network(case: str) -> Model:
    """x → 1×1 convolution h → the operators of the case, y → flatten → matrix → scores."""
    nodes, held = CASES[case]
    arrays = {"start": weights(4, 4, 1, 1), **held}
    head = [
        node("Conv", ["x", "start"], ["h"]),
        *nodes,
        node("Flatten", ["y"], ["f"]),
        node("MatMul", ["f", "last"], ["scores"]),
    ]
    probe = build(head[:-1], "f", arrays)
    size = Runner(probe).run({"x": np.zeros((1, 4, 6, 7), np.float32)})[0].shape[1]
    return build(head, "scores", {**arrays, "last": weights(size, 3)})


def build(nodes: list[NodeProto], output: str, arrays: dict[str, Any]) -> Model:
    read = {name for one in nodes for name in one.input}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 6, 7])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items() if name in read],
    )
    opset = helper.make_opsetid("", 17)
    return Model.from_proto(helper.make_model(graph, opset_imports=[opset], ir_version=8))


@pytest.mark.parametrize("case", CASES)
def test_gradient_is_the_slope(case: str) -> None:
    """Along random directions of h, moved by way of x, the scores change as the gradient says."""
    model = network(case)
    generator = np.random.default_rng(1)
    x = generator.standard_normal((2, 4, 6, 7)).astype(np.float32)
    backward = Backward(model, ["h"], x)
    scores, values = backward.scores(x)
    cotangent = generator.standard_normal(scores.shape).astype(np.float32)
    gradient = backward.gradients(values, cotangent)["h"]
    runner = Runner(model)
    start = model.load("start")[:, :, 0, 0].astype(np.float64)
    checked = 0
    for _ in range(12):
        # One element of h alone, so that few kinks are crossed.
        place = tuple(int(generator.integers(size)) for size in gradient.shape)
        toward = np.zeros(gradient.shape)
        toward[place] = 1e-3
        moved = np.einsum("ij,njab->niab", np.linalg.inv(start), toward)
        ahead, behind, here = (
            float((runner.scores((x + sign * moved).astype(np.float32)).astype(np.float64) * cotangent).sum())
            for sign in (1, -1, 0)
        )
        if abs(ahead - 2 * here + behind) > 1e-4:
            continue  # a kink
        assert (ahead - behind) / 2e-3 == pytest.approx(float(gradient[place]), rel=2e-2, abs=2e-2)
        checked += 1
    assert checked >= 8


def test_other_batches_than_the_example() -> None:
    model = network("conv strided")
    x = GENERATOR.standard_normal((5, 4, 6, 7)).astype(np.float32)
    backward = Backward(model, ["h"], x[:2])
    scores, values = backward.scores(x)
    together = backward.gradients(values, np.ones_like(scores))["h"]
    one_scores, one_values = backward.scores(x[3:4])
    np.testing.assert_allclose(
        backward.gradients(one_values, np.ones_like(one_scores))["h"], together[3:4], rtol=1e-5, atol=1e-6
    )


def test_an_operator_without_a_rule_is_named() -> None:
    nodes = [
        node("Conv", ["x", "start"], ["h"]),
        node("Hardmax", ["h"], ["y"]),
        node("Flatten", ["y"], ["scores"]),
    ]
    model = build(nodes, "scores", {"start": weights(4, 4, 1, 1)})
    with pytest.raises(UnsupportedError, match="operator Hardmax"):
        Backward(model, ["h"], np.zeros((1, 4, 6, 7), np.float32))
