"""What has no derivative rule, or not for the form at hand, is refused by one kind of error.

Calibration then goes on without gradients.
"""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from enxuto.calibration.calibrate import calibrate
from enxuto.calibration.gradients.backward import Backward
from enxuto.calibration.gradients.graph import UnsupportedError
from enxuto.calibration.gradients.rules import RULES
from enxuto.compression.at_price import compress_at
from enxuto.onnx_model import Model
from enxuto.runtime import Runner
from rule_forms import PLANE, Form, floats, graph, integers, made, node

BRANCHES = [
    helper.make_graph([made("Tanh", ["h"], [name])], name, [], [helper.make_tensor_value_info(name, 1, None)])
    for name in ("one", "other")
]
LOOP = helper.make_graph(
    [made("Identity", ["c"], ["c2"]), made("Tanh", ["v"], ["v2"]), made("Add", ["v2", "h"], ["v3"])],
    "loop",
    [
        helper.make_tensor_value_info("i", TensorProto.INT64, []),
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
    ],
    [
        helper.make_tensor_value_info("c2", TensorProto.BOOL, []),
        helper.make_tensor_value_info("v3", TensorProto.FLOAT, None),
    ],
)

REFUSED: dict[str, Form] = {
    "running sums over the images": ([node("CumSum", "h", "a")], {"a": np.int64(0)}, PLANE, 13),
    "a norm over the images": ([node("MeanVarianceNormalization")], {}, PLANE, 13),
    "the largest of what is written": (
        [
            made("Transpose", ["h"], ["t"], perm=[1, 2, 3, 0]),
            made("Gather", ["t", "one"], ["u"]),
            made("ScatterND", ["t", "i", "u"], ["w"], reduction="max"),
            node("Transpose", "w", perm=[3, 0, 1, 2]),
        ],
        {"one": integers(1), "i": np.array([[0]])}, PLANE, 18
    ),
    "zeros and ones": ([node("Hardmax", axis=1)], {}, PLANE, 13),
    "limits that are computed": (
        [made("ReduceMax", ["h"], ["m"], keepdims=0), node("Clip", "h", "", "m")], {}, PLANE, 13
    ),
    "mean of all": ([made("ReduceMean", ["h"], ["m"], keepdims=1), node("Add", "h", "m")], {}, PLANE, 13),
    "dropout that trains": (
        [node("Dropout", "h", "r", "t")], {"r": np.float32(0.5), "t": np.array(True)}, PLANE, 13
    ),
    "cast to integers": (
        [made("Cast", ["h"], ["i"], to=TensorProto.INT64), node("Cast", "i", to=TensorProto.FLOAT)], {}, PLANE, 13
    ),
    "a branch": (
        [node("If", "yes", then_branch=BRANCHES[0], else_branch=BRANCHES[1])], {"yes": np.array(True)}, PLANE, 13
    ),
    "a loop": (
        [node("Loop", "n", "yes", "z", body=LOOP)],
        {"n": np.array(2, np.int64), "yes": np.array(True), "z": np.zeros((1, 1, 1, 1), np.float32)},
        PLANE,
        13,
    ),
    "the diagonal of an einsum": ([node("Einsum", "h", equation="ncii->nci")], {}, (3, 6, 6), 13),
    "a resize by a computed size": (
        [made("Shape", ["h"], ["z"]), made("Mul", ["z", "k"], ["d"]), node("Resize", "h", "", "", "d")],
        {"k": integers(1, 1, 2, 2)}, PLANE, 13,
    ),
    "only its shape": (
        [
            made("Shape", ["h"], ["s"]),
            made("Cast", ["s"], ["f"], to=TensorProto.FLOAT),
            made("ReduceMean", ["f"], ["m"], keepdims=1),
            made("Unsqueeze", ["m", "z"], ["u"]),
            node("Mul", "x", "u"),
        ],
        {"z": integers(0)},
        PLANE,
        13,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_gradient_is_refused_and_calibrated_without(name: str) -> None:
    nodes, held, shape, opset = REFUSED[name]
    x = np.random.default_rng(2).standard_normal((6, *shape)).astype(np.float32)
    with pytest.raises(UnsupportedError) as refused:
        Backward(Model.from_proto(graph(nodes, held, shape, opset)), ["h"], x, threads=1)
    assert "\n" not in str(refused.value)
    # The same behind a layer.
    proto = graph(nodes, {**held, "first": floats(3, 3, 1, 1)}, shape, opset)
    proto.graph.node[0].CopyFrom(made("Conv", ["x", "first"], ["h"]))
    width = Runner(Model.from_proto(proto), threads=1).scores(x).shape[1]
    proto.graph.node[-1].output[0] = "flat"
    proto.graph.node.append(made("MatMul", ["flat", "last"], ["scores"]))
    proto.graph.initializer.append(numpy_helper.from_array(floats(width, 3), "last"))
    model = Model.from_proto(proto)
    calibration = calibrate(model, x, threads=1)
    # A branch that all samples take is calibrated as if there were no other.
    assert (calibration.reason is None) == (name == "a branch")
    found = compress_at(calibration, calibration.price_of_bits(8)).model.to_model()
    # Random dropout and rounding to integers have no outputs to compare.
    if name not in ("dropout that trains", "cast to integers"):
        want, got = Runner(model, threads=1).scores(x), Runner(found, threads=1).scores(x)
        np.testing.assert_allclose(got, want, atol=0.1 * np.abs(want).max())


MIXED: dict[str, Form] = {
    "mean": ([node("ReduceMean", axes=[0], keepdims=1)], {}, PLANE, 13),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXED)
def test_what_mixes_images_has_no_gradients_together_and_is_run_one_by_one(name: str) -> None:
    nodes, held, shape, opset = MIXED[name]
    x = np.random.default_rng(2).standard_normal((6, *shape)).astype(np.float32)
    proto = graph(nodes, {**held, "first": floats(3, 3, 1, 1)}, shape, opset)
    with pytest.raises(UnsupportedError):
        Backward(Model.from_proto(proto), ["h"], x, threads=1)
    proto.graph.node[0].CopyFrom(made("Conv", ["x", "first"], ["h"]))
    assert not calibrate(Model.from_proto(proto), x, threads=1).samples.stacked


def test_a_kernel_that_is_computed_is_refused() -> None:
    nodes = [
        made("ReduceMean", ["h"], ["m"], axes=[0], keepdims=0),
        made("Unsqueeze", ["m", "z"], ["k"]),
        node("Conv", "h", "k"),
    ]
    x = np.random.default_rng(2).standard_normal((6, *PLANE)).astype(np.float32)
    with pytest.raises(UnsupportedError, match="kernel is computed"):
        Backward(Model.from_proto(graph(nodes, {"z": integers(0)}, PLANE, 13)), ["h"], x, threads=1)


def test_a_gradient_of_another_shape_is_refused_by_the_operators_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(RULES, "Tanh", lambda maker, node, gradient, carries: [("h", maker.constant([1.0]))])
    x = np.random.default_rng(2).standard_normal((2, *PLANE)).astype(np.float32)
    with pytest.raises(UnsupportedError, match=r"^the gradient at 'h' .* \(Tanh\)"):
        Backward(Model.from_proto(graph([node("Tanh")], {}, PLANE, 13)), ["h"], x, threads=1)
