"""A row of numbers beside an output that ends in a softmax: values, unless the softmax is of that very row."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from enxuto.calibration.outputs import find_losses
from enxuto.data.samples import Samples
from enxuto.onnx_model import Model

SAMPLES = Samples({"x": np.random.default_rng(0).standard_normal((48, 16)).astype(np.float32)})


def made(operator: str, given: list[str], output: str, **attributes: int) -> NodeProto:
    return helper.make_node(operator, given, [output], **attributes)


ENDS: dict[str, tuple[list[NodeProto], str]] = {
    "of another row": ([made("MatMul", ["r", "u"], "z"), made("Softmax", ["z"], "p")], "values"),
    "sigmoid of another row": ([made("MatMul", ["r", "u"], "z"), made("Sigmoid", ["z"], "p")], "values"),
    "of a part behind a layer": ([made("MatMul", ["y", "q"], "z"), made("Softmax", ["z"], "p")], "values"),
    "of the row": ([made("Softmax", ["y"], "p")], "classes"),
    "sigmoid of the row": ([made("Sigmoid", ["y"], "p")], "classes"),
    "log-softmax of the row": ([made("LogSoftmax", ["y"], "p")], "classes"),
    "of what the row is a copy of": ([made("Softmax", ["own"], "p")], "classes"),
    "of the row, moved": ([made("Flatten", ["y"], "z"), made("Softmax", ["z"], "p")], "classes"),
    "of the row, cast": ([made("Cast", ["y"], "z", to=TensorProto.FLOAT), made("Softmax", ["z"], "p")], "classes"),
    "of the row, by a temperature": ([made("Div", ["y", "t"], "z"), made("Softmax", ["z"], "p")], "classes"),
    "of the row, scaled": ([made("Mul", ["t", "y"], "z"), made("Softmax", ["z"], "p")], "classes"),
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
def test_a_row_beside_scores(end: str) -> None:
    nodes, kind = ENDS[end]
    random = np.random.default_rng(1)
    sizes = {"w": (16, 64), "v": (64, 40), "u": (64, 40), "q": (40, 40)}
    held = {name: random.standard_normal(size).astype(np.float32) / 4 for name, size in sizes.items()}
    held["v"] -= held["v"].mean(axis=1, keepdims=True)  # pulled apart, as scores of classes are
    held["t"] = np.array(2.5, np.float32)
    before = [
        made("MatMul", ["x", "w"], "h"), made("Relu", ["h"], "r"), made("MatMul", ["r", "v"], "own"),
        made("Identity", ["own"], "y"),
    ]  # fmt: skip
    graph = helper.make_graph(
        [*before, *nodes], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 40]) for name in ("y", "p")],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )  # fmt: skip
    model = Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    )
    found = find_losses(model, SAMPLES, threads=1)
    assert {loss.name: loss.kind for loss in found.losses}["y"] == kind
