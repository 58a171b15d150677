"""Matrices that the graph transposes before a product reads them: they are layers as those stored the other way."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from enxuto.calibration.calibrate import calibrate
from enxuto.calibration.layers import linear_layers
from enxuto.compression.at_price import compress_at
from enxuto.onnx_model import Model
from enxuto.runtime import Runner

node = helper.make_node
TURN = node("Transpose", ["w"], ["t"], perm=[1, 0])
FORMS: dict[str, list[NodeProto]] = {
    "perm": [TURN, node("MatMul", ["h", "t"], ["z"])],
    "by default": [node("Transpose", ["w"], ["t"]), node("MatMul", ["h", "t"], ["z"])],
    "behind a Cast": [
        node("Cast", ["w"], ["c"], to=1),
        node("Transpose", ["c"], ["t"]),
        node("MatMul", ["h", "t"], ["z"]),
    ],
    "Gemm": [TURN, node("Gemm", ["h", "t"], ["z"])],
    "Gemm, turned twice": [TURN, node("Gemm", ["h", "t"], ["z"], transB=1)],
    "turned twice": [TURN, node("Transpose", ["t"], ["u"]), node("MatMul", ["h", "u"], ["z"])],
}
RIGHT_WAY_ROUND = ("Gemm, turned twice", "turned twice")
generator = np.random.default_rng(6)
X = (generator.standard_normal((64, 1)) + 0.3 * generator.standard_normal((64, 12))).astype(np.float32)
W = (0.4 * generator.standard_normal((20, 12))).astype(np.float32)


def model_of(nodes: list[NodeProto], weight: np.ndarray) -> Model:
    head = (0.4 * np.random.default_rng(7).standard_normal((20, 5))).astype(np.float32)
    graph = helper.make_graph(
        [
            node("Tanh", ["x"], ["h"]),
            *nodes,
            node("Relu", ["z"], ["r"]),
            node("MatMul", ["r", "head"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(head, "head")],
    )
    return Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    )


@pytest.mark.parametrize("form", FORMS)
def test_a_matrix_that_is_transposed_is_calibrated_as_one_stored_so(form: str) -> None:
    plain = model_of([node("MatMul", ["h", "w"], ["z"])], np.ascontiguousarray(W.T))
    model = model_of(FORMS[form], np.ascontiguousarray(W.T) if form in RIGHT_WAY_ROUND else W)
    assert [layer.weight for layer in linear_layers(model)] == ["w", "head"]
    found, sizes = [], []
    for one in (plain, model):
        calibration = calibrate(one, X, threads=1)
        assert not calibration.others
        outcome = compress_at(calibration, 1e-5)
        assert {layer.name: layer.method for layer in outcome.layers}["w"] == "calibrated"
        sizes.append(sum(layer.bytes for layer in outcome.layers))
        decoded = outcome.model.to_model()
        assert [item.op_type for item in decoded.proto.graph.node] == [
            item.op_type for item in one.proto.graph.node
        ]
        want, got = (Runner(each, threads=1).scores(X) for each in (one, decoded))
        found.append(float(np.mean((got - want) ** 2) / want.var()))
    assert found[1] < 2 * found[0] < 0.1
    assert sizes[1] < 1.1 * sizes[0]
