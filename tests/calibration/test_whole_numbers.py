"""Outputs of whole numbers are judged by the real numbers behind them, whatever made whole numbers of those."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import enxuto
from enxuto.calibration.outputs import find_losses
from enxuto.compression.output_judge import compare_outputs
from enxuto.compression.response import find_response
from enxuto.data.samples import Samples
from enxuto.errors import UsageError
from enxuto.metrics.losses import OutputLoss
from enxuto.onnx_model import Model

node = helper.make_node
UINT8, INT8, INT32, INT64 = TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32, TensorProto.INT64
COUNT = 64

# By kind: nodes from `f` (N, 6) to `y`, the type of `y`, the value that is judged, and as what.
KINDS: dict[str, tuple[list[Any], int, str, str]] = {
    "Cast to bytes": ([node("Cast", ["f"], ["y"], to=UINT8)], UINT8, "f", "values"),
    "Cast to int32": ([node("Cast", ["f"], ["y"], to=INT32)], INT32, "f", "values"),
    "Cast to int64, moved": (
        [node("Cast", ["f"], ["c"], to=INT64), node("Transpose", ["c"], ["t"], perm=[0, 2, 1]),
         node("Identity", ["t"], ["y"])],
        INT64, "f", "values",
    ),
    "QuantizeLinear": ([node("QuantizeLinear", ["f", "step", "u8"], ["y"])], UINT8, "f", "values"),
    "QuantizeLinear, signed": ([node("QuantizeLinear", ["f", "step", "i8"], ["y"])], INT8, "f", "values"),
    "Round": ([node("Round", ["f"], ["r"]), node("Cast", ["r"], ["y"], to=INT32)], INT32, "f", "values"),
    "Round, then Clip": (
        [node("Round", ["f"], ["r"]), node("Clip", ["r", "low", "high"], ["c"]), node("Cast", ["c"], ["y"], to=UINT8)],
        UINT8, "f", "values",
    ),
    "Clip, then Round": (
        [node("Clip", ["f", "low", "high"], ["c"]), node("Round", ["c"], ["r"]), node("Cast", ["r"], ["y"], to=UINT8)],
        UINT8, "c", "values",
    ),
    "Floor of a half more": (
        [node("Add", ["f", "half"], ["a"]), node("Floor", ["a"], ["r"]), node("Cast", ["r"], ["y"], to=INT32)],
        INT32, "a", "values",
    ),
    "arithmetic of whole numbers": (
        [node("Cast", ["f"], ["c"], to=INT32), node("Mul", ["c", "three"], ["y"])], INT32, "f", "values",
    ),
    "a mask of bytes": (
        [node("Sigmoid", ["f"], ["s"]), node("Greater", ["s", "half"], ["g"]), node("Cast", ["g"], ["y"], to=UINT8)],
        UINT8, "s", "binary",
    ),
    "places of the largest": ([node("TopK", ["f", "two"], ["t", "y"], axis=2)], INT64, "f", "values"),
    "the least": ([node("ArgMin", ["f"], ["y"], axis=2, keepdims=0)], INT64, "f", "classes"),
    "the least, moved": (
        [node("ArgMin", ["f"], ["m"], axis=2, keepdims=1), node("Squeeze", ["m", "axis"], ["q"]),
         node("Cast", ["q"], ["y"], to=INT32)],
        INT32, "f", "classes",
    ),
}  # fmt: skip


def proto(kind: str, *, beside: bool = False) -> ModelProto:
    nodes, dtype, _, _ = KINDS[kind]
    random = np.random.default_rng(1)
    weights: dict[str, Any] = {
        "u": (random.standard_normal((8, 24)) / 3).astype(np.float32),
        "v": (random.standard_normal((24, 6)) * 12).astype(np.float32),
        "fives": np.array([0, 2, 3]), "step": np.float32(0.5), "u8": np.uint8(120), "i8": np.int8(-3),
        "low": np.float32(0), "high": np.float32(255), "half": np.float32(0.5), "three": np.int32(3),
        "two": np.array([2]), "axis": np.array([2]),
    }  # fmt: skip
    body = [
        node("MatMul", ["x", "u"], ["h"]), node("Tanh", ["h"], ["k"]), node("MatMul", ["k", "v"], ["l"]),
        node("Reshape", ["l", "fives"], ["f"]), *nodes,
    ]  # fmt: skip
    outputs = [helper.make_tensor_value_info("y", dtype, None)]
    outputs += [helper.make_tensor_value_info("l", TensorProto.FLOAT, None)] if beside else []
    graph = helper.make_graph(
        body, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])], outputs,
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def data() -> np.ndarray:
    return np.random.default_rng(2).standard_normal((COUNT, 8)).astype(np.float32)


def losses(made: ModelProto, **words: Any) -> tuple[list[OutputLoss], str]:
    found = find_losses(Model.from_proto(made), Samples({"x": data()}), threads=1, **words)
    return list(found.losses), "; ".join(found.remarks)


@pytest.mark.parametrize("kind", KINDS)
def test_the_real_numbers_behind_are_judged(kind: str) -> None:
    (loss,), said = losses(proto(kind))
    assert (loss.name, loss.value, loss.kind) == ("y", KINDS[kind][2], KINDS[kind][3])
    assert loss.least == (KINDS[kind][3] == "classes")
    assert ("behind its" in said) is not loss.least


@pytest.mark.parametrize("kind", KINDS)
def test_beside_outputs_of_real_numbers_they_are_left_out_as_before(kind: str) -> None:
    found, said = losses(proto(kind, beside=True))
    assert [loss.name for loss in found] == ["l"]
    assert "output 'y' is left out: it holds" in said
    asked, _ = losses(proto(kind, beside=True), choices={"y": (KINDS[kind][3], 1.0)})
    assert sorted(loss.name for loss in asked) == ["l", "y"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_tries_them(kind: str) -> None:
    response, reason = find_response(Model.from_proto(proto(kind)), {}, threads=1)
    assert response is not None, reason


@pytest.mark.parametrize("kind", KINDS)
def test_bounds_hold_for_them(kind: str) -> None:
    """The figure is that of the value behind, by ONNX Runtime; of what picks, the answers are the output's own."""
    made_of, asked = proto(kind), KINDS[kind][3]
    bound: dict[str, Any] = {"min_snr": 25} if asked == "values" else {"min_agreement": 90}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        made = enxuto.compress(made_of, data={"x": data()}, threads=1, **bound)
        found = enxuto.evaluate(made.model, {"x": data()}, reference=made_of, threads=1)
    both = []
    for one in (made_of, made.model.to_proto()):
        one.graph.output.add(name=KINDS[kind][2])
        session = onnxruntime.InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"])
        both.append([array.astype(np.float64) for array in session.run(None, {"x": data()})])
    (y, before), (other, after) = both
    if asked == "values":
        truth = 10 * np.log10(before.var() / np.square(after - before).mean())
        assert found.snr_db == pytest.approx(truth, abs=1e-2)
        assert truth > 22
    else:
        assert found.agreement == pytest.approx(100 * np.mean(y == other), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_value_behind_whole_numbers_are_compared_or_refused(kind: str) -> None:
    """A model whose values have other names is compared by what it gives out."""
    model, other = Model.from_proto(proto(kind)), proto(kind)
    for one in other.graph.node:
        for names in (one.input, one.output):
            for place, name in enumerate(names):
                if name in ("f", "c", "a", "s"):
                    names[place] = f"{name} renamed"
    samples = Samples({"x": data()})
    if KINDS[kind][3] == "values":
        judged, _ = compare_outputs(model, Model.from_proto(other), samples, threads=1)
        assert judged.values_loss == 0
    else:
        with pytest.raises(UsageError, match="it holds whole numbers"):
            compare_outputs(model, Model.from_proto(other), samples, threads=1)


@pytest.mark.parametrize("kind", [kind for kind, facts in KINDS.items() if facts[3] == "classes"])
def test_what_is_picked_is_no_quantity(kind: str) -> None:
    with pytest.raises(UsageError, match="cannot be judged as values: it holds int"):
        losses(proto(kind), choices={"y": ("values", 1.0)})


def test_of_distances_the_least_wins() -> None:
    loss = OutputLoss("y", "classes", "d", axis=1, least=True)
    far, near = np.array([[1.0, 3.0, 4.0]]), np.array([[1.0, 3.0, 0.5]])
    assert loss.same(far, far * 2, 1) == 1
    assert loss.same(far, near, 1) == 0
    scores = OutputLoss("y", "classes", "d", axis=1)
    assert loss.each(far, near, 1) == pytest.approx(scores.each(-far, -near, 1))


def test_whole_numbers_of_whole_numbers_stay_refused() -> None:
    graph = helper.make_graph(
        [node("MatMulInteger", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", UINT8, ["n", 8])], [helper.make_tensor_value_info("y", INT32, None)],
        [numpy_helper.from_array(np.ones((8, 3), np.uint8), "w")],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    samples = Samples({"x": np.random.default_rng(0).integers(0, 255, (20, 8)).astype(np.uint8)})
    with pytest.raises(UsageError, match="it holds int32, not real numbers"):
        find_losses(Model.from_proto(made), samples, threads=1)
