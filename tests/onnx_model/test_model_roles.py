"""Roles and output-channel axes on graphs made by hand, and on real networks where they are at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_graphs import constant, floats, initializer, model_of, with_branches

from enxuto.calibration.layers import linear_layers
from enxuto.errors import ModelError
from enxuto.onnx_model import Model, Role

NETWORKS = Path(__file__).resolve().parents[3] / "shared" / "models"


def role_of(node: Any, shape: Any, *, before: Any = (), constants: Any = ()) -> Any:
    """(role, axis) of a float weight `w` of `shape`, read by `node` or through the nodes `before`."""
    nodes = [*constants, *before, node]
    info = Model.from_proto(model_of(nodes, [initializer("w", floats(*shape))])).info("w")
    return info.role, info.axis


def node(op: Any, *inputs: Any, **attributes: Any) -> Any:
    return helper.make_node(op, list(inputs), ["y"], **attributes)


@pytest.mark.parametrize(
    ("reader", "shape", "role", "axis"),
    [
        (node("Conv", "x", "w"), (8, 3, 3, 3), Role.KERNEL, 0),
        (node("Conv", "x", "w"), (8, 1, 3, 3), Role.KERNEL, 0),
        (node("Conv", "x", "w", group=8), (8, 1, 3, 3), Role.DEPTHWISE, 0),
        (node("Conv", "x", "w", group=4), (8, 1, 5), Role.DEPTHWISE, 0),
        (node("Conv", "x", "w", group=2), (8, 4, 3, 3), Role.KERNEL, 0),
        (node("Conv", "x", "v", "w"), (8,), Role.BIAS, 0),
        (node("Conv", "w", "v"), (1, 3, 8, 8), Role.OTHER, None),
        (node("ConvTranspose", "x", "w"), (8, 3, 2, 2), Role.KERNEL, 1),
        (node("ConvTranspose", "x", "w", group=2), (8, 3, 2, 2), Role.KERNEL, 1),
        (node("ConvTranspose", "x", "w", group=2), (8, 1, 2, 2), Role.KERNEL, None),
        (node("ConvTranspose", "x", "w", group=8), (8, 1, 2, 2), Role.DEPTHWISE, 0),
        (node("Gemm", "x", "w"), (5, 7), Role.MATRIX, 1),
        (node("Gemm", "x", "w", transB=1), (7, 5), Role.MATRIX, 0),
        (node("Gemm", "w", "x"), (5, 7), Role.MATRIX, 0),
        (node("Gemm", "x", "v", "w"), (7,), Role.BIAS, 0),
        (node("Gemm", "x", "v", "w"), (1, 7), Role.BIAS, 1),
        (node("MatMul", "x", "w"), (2, 5, 7), Role.MATRIX, 2),
        (node("MatMul", "w", "x"), (7, 5), Role.MATRIX, 0),
        (node("MatMul", "x", "w"), (7,), Role.MATRIX, None),
        (node("LSTM", "x", "w", "r"), (1, 16, 3), Role.MATRIX, 1),
        (node("GRU", "x", "v", "w"), (1, 12, 4), Role.MATRIX, 1),
        (node("RNN", "x", "v", "r", "w"), (1, 8), Role.BIAS, 1),
        (node("Gather", "w", "x"), (100, 8), Role.OTHER, None),
        (node("Gather", "w", "x"), (100,), Role.OTHER, None),
        (node("Add", "x", "w"), (8,), Role.BIAS, 0),
        (node("Add", "w", "x"), (1, 8, 1, 1), Role.BIAS, 1),
        (node("Add", "w", "x"), (1, 197, 768), Role.OTHER, None),
        (node("Add", "w", "x"), (), Role.OTHER, None),
        (node("Mul", "x", "w"), (8, 1, 1), Role.NORM, 0),
        (node("Div", "x", "w"), (1, 3, 1, 1), Role.NORM, 1),
        (node("Sub", "x", "w"), (3,), Role.NORM, 0),
        (node("BatchNormalization", "x", "a", "b", "c", "w"), (8,), Role.NORM, 0),
        (node("InstanceNormalization", "x", "w", "b"), (8,), Role.NORM, 0),
        (node("LayerNormalization", "x", "a", "w"), (8, 8), Role.NORM, None),
        (node("Mystery", "x", "w", domain="com.example"), (8, 3, 3, 3), Role.OTHER, None),
        (node("Conv", "x", "w", domain="com.example"), (8, 3, 3, 3), Role.OTHER, None),
        (node("FusedConv", "x", "w", domain="com.microsoft"), (8, 3, 3, 3), Role.KERNEL, 0),
        (node("NhwcFusedConv", "x", "w", domain="com.microsoft"), (8, 3, 3, 3), Role.KERNEL, 0),
        (node("FusedMatMul", "x", "w", domain="com.microsoft"), (5, 7), Role.MATRIX, 1),
        (node("FusedMatMul", "x", "w", domain="com.microsoft", transB=1), (7, 5), Role.MATRIX, 0),
        (node("FusedMatMul", "w", "x", domain="com.microsoft", transA=1), (5, 7), Role.MATRIX, 1),
        (node("Attention", "x", "w", "b", domain="com.microsoft", num_heads=2), (8, 24), Role.MATRIX, 1),
        (node("Attention", "x", "v", "w", domain="com.microsoft", num_heads=2), (24,), Role.BIAS, 0),
        (node("Attention", "x", "w", "v"), (2, 8, 24), Role.OTHER, None),
        (node("EmbedLayerNormalization", "x", "", "w", domain="com.microsoft"), (100, 8), Role.MATRIX, None),
        (node("SkipLayerNormalization", "x", "x", "w", domain="com.microsoft"), (8,), Role.NORM, 0),
        (node("BiasGelu", "x", "w", domain="com.microsoft"), (8,), Role.BIAS, 0),
        (node("FusedMatMul", "x", "w", domain="ai.example"), (5, 7), Role.OTHER, None),
        (node("Clip", "x", "w"), (), Role.OTHER, None),
    ],
    ids=lambda value: value.op_type if hasattr(value, "op_type") else str(value),
)
def test_direct_readers(reader: Any, shape: Any, role: Any, axis: Any) -> None:
    assert role_of(reader, shape) == (role, axis)


@pytest.mark.parametrize(
    ("before", "constants", "shape", "axis"),
    [
        ([helper.make_node("Transpose", ["w"], ["t"], perm=[3, 2, 0, 1])], [], (3, 3, 4, 8), 3),
        (
            [helper.make_node("Identity", ["w"], ["i"]), helper.make_node("Cast", ["i"], ["t"], to=1)],
            [],
            (8, 4, 3, 3),
            0,
        ),
        (
            [helper.make_node("Reshape", ["w", "s"], ["t"])],
            [constant("s", np.array([8, 4, 3, -1]))],
            (8, 36),
            0,
        ),
        (
            [helper.make_node("Reshape", ["w", "s"], ["t"])],
            [constant("s", np.array([8, 4, 3, 3]))],
            (2, 4, 4, 3, 3),
            None,
        ),
        (
            [helper.make_node("Unsqueeze", ["w", "s"], ["t"])],
            [constant("s", np.array([1, -1]))],
            (8, 3),
            0,
        ),
        (
            [helper.make_node("Squeeze", ["w", "s"], ["t"])],
            [constant("s", np.array([0]))],
            (1, 8, 4, 3, 3),
            1,
        ),
        ([helper.make_node("Squeeze", ["w"], ["t"])], [], (1, 8, 4, 3, 3), 1),
        ([helper.make_node("DequantizeLinear", ["w", "scale"], ["t"])], [], (8, 4, 3, 3), 0),
    ],
)
def test_followed_through_what_only_moves_data(before: Any, constants: Any, shape: Any, axis: Any) -> None:
    assert role_of(node("Conv", "x", "t"), shape, before=before, constants=constants) == (Role.KERNEL, axis)


def test_a_transposed_matrix_has_its_axis_mapped_back() -> None:
    before = [helper.make_node("Transpose", ["w"], ["t"])]
    assert role_of(node("MatMul", "x", "t"), (7, 5), before=before) == (Role.MATRIX, 0)


def test_integers_are_other_whatever_reads_them() -> None:
    weight = initializer("w", np.ones((4, 4), np.int8))
    model = Model.from_proto(
        model_of(
            [helper.make_node("DequantizeLinear", ["w", "s"], ["t"]), node("MatMul", "x", "t")],
            [weight, initializer("s", floats())],
        )
    )
    assert [model.info(name).role for name in ("w", "s")] == [Role.OTHER, Role.OTHER]


def test_of_several_readers_the_strongest_role_wins_and_axes_must_agree() -> None:
    shared = [initializer("w", floats(8, 8))]
    tied = [
        helper.make_node("Gather", ["w", "i"], ["e"]),
        helper.make_node("MatMul", ["e", "u"], ["f"]),
        node("MatMul", "x", "w"),
    ]
    info = Model.from_proto(model_of(tied, shared)).info("w")
    assert (info.role, info.axis) == (Role.MATRIX, None)
    both = [helper.make_node("Mul", ["x", "v"], ["h"]), helper.make_node("Conv", ["h", "k", "v"], ["y"])]
    info = Model.from_proto(model_of(both, [initializer("v", floats(8))])).info("v")
    assert (info.role, info.axis) == (Role.BIAS, 0)


def test_weights_are_seen_from_inside_branches_and_functions() -> None:
    proto = with_branches()
    then = next(item.g for item in proto.graph.node[0].attribute if item.name == "then_branch")
    then.node.insert(0, helper.make_node("MatMul", ["x", "outer"], ["m"]))
    proto.graph.initializer.append(initializer("outer", floats(4, 4)))
    layer = helper.make_function(
        "my",
        "layer",
        ["a", "k"],
        ["b"],
        [helper.make_node("Transpose", ["k"], ["kt"]), helper.make_node("MatMul", ["a", "kt"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    proto.functions.append(layer)
    proto.graph.node.append(helper.make_node("layer", ["y", "passed"], ["z"], domain="my"))
    proto.graph.initializer.append(initializer("passed", floats(6, 4)))
    model = Model.from_proto(proto)
    assert (model.info("outer").role, model.info("outer").axis) == (Role.MATRIX, 1)
    assert (model.info("passed").role, model.info("passed").axis) == (Role.MATRIX, 0)
    assert model.info("t.then_branch/w_").role == Role.NORM


def test_a_reshape_by_a_huge_or_computed_shape_is_not_followed() -> None:
    reshape = [helper.make_node("Reshape", ["w", "x"], ["t"])]
    assert role_of(node("Conv", "x", "t"), (8, 36), before=reshape) == (Role.OTHER, None)


def test_a_circle_of_identities_ends() -> None:
    nodes = [helper.make_node("Identity", ["b"], ["a"]), helper.make_node("Identity", ["a"], ["b"])]
    readers = [node("Conv", "x", "v", "b"), helper.make_node("Gather", ["w", "a"], ["g"])]
    given = [initializer("w", floats(3, 2)), initializer("v", floats(4, 4, 1, 1))]
    model = Model.from_proto(model_of([*nodes, *readers], given))
    assert model.info("w").role == Role.OTHER
    assert linear_layers(model)[0].bias is None
    nodes = [helper.make_node("Identity", ["w"], ["a"]), helper.make_node("Identity", ["a"], ["w"])]
    with pytest.raises(ModelError, match="'w' is defined as an initializer and an output"):
        Model.from_proto(model_of([*nodes, node("Relu", "x")], [initializer("w", floats(3))]))


EMBEDDED = helper.make_node("Gather", ["w", "x"], ["e"])


def made(op: Any, inputs: Any, output: Any, **attributes: Any) -> Any:
    return helper.make_node(op, inputs, [output], **attributes)


@pytest.mark.parametrize(
    ("nodes", "role"),
    [
        # Embeddings: rows go into a layer, whatever is added to them or done with them on the way.
        ([made("MatMul", ["e", "m"], "y")], Role.MATRIX),
        (
            [
                made("Add", ["e", "m"], "a"),
                made("LayerNormalization", ["a", "s"], "b"),
                made("Gemm", ["b", "m"], "y"),
            ],
            Role.MATRIX,
        ),
        (
            [
                made("ReduceMean", ["e"], "a"),
                made("Concat", ["a", "m"], "b", axis=1),
                made("Gemm", ["b", "m"], "y"),
            ],
            Role.MATRIX,
        ),
        ([made("LSTM", ["e", "m", "s"], "y")], Role.MATRIX),
        ([made("Transpose", ["e"], "a"), made("Conv", ["a", "m"], "y")], Role.MATRIX),
        ([made("MatMul", ["x", "e"], "y")], Role.MATRIX),
        (
            [made("Cast", ["e"], "a", to=10), made("Einsum", ["a", "m"], "y", equation="ij,jk->ik")],
            Role.MATRIX,
        ),
        # A factorisation: what is multiplied and summed up is a product of matrices.
        ([made("Mul", ["e", "m"], "a"), made("ReduceSum", ["a"], "y")], Role.MATRIX),
        # Anchors, grids, tables of indices: moved, added, scaled, compared, given out.
        ([made("Mul", ["e", "m"], "a"), made("Add", ["a", "s"], "y")], Role.OTHER),
        ([made("Add", ["e", "m"], "a"), made("Concat", ["a", "e"], "y", axis=1)], Role.OTHER),
        ([made("Add", ["e", "m"], "a"), made("NonMaxSuppression", ["a", "s"], "y")], Role.OTHER),
        ([made("RoiAlign", ["m", "e", "s"], "a"), made("Conv", ["a", "m"], "y")], Role.OTHER),
        ([made("GridSample", ["m", "e"], "a"), made("Conv", ["a", "m"], "y")], Role.OTHER),
        (
            [
                made("Cast", ["e"], "a", to=7),
                made("Gather", ["m", "a"], "b"),
                made("MatMul", ["b", "m"], "y"),
            ],
            Role.OTHER,
        ),
        (
            [
                made("Greater", ["e", "s"], "a"),
                made("Where", ["a", "m", "x"], "b"),
                made("MatMul", ["b", "m"], "y"),
            ],
            Role.OTHER,
        ),
        ([made("Identity", ["e"], "y")], Role.OTHER),
    ],
)
def test_a_table_is_a_matrix_where_its_rows_are_features(nodes: Any, role: Any) -> None:
    inputs = {"x": ["n"], "m": None, "s": None}
    proto = model_of([EMBEDDED, *nodes], [initializer("w", floats(100, 8))], inputs=inputs)
    assert Model.from_proto(proto).info("w").role == role


def test_features_are_followed_into_branches_and_functions() -> None:
    inner = helper.make_graph(
        [made("MatMul", ["e", "m"], "t")], "t", [], [helper.make_tensor_value_info("t", 1, None)]
    )
    other = helper.make_graph(
        [made("Identity", ["m"], "f")], "f", [], [helper.make_tensor_value_info("f", 1, None)]
    )
    branch = made("If", ["yes"], "y", then_branch=inner, else_branch=other)
    given = [initializer("w", floats(100, 8)), initializer("yes", np.array(True))]
    inputs = {"x": ["n"], "m": None}
    assert Model.from_proto(model_of([EMBEDDED, branch], given, inputs=inputs)).info("w").role == Role.MATRIX
    layer = helper.make_function(
        "my", "Layer", ["a"], ["b"], [made("MatMul", ["a", "a"], "b")], [helper.make_opsetid("", 17)]
    )
    proto = model_of([EMBEDDED, made("Layer", ["e"], "y", domain="my")], given[:1], inputs=inputs)
    assert Model.from_proto(proto).info("w").role == Role.OTHER, "a function that is not there"
    proto.functions.append(layer)
    assert Model.from_proto(proto).info("w").role == Role.MATRIX


@pytest.mark.parametrize(
    ("equation", "role"),
    [
        ("ij,jk->ik", Role.MATRIX),
        ("...j,jk", Role.MATRIX),
        ("nij,ij->nij", Role.OTHER),
        ("ij,ij", Role.MATRIX),
    ],
)
def test_a_factor_of_an_einsum_is_a_matrix_where_it_is_summed(equation: Any, role: Any) -> None:
    assert role_of(node("Einsum", "x", "w", equation=equation), (4, 8))[0] == role


def test_operands_of_elementwise_operators_are_told_from_parameters() -> None:
    names = {"w": True, "b": False, "s": False}
    nodes = [made("Conv", ["x", "v", "b"], "c"), made("Add", ["c", "w"], "d"), made("Add", ["d", "b"], "e")]
    nodes.append(made("BatchNormalization", ["e", "s", "s", "s", "s"], "y"))
    given = [initializer(name, floats(8)) for name in names] + [initializer("v", floats(8, 4, 1, 1))]
    model = Model.from_proto(model_of(nodes, given))
    assert {name: model.info(name).operand for name in names} == names


def test_half_precision_weights_have_roles() -> None:
    tensor = helper.make_tensor("w", TensorProto.BFLOAT16, [2, 2], [1.0, 2.0, 3.0, 4.0])
    assert Model.from_proto(model_of([node("MatMul", "x", "w")], [tensor])).info("w").role == Role.MATRIX


@pytest.mark.acceptance
@pytest.mark.skipif(not NETWORKS.is_dir(), reason="the real networks are not on this machine")
@pytest.mark.parametrize(
    ("name", "kernels", "depthwise"),
    [("resnet20-cifar10", 19, 0), ("resnet56-cifar10", 55, 0), ("efficientnet-lite0", 33, 16)],
)
def test_real_networks(name: Any, kernels: Any, depthwise: Any) -> None:
    infos = list(Model.read(NETWORKS / f"{name}.onnx").infos())
    found = {role: [info for info in infos if info.role == role] for role in Role}
    assert len(found[Role.KERNEL]) == kernels
    assert len(found[Role.DEPTHWISE]) == depthwise
    assert len(found[Role.MATRIX]) == 1
    assert len(found[Role.BIAS]) == kernels + depthwise + 1
    assert all(info.axis == 0 for role in Role if role != Role.OTHER for info in found[role])
    assert max(info.elements for info in found[Role.OTHER]) < 100
