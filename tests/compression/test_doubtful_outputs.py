"""Outputs that look like one kind where a bound is of the other: the bound decides, if neither graph nor name does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

import enxuto
from enxuto.onnx_model import Model

made = helper.make_node
X = np.random.default_rng(0).standard_normal((128, 16)).astype(np.float32)
WIDE = np.random.default_rng(0).standard_normal((128, 9, 2)).astype(np.float32)


def network(ending: str, name: str = "out", *, together: bool, tokens: bool = False) -> Model:
    """Five outputs that move together, or apart."""
    rng = np.random.default_rng(1)
    first = rng.standard_normal((2 if tokens else 16, 64)) * 0.4
    common = rng.standard_normal((64, 1)) * (0.4 if together else 0)
    second = common + rng.standard_normal((64, 5)) * 0.25
    second -= 0 if together else second.mean(axis=1, keepdims=True)
    nodes: list[NodeProto] = [made("MatMul", ["x", "w1"], ["a"]), made("Relu", ["a"], ["b"])]
    if tokens:
        nodes.append(made("ReduceMean", ["b"], ["m"], axes=[1], keepdims=0))
    last = "z" if ending else name
    nodes.append(made("MatMul", ["m" if tokens else "b", "w2"], [last]))
    if ending:
        nodes.append(made(ending, ["z"], [name]))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, ["n", 9, 2] if tokens else ["n", 16])],
        [value(name, TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(first.astype(np.float32), "w1"),
         numpy_helper.from_array(second.astype(np.float32), "w2")],
    )  # fmt: skip
    return Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    )


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("bound", "limit"), [("max_kl", 0.01), ("min_agreement", 90)])
@pytest.mark.parametrize("tokens", [False, True])
def test_logits_that_move_together_are_classes_where_these_are_bounded(
    bound: str, limit: float, tokens: bool
) -> None:
    """The network gets the same levels with and without its softmax."""
    data = {"x": WIDE if tokens else X}
    asked: dict[str, Any] = {"data": data, bound: limit, "threads": 1}
    found = [enxuto.compress(network(end, together=True, tokens=tokens), **asked) for end in ("", "Softmax")]
    for name in ("w1", "w2"):
        assert np.array_equal(found[0].model.load(name), found[1].model.load(name))
    assert found[0].calibrated is not None
    (remark,) = found[0].calibrated.calibration.judged_outputs.remarks
    assert "'out' looks like quantities, and is judged as classes" in remark
    assert "outputs={'out': 'values'} says otherwise" in remark


def test_scores_are_values_where_these_are_bounded() -> None:
    found = enxuto.compress(network("", together=False), data={"x": X}, min_snr=30, threads=1)
    assert found.calibrated is not None
    judged = found.calibrated.calibration.judged_outputs
    assert [loss.kind for loss in judged.losses] == ["values"]
    assert "'out' looks like scores of classes, and is judged as values" in judged.remarks[0]


@pytest.mark.parametrize(
    ("name", "ending", "outputs", "asked"),
    [
        ("boxes", "", None, {"max_kl": 0.1}),
        ("out", "", {"out": "values"}, {"max_kl": 0.1}),
        ("logits", "", None, {"min_snr": 30}),
        ("out", "Softmax", None, {"min_snr": 30}),
    ],
    ids=["by name values", "asked for", "by name classes", "by graph"],
)
def test_what_graph_name_or_user_says_stays(
    name: str, ending: str, outputs: Any, asked: dict[str, Any]
) -> None:
    with pytest.raises(enxuto.UsageError, match="say with outputs= which are"):
        enxuto.compress(
            network(ending, name, together=True), data={"x": X}, outputs=outputs, threads=1, **asked
        )


def certain(inputs: str, *, second: bool = False) -> tuple[Model, dict[str, np.ndarray]]:
    """A classifier of which one class is certain, whatever is fed; second: with an output of values beside it."""
    value, x = helper.make_tensor_value_info, X
    kind, size = TensorProto.FLOAT, ["n", 16]
    if inputs == "bytes one by one":
        kind, size, x = (
            TensorProto.UINT8,
            [1, 16],
            np.random.default_rng(5).integers(0, 9, (64, 16), np.uint8),
        )
    rng = np.random.default_rng(2)
    held = {"w1": rng.standard_normal((16, 24)) * 0.3, "w2": rng.standard_normal((24, 5)) * 0.3}
    nodes = [
        made("Cast", ["x"], ["f"], to=TensorProto.FLOAT), made("MatMul", ["f", "w1"], ["a"]),
        made("Relu", ["a"], ["v"]), made("MatMul", ["v", "w2"], ["b"]), made("Add", ["b", "one"], ["z"]),
        made("Softmax", ["z"], ["p"]),
    ]  # fmt: skip
    outputs = [value("p", 1, [size[0], 5])] + ([value("v", 1, [size[0], 24])] if second else [])
    arrays = {**held, "one": np.array([0, 0, 60, 0, 0])}
    weights = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "g", [value("x", kind, size)], outputs, weights)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return Model.from_proto(proto), {"x": x}


@pytest.mark.parametrize("inputs", ["floats together", "bytes one by one"])
def test_a_class_that_is_certain_is_refused_whatever_is_fed(inputs: str) -> None:
    model, data = certain(inputs)
    with pytest.raises(enxuto.UsageError, match="all images are of the same class, with certainty"):
        enxuto.compress(model, data=data, max_kl=0.01, threads=1)


def test_a_class_that_is_certain_beside_other_outputs_is_said() -> None:
    model, data = certain("floats together", second=True)
    found = enxuto.compress(model, data=data, min_snr=20, threads=1)
    assert found.calibrated is not None
    assert "outputs={'p': 'ignore'} leaves it out" in found.calibrated.calibration.judged_outputs.remarks[-1]
