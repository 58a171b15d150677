"""A response is never NaN: what gives none that is finite counts as not tried, in front of whole numbers too."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from enxuto.compression import data_free
from enxuto.compression.promise import StepsReport
from enxuto.compression.response import find_response, loss_of
from enxuto.onnx_model import Model

node = helper.make_node
FLOAT, INT64, UINT8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8

# By kind: nodes from scores `s` (N, T, 24) to `y`, and the type of `y`.
ENDS: dict[str, tuple[list[NodeProto], int]] = {
    "ArgMax": ([node("ArgMax", ["s"], ["y"], axis=2, keepdims=0)], INT64),
    "ArgMin": ([node("ArgMin", ["s"], ["y"], axis=2, keepdims=0)], INT64),
    "places of the largest": ([node("TopK", ["s", "two"], ["t", "y"], axis=2)], INT64),
    "a Cast": ([node("Cast", ["s"], ["y"], to=UINT8)], UINT8),
    "scores": ([node("Identity", ["s"], ["y"])], FLOAT),
    "chances": ([node("Softmax", ["s"], ["y"], axis=2)], FLOAT),
}  # fmt: skip


def tagger(end: str, before: str) -> Model:
    """Rows of a table that are added to a mask, or a scale, as it is read; with finite outputs of whole numbers alone.

    before: `mask`, numbers other than 0 and 1 in which give infinity times nothing; `root`, of which only positive
    numbers have one; or `nothing`, which is NaN whatever is fed.
    """
    random = np.random.default_rng(1)
    held: dict[str, Any] = {
        "table": random.standard_normal((300, 16)).astype(np.float32),
        "w": random.standard_normal((16, 24)).astype(np.float32),
        "one": np.float32(1), "lowest": np.float32(-3.4e38), "two": np.array([2]), "zero": np.float32(0),
        "axis": np.array([2]), "flat": np.array([1, 2]),
    }  # fmt: skip
    nodes = [node("Gather", ["table", "ids"], ["e"]), node("MatMul", ["e", "w"], ["h"])]
    value = helper.make_tensor_value_info
    inputs = [value("ids", INT64, [1, 8])]
    if before == "mask":
        inputs.append(value("onnx::Unsqueeze_1", INT64, [1, 8]))
        nodes += [
            node("Cast", ["onnx::Unsqueeze_1"], ["f"], to=FLOAT), node("Sub", ["one", "f"], ["n"]),
            node("Mul", ["n", "lowest"], ["p"]), node("Mul", ["p", "zero"], ["q"]),
            node("Unsqueeze", ["q", "axis"], ["k"]),
        ]  # fmt: skip
    elif before == "root":
        inputs.append(value("sigma", FLOAT, [1]))
        nodes += [node("Sqrt", ["sigma"], ["r"]), node("Unsqueeze", ["r", "flat"], ["k"])]
    else:
        nodes += [node("Sub", ["zero", "one"], ["m"]), node("Sqrt", ["m"], ["k"])]
    nodes += [node("Add", ["h", "k"], ["s"]), *ENDS[end][0]]
    graph = helper.make_graph(
        nodes, "tagger", inputs, [value("y", ENDS[end][1], None)],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )  # fmt: skip
    return Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    )


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    ("before", "told"), [("mask", "'onnx::Unsqueeze_1': ones (8)"), ("root", "'sigma': numbers from 0 to 1")]
)
def test_inputs_are_those_on_which_what_is_measured_is_finite(end: str, before: str, told: str) -> None:
    model = tagger(end, before)
    response, reason = find_response(model, {}, threads=1)
    assert reason == ""
    assert response is not None
    assert told in response.inputs
    assert loss_of(response.judge(model)) == 0
    weights = {"w": model.load("w") + np.float32(0.1)}
    assert 0 < loss_of(response.judge(model.replace_weights(weights))) < math.inf
    assert all(0 <= unsure <= 1 for unsure in response.uncertainties())


@pytest.mark.parametrize("end", ENDS)
def test_what_is_never_finite_is_told_as_not_tried(end: str) -> None:
    """Steps then follow from the weights alone, and no size is said to ruin a model that was not measured."""
    told: list[StepsReport] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = data_free.compress(tagger(end, "nothing"), steps="checked", threads=1, tell=told.append)
    (report,) = told
    assert "cannot be tried: the model runs on no synthetic inputs" in report.describe()
    assert report.fits is None
    assert (
        made.file_bytes == data_free.compress(tagger(end, "nothing"), steps="balanced", threads=1).file_bytes
    )
