"""Figures of images are those of outputs that may be images."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import enxuto


@pytest.mark.parametrize(
    ("name", "shown"),
    [("y", True), ("restored", True), ("out_cache0", False), ("hidden_state", False), ("stateN", False)],
)
def test_states_are_no_images_whatever_their_shape(name: str, shown: bool) -> None:
    value = helper.make_tensor_value_info
    weight = np.random.default_rng(0).standard_normal((1, 1, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], [name], pads=[1, 1, 1, 1])],
        "g",
        [value("x", TensorProto.FLOAT, ["n", 1, 16, 16])],
        [value(name, TensorProto.FLOAT, ["n", 1, 16, 16])],
        [numpy_helper.from_array(weight, "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model = enxuto.Model.from_proto(proto)
    small = enxuto.compress(model, threads=1, steps="balanced")
    data = {"x": np.random.default_rng(1).random((8, 1, 16, 16)).astype(np.float32)}
    (output,) = enxuto.evaluate(small.compressed, data, reference=model).outputs
    assert (output.signal is not None) == shown
