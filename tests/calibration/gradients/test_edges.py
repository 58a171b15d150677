"""Slopes that are infinite at zero, behind a rectifier that gives zeros: gradients and calibration stay finite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from enxuto.calibration.calibrate import calibrate
from enxuto.calibration.gradients.backward import Backward
from enxuto.compression.at_price import compress_at
from enxuto.onnx_model import Model
from enxuto.runtime import Runner

node = helper.make_node
FORMS: dict[str, list[NodeProto]] = {
    "sqrt": [node("Sqrt", ["r"], ["y"])],
    "a power below one": [node("Pow", ["r", "half"], ["y"])],
    "a power of a power": [node("Pow", ["half", "r"], ["y"])],
    "a product": [node("ReduceProd", ["r"], ["y"], axes=[1], keepdims=1)],
    "a norm": [node("ReduceL2", ["r"], ["y"], axes=[1], keepdims=1)],
    "a norm by hand": [
        node("Mul", ["r", "r"], ["s"]), node("ReduceSum", ["s", "one"], ["t"], keepdims=1), node("Sqrt", ["t"], ["y"]),
    ],
    "a hyperbola": [node("Add", ["r", "unit"], ["s"]), node("Acosh", ["s"], ["y"])],
    "a logarithm, clipped": [
        node("Log", ["r"], ["s"]), node("Clip", ["s", "low"], ["y"]),
    ],
}  # fmt: skip


def network(form: str) -> Model:
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "a": generator.standard_normal((4, 3, 1, 1)) / 2, "b": generator.standard_normal((4, 4, 1, 1)) / 2 + 0.3,
        "half": np.float32(0.5), "unit": np.float32(1), "one": np.array([1]), "low": np.float32(-3),
        "high": np.float32(20),
        "last": generator.standard_normal((4 if "prod" not in form and "norm" not in form else 1, 3)),
    }  # fmt: skip
    nodes = [
        node("Conv", ["x", "a"], ["g"]), node("Relu", ["g"], ["f"]), node("Conv", ["f", "b"], ["h"]),
        node("Relu", ["h"], ["r"]), *FORMS[form], node("GlobalAveragePool", ["y"], ["p"]),
        node("Flatten", ["p"], ["q"]), node("MatMul", ["q", "last"], ["scores"]),
    ]  # fmt: skip
    read = {name for one in nodes for name in one.input}
    held = [
        numpy_helper.from_array(value if np.asarray(value).dtype == np.int64 else np.asarray(value, np.float32), name)
        for name, value in arrays.items()
        if name in read
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 5, 5])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)], held,
    )  # fmt: skip
    return Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    )


@pytest.mark.parametrize("form", FORMS)
def test_a_slope_without_bound_spoils_nothing(form: str) -> None:
    model = network(form)
    x = np.random.default_rng(1).standard_normal((40, 3, 5, 5)).astype(np.float32)
    backward = Backward(model, ["g"], x)
    scores, values = backward.scores(x)
    gradient = backward.gradients(values, np.ones_like(scores))["g"]
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0
    calibration = calibrate(model, x, threads=1)
    assert calibration.reason is None
    small = compress_at(calibration, calibration.price_of_bits(8)).model.to_model()
    want, got = (Runner(one, threads=1).scores(x) for one in (model, small))
    np.testing.assert_allclose(got, want, atol=0.1 * np.abs(want).max())


def test_gradients_that_are_infinite_all_the_same_are_left_out() -> None:
    """Division by a rectifier's zero: what it gives is cut off, and its slope is infinite."""
    FORMS["a quotient, clipped"] = [node("Div", ["unit", "r"], ["s"]), node("Clip", ["s", "", "high"], ["y"])]
    model = network("a quotient, clipped")
    x = np.random.default_rng(1).standard_normal((40, 3, 5, 5)).astype(np.float32)
    calibration = calibrate(model, x, threads=1)
    assert calibration.reason is None or "infinite" in calibration.reason
    assert compress_at(calibration, calibration.price_of_bits(6)).model.file_bytes > 0
