"""Batch-norm folding: the same outputs by ONNX Runtime, and hands off where it would change them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_graphs import constant, floats, initializer, model_of

from enxuto.onnx_model import Model, fold_batch_norm
from enxuto.runtime import Runner

X = {"x": ["n", 6, 9, 9]}


def norm(source: str, target: str, channels: int, seed: int, **attributes: object) -> tuple:
    """A BatchNormalization node and its four initializers."""
    names = [f"{target}_{part}" for part in ("scale", "beta", "mean", "var")]
    arrays = [floats(channels, seed=seed + i) for i in range(4)]
    arrays[3] = np.abs(arrays[3]) + 0.1
    node = helper.make_node("BatchNormalization", [source, *names], [target], **attributes)
    return node, [initializer(name, array) for name, array in zip(names, arrays, strict=True)]


def layer(op: str, weight: np.ndarray, bias: np.ndarray | None, **attributes: object) -> tuple:
    tensors = [initializer("w", weight)] + ([] if bias is None else [initializer("b", bias)])
    return helper.make_node(op, ["x", *(t.name for t in tensors)], ["h"], name="layer", **attributes), tensors


def check(proto: onnx.ModelProto, shape: tuple[int, ...], expected: list[str]) -> Model:
    model = Model.from_proto(proto)
    before = model.to_bytes()
    folded, names = fold_batch_norm(model)
    assert names == expected
    assert model.to_bytes() == before
    x = floats(*shape, seed=99)
    want, got = Runner(model, threads=1).scores(x), Runner(folded, threads=1).scores(x)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5 * np.abs(want).max())
    onnx.checker.check_model(folded.to_proto())
    return folded


@pytest.mark.parametrize("bias", [None, 8])
@pytest.mark.parametrize(
    ("op", "shape", "attributes"),
    [
        ("Conv", (8, 6, 3, 3), {}),
        ("Conv", (8, 3, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
        ("ConvTranspose", (6, 8, 2, 2), {"strides": [2, 2]}),
        ("ConvTranspose", (6, 4, 2, 2), {"group": 2}),
    ],
)
@pytest.mark.parametrize("epsilon", [None, 0.1])
def test_convolutions(op: Any, shape: Any, attributes: Any, bias: Any, epsilon: Any) -> None:
    node, tensors = layer(op, floats(*shape), None if bias is None else floats(bias, seed=5), **attributes)
    bn, parameters = norm("h", "y", 8, 10, **({} if epsilon is None else {"epsilon": epsilon}))
    folded = check(model_of([node, bn], tensors + parameters, inputs=X), (2, 6, 9, 9), ["layer"])
    assert [node.op_type for node in folded.proto.graph.node] == [op]
    assert len(folded.weight_names) == 2


@pytest.mark.parametrize("attributes", [{}, {"transB": 1}, {"alpha": 0.5, "beta": 3.0}])
@pytest.mark.parametrize("bias", [None, (7,), (1, 7)])
def test_gemm(attributes: Any, bias: Any) -> None:
    weight = floats(7, 5) if attributes.get("transB") else floats(5, 7)
    node, tensors = layer("Gemm", weight, None if bias is None else floats(*bias, seed=4), **attributes)
    bn, parameters = norm("h", "y", 7, 20)
    check(model_of([node, bn], tensors + parameters, inputs={"x": ["n", 5]}), (3, 5), ["layer"])


def test_parameters_in_constants_and_a_chain_of_two_norms() -> None:
    first, parameters = norm("h", "m", 8, 10)
    second, more = norm("m", "y", 8, 30)
    constants = [constant(t.name, onnx.numpy_helper.to_array(t)) for t in parameters]
    conv = helper.make_node("Conv", ["x", "w"], ["h"])
    proto = model_of([constant("w", floats(8, 6, 1, 1)), *constants, conv, first, second], more, inputs=X)
    folded = check(proto, (1, 6, 9, 9), ["h", "m"])
    assert [node.op_type for node in folded.proto.graph.node] == ["Constant", "Conv"]
    assert folded.weight_names == ["m_bias", "w"]


def test_parameters_shared_with_a_norm_that_stays_are_kept() -> None:
    conv, tensors = layer("Conv", floats(6, 6, 1, 1), None)
    bn, parameters = norm("h", "m", 6, 10)
    other = helper.make_node("BatchNormalization", ["r", *bn.input[1:]], ["y"])
    nodes = [conv, bn, helper.make_node("Relu", ["m"], ["r"]), other]
    folded = check(model_of(nodes, tensors + parameters, inputs=X), (1, 6, 9, 9), ["layer"])
    assert set(folded.weight_names) == {"w", "m_bias", *bn.input[1:]}


def test_old_models_list_initializers_as_inputs() -> None:
    conv, tensors = layer("Conv", floats(8, 6, 1, 1), None)
    bn, parameters = norm("h", "y", 8, 10)
    proto = model_of([conv, bn], tensors + parameters, inputs=X, ir_version=3, opset=8)
    for tensor in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims))
    folded = check(proto, (1, 6, 9, 9), ["layer"])
    assert {item.name for item in folded.proto.graph.input} == {"x", "w", "y_bias"}


def test_parameters_through_identity_and_cast() -> None:
    """As exporters write equal parameters: one initializer, and an Identity of it for every further reader."""
    conv, tensors = layer("Conv", floats(8, 6, 1, 1), None)
    conv.input.append("b2")
    bn = helper.make_node("BatchNormalization", ["h", "s2", "b", "b3", "v2"], ["y"])
    nodes = [
        helper.make_node("Identity", ["b"], ["b2"]),
        helper.make_node("Identity", ["b2"], ["b3"]),
        helper.make_node("Identity", ["s"], ["s2"]),
        helper.make_node("Cast", ["v"], ["v2"], to=TensorProto.FLOAT),
        conv,
        bn,
    ]
    variance = (np.abs(floats(8, seed=8)) + 0.1).astype(np.float64)
    given = [
        initializer("b", floats(8, seed=5)),
        initializer("s", floats(8, seed=6)),
        initializer("v", variance),
    ]
    folded = check(model_of(nodes, tensors + given, inputs=X), (2, 6, 9, 9), ["layer"])
    assert [node.op_type for node in folded.proto.graph.node] == ["Conv"]
    assert folded.weight_names == ["w", "y_bias"]


@pytest.mark.parametrize("others", ["Add", "InstanceNormalization", "output", "branch", "conv"])
def test_a_bias_that_others_read_too_stays_theirs(others: Any) -> None:
    conv, tensors = layer("Conv", floats(8, 6, 1, 1), floats(8, seed=3))
    bn, parameters = norm("h", "m", 8, 10)
    outputs = None
    given = [*tensors, *parameters]
    if others == "Add":
        after = [
            helper.make_node("Unsqueeze", ["b", "places"], ["c"]),
            helper.make_node("Add", ["m", "c"], ["y"]),
        ]
        given.append(initializer("places", np.array([1, 2])))
    elif others == "InstanceNormalization":
        after = [helper.make_node(others, ["m", "b", "b"], ["y"])]
    elif others == "conv":
        after = [helper.make_node("Conv", ["x", "v", "b"], ["k"]), helper.make_node("Add", ["k", "m"], ["y"])]
        given.append(initializer("v", floats(8, 6, 1, 1, seed=9)))
    elif others == "output":
        after, outputs = [helper.make_node("Relu", ["m"], ["y"])], {"y": ["n", 8, 9, 9], "b": [8]}
    else:
        branches = [
            helper.make_graph(
                [helper.make_node("InstanceNormalization", ["m", "b", "b"], [name])],
                name,
                [],
                [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
            )
            for name in ("t", "e")
        ]
        after = [helper.make_node("If", ["yes"], ["y"], then_branch=branches[0], else_branch=branches[1])]
        given.append(initializer("yes", np.array(True)))
    folded = check(model_of([conv, bn, *after], given, inputs=X, outputs=outputs), (2, 6, 9, 9), ["layer"])
    assert {"b", "m_bias"} <= set(folded.weight_names)
    np.testing.assert_array_equal(folded.load("b"), floats(8, seed=3))


def test_a_scaled_bias_that_others_read_too() -> None:
    node, tensors = layer("Gemm", floats(5, 7), floats(7, seed=4), beta=3.0)
    bn, parameters = norm("h", "m", 7, 20)
    add = helper.make_node("Add", ["m", "b"], ["y"])
    check(model_of([node, bn, add], tensors + parameters, inputs={"x": ["n", 5]}), (3, 5), ["layer"])


@pytest.mark.parametrize("name", ["w", "b", "y_scale", "y_beta", "y_mean", "y_var"])
def test_parameters_that_may_be_given_instead_are_left_alone(name: Any) -> None:
    conv, tensors = layer("Conv", floats(8, 6, 1, 1), floats(8, seed=3))
    bn, parameters = norm("h", "y", 8, 10)
    shape = next(tensor.dims for tensor in tensors + parameters if tensor.name == name)
    check(model_of([conv, bn], tensors + parameters, inputs={**X, name: shape}), (2, 6, 9, 9), [])


def left_alone() -> dict[str, onnx.ModelProto]:
    conv, tensors = layer("Conv", floats(8, 6, 1, 1), floats(8, seed=3))
    bn, parameters = norm("h", "y", 8, 10)
    everything = tensors + parameters
    used_twice = helper.make_node("Add", ["h", "n"], ["y"])
    inner, _ = norm("h", "n", 8, 10)
    inner_parameters = norm("h", "n", 8, 10)[1]
    second = helper.make_node("Conv", ["x", "w"], ["other"])
    total = helper.make_node("Add", ["n", "other"], ["y"])
    negative = norm("h", "y", 8, 10)[1]
    negative[3] = initializer("y_var", np.full(8, -1, np.float32))
    huge = norm("h", "y", 8, 10)[1]
    huge[0] = initializer("y_scale", np.full(8, 3e38, np.float32))
    training = norm("h", "y", 8, 10, training_mode=1)[0]
    relu = helper.make_node("Relu", ["h"], ["r"])
    behind_relu = norm("r", "y", 8, 10)[0]
    computed = helper.make_node("Conv", ["x", "v", "b"], ["h"])
    return {
        "training": model_of([conv, training], everything, inputs=X),
        "output used twice": model_of([conv, inner, used_twice], tensors + inner_parameters, inputs=X),
        "output of the graph": model_of([conv, bn], everything, inputs=X, outputs={"y": None, "h": None}),
        "weights shared": model_of([conv, inner, second, total], tensors + inner_parameters, inputs=X),
        "negative variance": model_of([conv, bn], tensors + negative, inputs=X),
        "overflow": model_of([conv, bn], tensors + huge, inputs=X),
        "not behind a layer": model_of([conv, relu, behind_relu], everything, inputs=X),
        "computed weights": model_of(
            [helper.make_node("Neg", ["w"], ["v"]), computed, bn], everything, inputs=X
        ),
    }


@pytest.mark.parametrize("case", list(left_alone()))
def test_left_alone(case: Any) -> None:
    model = Model.from_proto(left_alone()[case])
    same, names = fold_batch_norm(model)
    assert names == []
    assert same is model


def test_half_precision_stays_half_precision() -> None:
    conv, tensors = layer("Conv", floats(8, 6, 1, 1), None)
    bn, parameters = norm("h", "y", 8, 10)
    halves = [
        initializer(t.name, onnx.numpy_helper.to_array(t).astype(np.float16)) for t in tensors + parameters
    ]
    folded, names = fold_batch_norm(Model.from_proto(model_of([conv, bn], halves, inputs=X)))
    assert names == ["layer"]
    assert {folded.load(name).dtype for name in folded.weight_names} == {np.dtype(np.float16)}
