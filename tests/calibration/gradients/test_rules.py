"""Every derivative rule in every form of its operator, beside numerical derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from enxuto.calibration.gradients.backward import Backward
from enxuto.calibration.gradients.fused import FUSED_RULES
from enxuto.calibration.gradients.rules import RULES
from enxuto.onnx_model import Model
from enxuto.runtime import Runner
from rule_forms import FORMS, POSITIVE, graph

DIRECTIONS = 4
# Differences of float32 for what ONNX's reference implementation cannot do, or does otherwise than ONNX Runtime.
BY_RUNTIME = (
    *("Erf", "Gelu", "GlobalLpPool", "GroupNormalization", "LRN", "LogSoftmax over", "LpNormalization 1"),
    *(
        "Mean broadcast from",
        "Resize: old",
        "Softmax over",
        "Upsample ",
        "Upsample,",
        "ConvTranspose: of a shape",
    ),
    *("ConvTranspose: grouped", "batch norm", "conv with a kernel of integers", "in half precision", "pad "),
    *("maximum 1: of all", "maximum 3: of all", "cell ", "fused ", "MeanVariance"),
)


def test_every_rule_is_in_the_suite() -> None:
    tested = {node.op_type for nodes, *_ in FORMS.values() for node in nodes} | {"Identity", "Flatten"}
    assert not {*RULES, *FUSED_RULES, "Split"} - tested


@pytest.mark.parametrize("name", FORMS)
def test_the_gradient_of_every_form(name: str) -> None:
    nodes, held, shape, opset = FORMS[name]
    proto = graph(nodes, held, shape, opset)
    model = Model.from_proto(proto)
    x = np.random.default_rng(2).permutation(np.linspace(-1, 1, 3 * int(np.prod(shape)))).astype(np.float32)
    x = x.reshape(3, *shape)
    x = 1 + x / 4 if name.startswith(POSITIVE) else x
    backward = Backward(model, ["h"], x[:2], threads=1)
    scores, values = backward.scores(x)
    cotangent = np.random.default_rng(3).standard_normal(scores.shape)
    found = backward.gradients(values, cotangent)["h"]
    assert found.shape == x.shape
    if name.startswith(BY_RUNTIME):
        _check_by_runtime(model, x, cotangent, found, step=0.06 if "half" in name else 1e-3)
    else:
        _check_by_reference(proto, x, scores, cotangent, found)


def _check_by_reference(
    proto: ModelProto, x: np.ndarray, scores: np.ndarray, cotangent: np.ndarray, found: np.ndarray
) -> None:
    """Compare with central differences along random directions, in double precision by ONNX's reference."""
    reference = ReferenceEvaluator(_in_double_precision(proto))
    directions = np.random.default_rng(4).standard_normal((DIRECTIONS, *x.shape[1:]))
    step = 1e-6
    for image in (0, 2):
        start = x[image].astype(np.float64)
        (here,) = reference.run(None, {"x": x.astype(np.float64)})
        np.testing.assert_allclose(here, scores, rtol=1e-3, atol=1e-4)
        (moved,) = reference.run(
            None, {"x": np.concatenate([start + step * directions, start - step * directions])}
        )
        slopes = (moved[:DIRECTIONS] - moved[DIRECTIONS:]) @ cotangent[image] / (2 * step)
        expected = (directions * found[image]).reshape(DIRECTIONS, -1).sum(axis=1)
        size = float(np.linalg.norm(found[image]))
        assert size > 0
        np.testing.assert_allclose(expected, slopes, atol=3e-4 * size)


def _in_double_precision(proto: ModelProto) -> ModelProto:
    double = ModelProto()
    double.CopyFrom(proto)
    for item in (*double.graph.input, *double.graph.output):
        item.type.tensor_type.elem_type = 11
    for tensor in double.graph.initializer:
        if tensor.data_type == 1:
            tensor.CopyFrom(
                numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name)
            )
    for node in double.graph.node:
        for item in node.attribute:
            if node.op_type == "Cast" and item.i == 1:
                item.i = 11
    return double


def _check_by_runtime(
    model: Model, x: np.ndarray, cotangent: np.ndarray, found: np.ndarray, *, step: float
) -> None:
    """Compare with central differences of every element, in float32 by ONNX Runtime, but for kinks."""
    runner = Runner(model, threads=1)
    smooth = 0
    for image in range(len(x)):
        count = x[image].size
        moves = step * np.eye(count, dtype=np.float32).reshape(count, *x.shape[1:])
        up, down, here = (
            runner.scores((x[image] + sign * moves).astype(np.float32)).astype(np.float64).reshape(count, -1)
            @ cotangent[image]
            for sign in (1, -1, 0)
        )
        kink = np.abs(up + down - 2 * here) > 1e-2 * step * max(1.0, float(np.abs(up - down).max() / step))
        slopes = (up - down) / (2 * step)
        np.testing.assert_allclose(found[image].reshape(-1)[~kink], slopes[~kink], rtol=2e-2, atol=2e-2)
        smooth += int((~kink).sum())
    assert smooth >= 0.8 * x.size
