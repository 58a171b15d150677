"""A network whose hidden layer is scaled up, and scaled back by the next, is the same network: so is its file."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import enxuto
from enxuto.runtime import Runner

SAMPLES = {"x": np.random.default_rng(3).normal(size=(256, 12)).astype(np.float32)}
PICTURES = {"x": np.random.default_rng(3).normal(size=(96, 3, 6, 6)).astype(np.float32)}


def network(scale: float, *, kernels: bool, bias: float = 0.1) -> onnx.ModelProto:
    """Return two layers with a rectifier between, whose hidden values are `scale` times as large."""
    generator = np.random.default_rng(0)
    shapes = ((24, 3, 3, 3), (8, 24, 3, 3)) if kernels else ((12, 60), (60, 5))
    first, second = (generator.laplace(0, 0.2, shape) for shape in shapes)
    hidden = shapes[0][0] if kernels else shapes[0][1]
    arrays = {
        "w0": first * scale,
        "b0": generator.normal(0, bias, hidden) * scale,
        "w1": second / scale,
        "b1": generator.normal(0, 0.1, shapes[1][0] if kernels else shapes[1][1]),
    }
    kind = "Conv" if kernels else "Gemm"
    nodes = [
        helper.make_node(kind, ["x", "w0", "b0"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node(kind, ["r", "w1", "b1"], ["y"]),
    ]
    sides: list[int | str] = ["n", 3, 6, 6] if kernels else ["n", 12]
    graph = helper.make_graph(
        nodes, "scaled",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sides)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8, 2, 2] if kernels else ["n", 5])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def made(model: onnx.ModelProto, samples: dict[str, np.ndarray]) -> tuple[int, float]:
    """Return the bytes of a file of 30 dB, and the decibels that it keeps."""
    result = enxuto.compress(model, data=samples, min_snr=30, outputs={"y": "values"}, threads=1)
    before, after = (
        Runner(one, threads=1).run(samples, ["y"])[0].astype(np.float64)
        for one in (enxuto.Model.from_proto(model), result.model)
    )
    return result.file_bytes, 10 * np.log10(before.var() / np.square(after - before).mean())


@pytest.mark.filterwarnings("ignore:on these samples")  # half of them judge, and the other half may say less
@pytest.mark.parametrize("kernels", [False, True])
@pytest.mark.parametrize("scale", [1e-8, 1e-4, 1e5, 1e12])
def test_a_hidden_scale_changes_neither_bytes_nor_loss(scale: float, kernels: bool) -> None:
    samples = PICTURES if kernels else SAMPLES
    usual, _ = made(network(1.0, kernels=kernels), samples)
    size, decibels = made(network(scale, kernels=kernels), samples)
    assert abs(size / usual - 1) < 0.05
    assert decibels > 29


@pytest.mark.filterwarnings("ignore:on these samples")
def test_a_bias_beyond_all_levels_stays_exact() -> None:
    """Added and taken away again by what follows, it needs every digit, and has no level at a step of its errors."""
    model = network(1.0, kernels=False)
    for tensor in model.graph.initializer:
        if tensor.name == "b0":
            values = numpy_helper.to_array(tensor).copy()
            values[0] = -3e30  # a unit that is never alive
            tensor.CopyFrom(numpy_helper.from_array(values, "b0"))
    result = enxuto.compress(model, data=SAMPLES, min_snr=30, outputs={"y": "values"}, threads=1)
    assert result.model.load("b0")[0] == np.float32(-3e30)
    assert made(model, SAMPLES)[1] > 29
