"""An output whose graph and name tell nothing: classes come in rows, features may have further axes of length 1."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from enxuto.calibration.outputs import find_losses
from enxuto.data.samples import Samples
from enxuto.onnx_model import Model

SAMPLES = Samples({"x": np.random.default_rng(0).standard_normal((48, 3, 8, 8)).astype(np.float32)})


def network(name: str, *, rows: bool) -> Model:
    """A convolution and a pooling, (n, 40, 1, 1), or with a Flatten behind it (n, 40)."""
    weight = np.random.default_rng(1).standard_normal((40, 3, 3, 3)).astype(np.float32)
    weight -= weight.mean(axis=0)  # columns are pulled apart, as scores of classes are
    pooled = "p" if rows else name
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], [pooled]),
        *([helper.make_node("Flatten", ["p"], [name])] if rows else []),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 40] if rows else ["n", 40, 1, 1])],
        [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return Model.from_proto(proto)


@pytest.mark.parametrize(
    ("name", "rows", "bounded", "kind"),
    [
        ("y", True, "", "classes"),
        ("y", False, "", "values"),
        ("y", False, "classes", "classes"),
        ("logits", False, "", "classes"),
        ("embedding", True, "", "values"),
    ],
)
def test_what_is_taken_for_classes(name: str, rows: bool, bounded: str, kind: str) -> None:
    found = find_losses(network(name, rows=rows), SAMPLES, rows=bounded, threads=1)
    assert [loss.kind for loss in found.losses] == [kind]
