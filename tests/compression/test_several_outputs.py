"""Two outputs, classes by a softmax and a row that may be anything: bounds of both sorts, and what is said."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import enxuto
from enxuto.compression.excess import worse_than_mean
from enxuto.compression.judge import Bounds, Judgement
from enxuto.compression.output_result import OutputResult
from enxuto.errors import BudgetError
from enxuto.onnx_model import Model

node, value = helper.make_node, helper.make_tensor_value_info
X = np.random.default_rng(0).standard_normal((160, 16)).astype(np.float32)


def network(second: str = "side") -> Model:
    generator = np.random.default_rng(1)
    arrays = {"w": generator.standard_normal((16, 64)) * 0.4, "a": generator.standard_normal((64, 5)) * 0.25,
              "b": generator.standard_normal((64, 24)) * 0.25}  # fmt: skip
    arrays["b"] -= arrays["b"].mean(axis=1, keepdims=True)
    graph = helper.make_graph(
        [node("MatMul", ["x", "w"], ["h"]), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "a"], ["z"]),
         node("Softmax", ["z"], ["tags"]), node("MatMul", ["r", "b"], [second])],
        "g",
        [value("x", TensorProto.FLOAT, ["n", 16])],
        [value("tags", TensorProto.FLOAT, ["n", 5]), value(second, TensorProto.FLOAT, ["n", 24])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )  # fmt: skip
    return Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    )


def kinds(model: Model, **bounds: Any) -> tuple[dict[str, str], tuple[str, ...]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = enxuto.compress(model, data={"x": X}, threads=1, **bounds)
    assert result.calibrated is not None
    judged = result.calibrated.calibration.judged_outputs
    return {loss.name: loss.kind for loss in judged.losses}, judged.remarks


def test_bounds_of_both_sorts_give_a_doubtful_row_to_the_one_that_has_none() -> None:
    found, remarks = kinds(network(), max_kl=0.05, min_snr=15)
    assert found == {"tags": "classes", "side": "values"}
    assert any("'side' looks like quantities" in one for one in remarks)


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [("side", "values", True), ("emb", "values", True), ("latent", "values", True), ("scores", "classes", False)],
)  # fmt: skip
def test_a_guess_beside_other_outputs_is_said(name: str, kind: str, said: bool) -> None:
    found, remarks = kinds(network(name), max_kl=0.05)
    assert found == {"tags": "classes", name: kind}
    assert any(f"outputs={{{name!r}: 'classes'}} says otherwise" in one for one in remarks) == said


@pytest.mark.parametrize(
    ("bounds", "outputs", "says"),
    [
        (Bounds(min_snr=30), [("values", 10**-2.8), ("values", 10**-3.6)], "'o0' alone keeps 28.0 dB"),
        (Bounds(min_snr=30), [("values", 10**-2.95), ("values", 10**-3.6)], None),
        (Bounds(max_kl=0.02), [("classes", 0.01), ("classes", 0.029)], "'o1' alone loses 0.029 nats"),
        (Bounds(max_kl=0.02), [("classes", 0.01), ("classes", 0.024)], None),
        (Bounds(max_kl=0.02), [("classes", 0.01), ("values", 0.5)], None),
    ],
)
def test_an_output_that_is_worse_than_the_mean_is_named(
    bounds: Bounds, outputs: list[tuple[str, float]], says: str | None
) -> None:
    results = tuple(OutputResult(f"o{place}", kind, loss) for place, (kind, loss) in enumerate(outputs))
    judged = Judgement(9, None, None, None, None, None, 0.01, "data", values_loss=1e-3, outputs=results)
    told = worse_than_mean(bounds, judged)
    assert (told is None) if says is None else (told is not None and says in told)


def test_a_size_below_the_whole_numbers_of_a_model_says_that_they_stay() -> None:
    generator = np.random.default_rng(2)
    graph = helper.make_graph(
        [node("DequantizeLinear", ["q", "s"], ["w"]), node("MatMul", ["x", "w"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, ["n", 64])],
        [value("y", TensorProto.FLOAT, ["n", 64])],
        [numpy_helper.from_array(generator.integers(-127, 127, (64, 64)).astype(np.int8), "q"),
         numpy_helper.from_array(np.float32(0.01), "s")],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(BudgetError, match=r"4,096 bytes\) is whole numbers.*start from the model in float32"):
        enxuto.compress(Model.from_proto(proto), bits=1.0, threads=1)


def test_weights_that_operators_of_other_domains_read_are_said_to_be_rounded_without_feedback() -> None:
    generator = np.random.default_rng(3)
    graph = helper.make_graph(
        [node("FusedMatMul", ["x", "w"], ["m"], domain="com.microsoft"), node("Relu", ["m"], ["h"]),
         node("MatMul", ["h", "v"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, ["n", 16])],
        [value("y", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array((generator.standard_normal(shape) / 4).astype(np.float32), name)
         for name, shape in (("w", (16, 64)), ("v", (64, 5)))],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    with pytest.warns(
        UserWarning, match=r"76% of the weights are rounded without feedback.* com.microsoft.FusedMatMul read"
    ):
        enxuto.compress(Model.from_proto(proto), data={"x": X}, outputs={"y": "classes"}, bits=9, threads=1)
