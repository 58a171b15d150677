"""Branches that all samples take are put in the place of the If, and weights of subgraphs move out of them."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import GraphProto, TensorProto, helper, numpy_helper

from enxuto.calibration.calibrate import calibrate
from enxuto.calibration.straight_model import straighten
from enxuto.calibration.untaken import untaken_weights
from enxuto.compression.at_price import compress_at
from enxuto.compression.data_free import compress
from enxuto.compression.promise import StepsReport
from enxuto.data.samples import Samples
from enxuto.onnx_model import Model, hoist_weights, output_ending
from enxuto.runtime import Runner

node = helper.make_node
RANDOM = np.random.default_rng(0)
SAMPLES = RANDOM.standard_normal((24, 6)).astype(np.float32)


def value(name: str, kind: int = TensorProto.FLOAT) -> object:
    return helper.make_tensor_value_info(name, kind, None)


def branch(name: str, source: str, seed: int, inner: GraphProto | None = None) -> GraphProto:
    """x·w with the weight as a Constant node and a bias as an initializer, both of the same names in every branch."""
    generator = np.random.default_rng(seed)
    weight = numpy_helper.from_array(generator.standard_normal((6, 8)).astype(np.float32), "")
    bias = numpy_helper.from_array(generator.standard_normal(8).astype(np.float32), "b")
    nodes = [node("Constant", [], ["w"], value=weight), node("MatMul", [source, "w"], ["m"])]
    nodes.append(node("Add", ["m", "b"], ["o"]))
    if inner is not None:
        nodes += [node("If", ["yes"], ["o2"], then_branch=inner, else_branch=plain("o"))]
    nodes.append(node("Sigmoid", ["o2" if inner is not None else "o"], [name]))
    return helper.make_graph(nodes, name, [], [value(name)], [bias])


def plain(reads: str) -> GraphProto:
    return helper.make_graph([node("Identity", [reads], ["same"])], "plain", [], [value("same")])


def scaled() -> GraphProto:
    """Reads a value of the branch around it, and has a weight of the same name as that."""
    weight = numpy_helper.from_array(np.diag(np.arange(1, 9)).astype(np.float32), "w")
    return helper.make_graph(
        [node("MatMul", ["o", "w"], ["turned"])], "scaled", [], [value("turned")], [weight]
    )


def model_of(condition: list[object], *, loop: bool = False) -> Model:
    """Two branches, a branch within the first; the last layer in the main graph, or in a loop's body."""
    last = numpy_helper.from_array(RANDOM.standard_normal((8, 5)).astype(np.float32), "last")
    nodes = [
        *condition,
        node("If", ["c"], ["i"], then_branch=branch("p", "x", 1, scaled()), else_branch=branch("q", "x", 2)),
    ]
    held = [numpy_helper.from_array(np.array(True), "yes"), numpy_helper.from_array(np.float32(0), "zero")]
    if loop:
        body = helper.make_graph(
            [node("Identity", ["go"], ["go2"]), node("MatMul", ["i", "last"], ["turn"])],
            "body",
            [helper.make_tensor_value_info(n, t, []) for n, t in (("number", 7), ("go", 9))],
            [value("go2", TensorProto.BOOL), value("turn")],
            [last],
        )
        held.append(numpy_helper.from_array(np.array(2, np.int64), "rounds"))
        nodes += [
            node("Loop", ["rounds", "yes"], ["all"], body=body),
            node("ReduceMean", ["all"], ["y"], axes=[0], keepdims=0),
        ]
    else:
        held.append(last)
        nodes.append(node("MatMul", ["i", "last"], ["y"]))
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", 1, ["n", 6])], [value("y")], held
    )
    return Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    )


CONSTANT = [node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(True)))]
BY_SHAPE = [
    node("Shape", ["x"], ["shape"]),
    node("Constant", [], ["second"], value=numpy_helper.from_array(np.array(1, np.int64))),
    node("Gather", ["shape", "second"], ["width"]),
    node("Constant", [], ["seven"], value=numpy_helper.from_array(np.array(7, np.int64))),
    node("Less", ["width", "seven"], ["c"]),
]
BY_VALUES = [node("ReduceMax", ["x"], ["top"], keepdims=0), node("Less", ["zero", "top"], ["c"])]


def run(model: Model, x: np.ndarray) -> np.ndarray:
    return Runner(model, threads=1).run({"x": x}, ["y"])[0]


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("condition", [CONSTANT, BY_SHAPE, BY_VALUES], ids=["constant", "shape", "values"])
def test_the_straight_model_gives_the_same(condition: list[object], loop: bool) -> None:
    model = model_of(condition, loop=loop)
    for changed in (hoist_weights(model), straighten(model, Samples({"x": SAMPLES}).groups(), threads=1)):
        np.testing.assert_allclose(run(changed, SAMPLES), run(model, SAMPLES), rtol=1e-6)
        for name in changed.weight_names:
            if name in model:
                np.testing.assert_array_equal(changed.load(name), model.load(name))
        assert [n for n in model.weight_names if model.info(n).elements > 8 and n not in changed] in (
            [],
            [n for n in model.weight_names if n.startswith("i.else_branch/w")],
        )


def test_a_branch_that_samples_take_or_not_stays() -> None:
    """Groups of one sample each answer the condition for themselves."""
    model = model_of(BY_VALUES)
    split = np.concatenate([np.abs(SAMPLES[:3]), -np.abs(SAMPLES[:3])])
    straight = straighten(model, Samples({"x": split}, stacked=False).groups(), threads=1)
    assert any(one.op_type == "If" for one in straight.proto.graph.node)
    for row in split:
        np.testing.assert_allclose(run(straight, row[None]), run(model, row[None]), rtol=1e-6)


def test_weights_of_branches_and_loops_are_calibrated() -> None:
    """Layers of the branch that is taken get gradients; a loop's weights steps by the price; the others follow them."""
    model = model_of(BY_SHAPE, loop=True)
    calibration = calibrate(model, SAMPLES, threads=1)
    assert {layer.weight for layer in calibration.layers} >= {"i.then_branch/w"}
    measured = {name for name, lost in calibration.others.items() if lost > 0}
    unknown = {name for name, lost in calibration.others.items() if lost == 0}
    assert any(name.endswith("last") for name in measured)
    assert "i.else_branch/w" in unknown
    sizes = []
    for price in (1e-7, 1e-5, 1e-3):
        outcome = compress_at(calibration, price)
        methods = {layer.name: layer.method for layer in outcome.layers}
        assert methods["i.then_branch/w"] in ("calibrated", "nearest")
        assert methods["i.else_branch/w"] == "default"
        sizes.append({layer.name: layer.bytes for layer in outcome.layers})
        if price == 1e-7:
            found = run(outcome.model.to_model(), SAMPLES)
            np.testing.assert_allclose(found, run(model, SAMPLES), atol=0.05)
    for name in ("i.then_branch/w", "i.else_branch/w"):
        assert sizes[0][name] > sizes[1][name] > sizes[2][name]


@pytest.mark.parametrize("condition", [CONSTANT, BY_SHAPE, BY_VALUES], ids=["constant", "shape", "values"])
def test_weights_of_branches_not_taken_are_told_of(condition: list[object]) -> None:
    """Nothing tells what rounding them loses; where some samples take the branch, or there is none, nothing is said."""
    model = model_of(condition)
    (doubt,) = calibrate(model, SAMPLES, threads=1).doubts
    whole = sum(model.info(name).elements for name in model.weight_names if model.info(name).shape[1:])
    share = model.info("i.else_branch/w").elements / whole
    assert doubt.startswith(
        f"{100 * share:.0f} % of the weights, such as 'i.else_branch/w', are in branches that none"
    )
    told: list[StepsReport] = []
    compress(model, steps="checked", threads=1, tell=told.append)
    assert [one.untaken for one in told] == [doubt.removesuffix("; give samples that take all branches")]
    assert told[0].describe().endswith(told[0].untaken)
    straight = straighten(model, Samples({"x": SAMPLES}).groups(), threads=1)
    assert untaken_weights(straight, straight) is None
    assert untaken_weights(model, model) is None


def test_weights_of_functions_that_run_are_not_told_of() -> None:
    """They lie in no branch, though the main graph does not read them by name."""
    model = model_of(CONSTANT)
    proto = model.to_proto()
    weight = numpy_helper.from_array(RANDOM.standard_normal((5, 40)).astype(np.float32), "inner")
    body = [
        helper.make_node("Constant", [], ["w"], value=weight),
        helper.make_node("MatMul", ["a", "w"], ["b"]),
    ]
    proto.functions.append(
        helper.make_function("own", "Dense", ["a"], ["b"], body, [helper.make_opsetid("", 13)])
    )
    proto.opset_import.append(helper.make_opsetid("own", 1))
    proto.graph.node.append(helper.make_node("Dense", ["y"], ["z"], domain="own"))
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 40]))
    held = Model.from_proto(proto)
    straight = straighten(held, Samples({"x": SAMPLES}).groups(), threads=1)
    found = untaken_weights(held, straight)
    assert found is not None
    assert "'i.else_branch/w'" in found


def test_endings_are_seen_through_branches() -> None:
    model = model_of(BY_SHAPE)
    assert output_ending(model, "y").kind == "open"
    assert output_ending(model, "i").kind == "squashed"
