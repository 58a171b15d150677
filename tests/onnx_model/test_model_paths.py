"""Weights on every path to every operator in every scope: they have a role, are quantized, and the decoded model runs.

The oracle asks ONNX Runtime, not the tracer: the outputs must change with the weight, so that it is no dead one, and a
file in which it is quantized must decode to a model that gives nearly the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
import pytest
from onnx import NodeProto, TensorProto, helper
from onnx_graphs import constant, initializer, model_of

from enxuto.compression.data_free import compress
from enxuto.compression.selection import DEFAULT_ROLES, quantizable_weights
from enxuto.enx.table import LevelsRow
from enxuto.onnx_model import Model, Role

RANDOM = np.random.default_rng(5)


class Operator(NamedTuple):
    """An operator that reads `v` of `shape` and x of `taken`; `nodes` give `y`."""

    shape: tuple[int, ...]
    taken: tuple[int, ...]
    nodes: list[NodeProto]
    role: Role


def made(op: str, inputs: list[str], *outputs: str, **attributes: Any) -> NodeProto:
    return helper.make_node(op, inputs, list(outputs), **attributes)


def recurrent(kind: str, gates: int, which: str) -> Operator:
    """A cell of 8 units over 6 features, whose input or recurrent matrix is the weight."""
    other = constant("o", 0.3 * RANDOM.standard_normal((1, gates * 8, 8 if which == "W" else 6)))
    other = cast_constant(other)
    inputs = ["x", "v", "o"] if which == "W" else ["x", "o", "v"]
    shape = (1, gates * 8, 6 if which == "W" else 8)
    return Operator(shape, (5, 1, 6), [other, made(kind, inputs, "y", hidden_size=8)], Role.MATRIX)


def cast_constant(node: NodeProto) -> NodeProto:
    """The same Constant in float32."""
    array = np.frombuffer(node.attribute[0].t.raw_data, np.float64).astype(np.float32)
    return constant(node.output[0], array.reshape(tuple(node.attribute[0].t.dims)))


def floats(name: str, *shape: int) -> NodeProto:
    return constant(name, RANDOM.standard_normal(shape).astype(np.float32))


OPERATORS = {
    "conv": Operator((8, 4, 3, 3), (1, 4, 6, 6), [made("Conv", ["x", "v"], "y")], Role.KERNEL),
    "conv-1d": Operator((8, 4, 3), (1, 4, 9), [made("Conv", ["x", "v"], "y")], Role.KERNEL),
    "grouped": Operator((8, 4, 3, 3), (1, 8, 6, 6), [made("Conv", ["x", "v"], "y", group=2)], Role.KERNEL),
    "transposed": Operator((4, 8, 3, 3), (1, 4, 5, 5), [made("ConvTranspose", ["x", "v"], "y")], Role.KERNEL),
    "matmul": Operator((16, 6), (3, 16), [made("MatMul", ["x", "v"], "y")], Role.MATRIX),
    "matmul-left": Operator((16, 6), (6, 3), [made("MatMul", ["v", "x"], "y")], Role.MATRIX),
    "matmul-batched": Operator((2, 8, 6), (2, 3, 8), [made("MatMul", ["x", "v"], "y")], Role.MATRIX),
    "gemm": Operator((16, 6), (3, 16), [made("Gemm", ["x", "v"], "y")], Role.MATRIX),
    "einsum": Operator(
        (16, 6), (3, 16), [made("Einsum", ["x", "v"], "y", equation="ij,jk->ik")], Role.MATRIX
    ),
    "lstm-input": recurrent("LSTM", 4, "W"),
    "lstm-state": recurrent("LSTM", 4, "R"),
    "gru-input": recurrent("GRU", 3, "W"),
    "rnn-state": recurrent("RNN", 1, "R"),
    "table": Operator(
        (16, 6),
        (3, 6),
        [
            constant("i", np.array([0, 3, 5])),
            made("Gather", ["v", "i"], "e"),
            made("Transpose", ["e"], "f"),
            made("MatMul", ["x", "f"], "y"),
        ],
        Role.MATRIX,
    ),
}


def doubled(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return tuple(size * (2 if place == axis else 1) for place, size in enumerate(shape))


def halved(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], shape[1] // 2, *shape[2:])


Path = Callable[[tuple[int, ...]], tuple[tuple[int, ...], list[NodeProto]]]
PATHS: dict[str, Path] = {
    "direct": lambda shape: (shape, [made("Identity", ["w"], "v")]),
    "cast": lambda shape: (shape, [made("Cast", ["w"], "c", to=10), made("Cast", ["c"], "v", to=1)]),
    "transpose": lambda shape: (shape[::-1], [made("Transpose", ["w"], "v")]),
    "reshape": lambda shape: (
        (shape[0] * shape[1], *shape[2:]),
        [constant("s", np.array(shape)), made("Reshape", ["w", "s"], "v")],
    ),
    "unsqueeze": lambda shape: (
        shape,
        [
            constant("s", np.array([0])),
            made("Unsqueeze", ["w", "s"], "u"),
            made("Squeeze", ["u", "s"], "v"),
        ],
    ),
    "slice": lambda shape: (
        doubled(shape, 1),
        [
            constant("b", np.array([0])),
            constant("n", np.array([shape[1]])),
            constant("a", np.array([1])),
            made("Slice", ["w", "b", "n", "a"], "v"),
        ],
    ),
    "slices": lambda shape: (  # gates put in another order, as exporters of recurrent cells do, then reshaped
        shape,
        [
            constant("b", np.array([0])),
            constant("h", np.array([shape[1] // 2])),
            constant("n", np.array([shape[1]])),
            constant("a", np.array([1])),
            made("Slice", ["w", "b", "h", "a"], "p"),
            made("Slice", ["w", "h", "n", "a"], "q"),
            made("Concat", ["q", "p"], "r", axis=1),
            constant("s", np.array(shape)),
            made("Reshape", ["r", "s"], "v"),
        ],
    ),
    "concat": lambda shape: (
        halved(shape),
        [
            floats("d", *halved(shape)),
            made("Concat", ["d", "w"], "k", axis=1),
            constant("s", np.array(shape)),
            made("Reshape", ["k", "s"], "v"),
        ],
    ),
    "split": lambda shape: (doubled(shape, 1), [made("Split", ["w"], "g", "v", axis=1)]),
    "scaled": lambda shape: (shape, [floats("d", 1), made("Mul", ["w", "d"], "v")]),
    "padded": lambda shape: (
        halved(shape),
        [
            constant("s", np.array([0, shape[1] // 2] + [0] * (2 * len(shape) - 2))),
            made("Pad", ["w", "s"], "v"),
        ],
    ),
}


def value(name: str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def branches(name: str, nodes: list[NodeProto], result: str, given: list[TensorProto]) -> list[NodeProto]:
    """An If whose branches both end in `result` of those nodes; weights inside lie in the first branch."""
    first = helper.make_graph(nodes, "then", [], [value(result)], given)
    again = [
        made("Identity", [item.name], f"{item.name}_kept") for item in given
    ]  # the other branch has its own weights
    second = helper.make_graph(
        [*again, *nodes],
        "else",
        [],
        [value(result)],
        [TensorProto.FromString(t.SerializeToString()) for t in given],
    )
    yes = constant("yes", np.array(True))
    return [yes, made("If", ["yes"], name, then_branch=first, else_branch=second)]


def in_main(weight: TensorProto, path: list[NodeProto], nodes: list[NodeProto]) -> Any:
    return [*path, *nodes], [weight], [], "w"


def in_branch(weight: TensorProto, path: list[NodeProto], nodes: list[NodeProto]) -> Any:
    return branches("y", [*path, *renamed(nodes)], "t", [weight]), [], [], "y.then_branch/w"


def around_branch(weight: TensorProto, path: list[NodeProto], nodes: list[NodeProto]) -> Any:
    return [*path, *branches("y", renamed(nodes), "t", [])], [weight], [], "w"


def out_of_branch(weight: TensorProto, path: list[NodeProto], nodes: list[NodeProto]) -> Any:
    inner = [NodeProto.FromString(node.SerializeToString()) for node in path]
    for node in inner:
        node.output[:] = ["t" if name == "v" else name for name in node.output]
    return [*branches("v", inner, "t", []), *nodes], [weight], [], "w"


def in_loop(weight: TensorProto, path: list[NodeProto], nodes: list[NodeProto]) -> Any:
    truth = helper.make_tensor_value_info("on", TensorProto.BOOL, [])
    turn = helper.make_tensor_value_info("turn", TensorProto.INT64, [])
    body = helper.make_graph(
        [*path, *renamed(nodes), made("Identity", ["on"], "still")],
        "body",
        [turn, truth],
        [helper.make_tensor_value_info("still", TensorProto.BOOL, []), value("t")],
        [weight],
    )
    count, yes = constant("count", np.array(2)), constant("yes", np.array(True))
    return [count, yes, made("Loop", ["count", "yes"], "y", body=body)], [], [], "y.body/w"


def in_function(weight: TensorProto, path: list[NodeProto], nodes: list[NodeProto]) -> Any:
    function = helper.make_function(
        "my", "layer", ["x", "w"], ["y"], [*path, *nodes], [helper.make_opsetid("", 17)]
    )
    return [made("layer", ["x", "w"], "y", domain="my")], [weight], [function], "w"


def renamed(nodes: list[NodeProto]) -> list[NodeProto]:
    """The same nodes with the result `t` in place of `y`, which is the name outside."""
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    for node in copies:
        node.output[:] = ["t" if name == "y" else name for name in node.output]
    return copies


SCOPES = {
    "main": in_main,
    "in-branch": in_branch,
    "around-branch": around_branch,
    "out-of-branch": out_of_branch,
    "loop": in_loop,
    "function": in_function,
}


def build(operator: Operator, path: Path, scope: Callable[..., Any]) -> tuple[Model, str]:
    """A model of one weight `w` on that path, and what the weight is called."""
    shape, before = path(operator.shape)
    weight = initializer("w", (0.4 * RANDOM.standard_normal(shape)).astype(np.float32))
    nodes, given, functions, name = scope(weight, before, operator.nodes)
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, operator.taken)
    graph = helper.make_graph(nodes, "g", [taken], [value("y")], given)
    proto = helper.make_model(
        graph,
        functions=functions,
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("my", 1)],
        ir_version=8,
    )
    return Model.from_proto(proto), name


def run(model: Model, x: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model.to_bytes(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["y"], {"x": x})[0])


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("operator", OPERATORS)
def test_a_weight_has_its_role_on_every_path(operator: str, scope: str) -> None:
    found = OPERATORS[operator]
    x = RANDOM.standard_normal(found.taken).astype(np.float32)
    for path, steps in PATHS.items():
        model, name = build(found, steps, SCOPES[scope])
        assert model.info(name).role == found.role, path
        assert name in quantizable_weights(model, DEFAULT_ROLES), path
        if scope in ("main", "in-branch"):  # in the others it is the same, and sessions take their time
            doubled_weight = model.replace_weights({name: 2 * model.load(name)})
            assert not np.array_equal(run(doubled_weight, x), run(model, x)), path


@pytest.mark.parametrize(("number", "path"), list(enumerate(PATHS)))
def test_a_weight_is_quantized_and_its_model_runs(number: int, path: str) -> None:
    for shift, scope in enumerate(SCOPES):
        found = list(OPERATORS.values())[(number * len(SCOPES) + shift) % len(OPERATORS)]
        model, name = build(found, PATHS[path], SCOPES[scope])
        x = RANDOM.standard_normal(found.taken).astype(np.float32)
        before = run(model, x)
        compressed = compress(model, threads=1, fold_bn=False)
        assert name in {e.name for e, payload in compressed.entries() if isinstance(payload.row, LevelsRow)}
        for file in (
            compressed,
            compress(model, threads=1),
        ):  # by default, what the graph computes of it is quantized
            noise = run(file.to_model(threads=1), x) - before
            assert 0 < np.mean(noise**2) < 1e-2 * np.mean(before**2), scope


@pytest.mark.parametrize(
    "nodes",
    [
        [made("Concat", ["w", "x"], "v", axis=0)],
        [made("Mul", ["w", "x"], "v")],
        [constant("s", np.array([2])), made("Resize", ["w", "", "", "s"], "v")],
    ],
)
def test_what_is_joined_with_an_input_is_no_weight_of_the_layer_behind(nodes: list[NodeProto]) -> None:
    layer = [floats("m", 4, 4), made("MatMul", ["v", "m"], "y")]
    proto = model_of([*nodes, *layer], [initializer("w", np.ones((4, 4), np.float32))])
    assert Model.from_proto(proto).info("w").role == Role.OTHER


@pytest.mark.parametrize(("handed_on", "role"), [("s", Role.MATRIX), ("next", Role.OTHER)])
def test_a_state_of_a_loop_is_a_weight_only_if_no_round_changes_it(handed_on: str, role: Role) -> None:
    body = helper.make_graph(
        [
            made("MatMul", ["x", "s"], "t"),
            made("Tanh", ["s"], "next"),
            made("Identity", [handed_on], "s_out"),
            made("Identity", ["on"], "still"),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            value("s"),
        ],
        [helper.make_tensor_value_info("still", TensorProto.BOOL, []), value("s_out"), value("t")],
    )
    given = [initializer("w", np.ones((4, 8), np.float32)), initializer("n", np.array(2))]
    proto = model_of([made("Loop", ["n", "", "w"], "last", "y", body=body)], given)
    assert Model.from_proto(proto).info("w").role == role


def test_scan_hands_its_body_slices_without_the_axis() -> None:
    body = helper.make_graph(
        [made("MatMul", ["h", "slice"], "h_out")], "body", [value("h"), value("slice")], [value("h_out")]
    )
    nodes = [made("Scan", ["x", "w"], "y", body=body, num_scan_inputs=1)]
    model = Model.from_proto(model_of(nodes, [initializer("w", np.ones((3, 4, 4), np.float32))]))
    assert (model.info("w").role, model.info("w").axis) == (Role.MATRIX, 2)
