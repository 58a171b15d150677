"""Samples of many shapes, such as graphs of any size: what is made for each shape, what is kept, and what is told."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from enxuto.calibration import answers, moments, partial_runs
from enxuto.calibration.calibrate import calibrate
from enxuto.calibration.calibration import Calibration
from enxuto.calibration.gradients.backward import Backward
from enxuto.calibration.layers import calibrated_layers
from enxuto.calibration.partial_runs import PartialRuns
from enxuto.data.samples import Samples
from enxuto.onnx_model import Model
from enxuto.runtime import Runner

GRAPHS, WIDTH = 6, 8
LAYERS = 3
SIZES = 2  # at which the layers of a model of values are measured


def graph_network(reduction: str = "add") -> Model:
    """Messages of nodes to their neighbours, summed twice; a prediction for every node."""
    node = helper.make_node
    random = np.random.default_rng(0)
    nodes = [
        node("Gather", ["x", "from"], ["sent 0"]),
        node("MatMul", ["sent 0", "w0"], ["m0"]),
        node("Tanh", ["m0"], ["t0"]),
        node("ScatterElements", ["zeros", "where", "t0"], ["sum 0"], axis=0, reduction=reduction),
        node("Gather", ["sum 0", "from"], ["sent 1"]),
        node("MatMul", ["sent 1", "w1"], ["m1"]),
        node("ScatterElements", ["sum 0", "where", "m1"], ["sum 1"], axis=0, reduction=reduction),
        node("Tanh", ["sum 1"], ["t1"]),
        node("MatMul", ["t1", "w2"], ["y"]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["nodes", WIDTH]),
        helper.make_tensor_value_info("zeros", TensorProto.FLOAT, ["nodes", WIDTH]),
        helper.make_tensor_value_info("from", TensorProto.INT64, ["edges"]),
        helper.make_tensor_value_info("where", TensorProto.INT64, ["edges", WIDTH]),
    ]
    weights = {f"w{i}": random.standard_normal((WIDTH, WIDTH)).astype(np.float32) for i in range(LAYERS)}
    graph = helper.make_graph(
        nodes,
        "graph",
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["nodes", WIDTH])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    )


def graphs() -> Samples:
    """Graphs of other numbers of nodes and edges each; the last two are as large as the first two."""
    random = np.random.default_rng(1)
    found: dict[str, list[np.ndarray]] = {"x": [], "zeros": [], "from": [], "where": []}
    for number in range(GRAPHS):
        count = 20 + number % (GRAPHS - 2)
        found["x"].append(random.standard_normal((count, WIDTH)).astype(np.float32))
        found["zeros"].append(np.zeros((count, WIDTH), np.float32))
        found["from"].append(random.integers(0, count, 3 * count))
        found["where"].append(np.repeat(random.integers(0, count, (3 * count, 1)), WIDTH, axis=1))
    return Samples(found, "graphs")


def watched(monkeypatch: pytest.MonkeyPatch, kind: type, name: str) -> list[Any]:
    """Return a list that grows by the object at every call of a method."""
    calls: list[Any] = []
    original = getattr(kind, name)

    def call(self: Any, *arguments: Any, **settings: Any) -> Any:
        calls.append(weakref.ref(self))
        return original(self, *arguments, **settings)

    monkeypatch.setattr(kind, name, call)
    return calls


def test_a_layer_is_measured_by_one_session_for_all_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = graph_network()
    runs = watched(monkeypatch, PartialRuns, "_run_tail")
    sessions: list[None] = []

    class Counted(Runner):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            sessions.append(None)
            super().__init__(*arguments, **settings)

    monkeypatch.setattr(partial_runs, "Runner", Counted)
    calibration = calibrate(model, graphs(), threads=1)
    assert calibration.reason is None
    assert len(calibration.layers) == len(calibrated_layers(model)) == LAYERS
    assert len(runs) == SIZES * LAYERS, "gradients say where to measure, so that none is searched"
    # One from each layer on at each size, one up to each layer, and one to the mean of each.
    assert len(sessions) <= (SIZES + 2) * LAYERS


def same(one: Calibration, other: Calibration) -> bool:
    return all(
        found.sensitivity == other.curvatures[name].sensitivity
        and all(map(np.array_equal, found.outputs, other.curvatures[name].outputs))
        and all(map(np.array_equal, found.inputs, other.curvatures[name].inputs))
        for name, found in one.curvatures.items()
    )


def test_graphs_of_gradients_that_are_dropped_and_made_again_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = calibrate(graph_network(), graphs(), threads=1)
    made = watched(monkeypatch, Backward, "_probe")
    monkeypatch.setattr(moments, "_HELD", -1)
    alive: list[int] = []
    original = Backward.values

    def values(self: Backward, *arguments: Any) -> Any:
        alive.append(len({id(one()) for one in made if one() is not None}))
        return original(self, *arguments)

    monkeypatch.setattr(Backward, "values", values)
    dropped = calibrate(graph_network(), graphs(), threads=1)
    assert same(kept, dropped)
    assert len(made) == GRAPHS, "shapes that come back have their graphs made again"
    assert max(alive) == 1


def test_more_shapes_than_a_few_give_no_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    made = watched(monkeypatch, Backward, "_probe")
    monkeypatch.setattr(moments, "_SHAPES", 2)
    assert calibrate(graph_network(), graphs(), threads=1).reason is None
    assert len(made) == 2


@pytest.mark.parametrize("reduction", ["add", "max"])
def test_all_that_is_run_from_each_layer_on_is_told(reduction: str) -> None:
    told: dict[str, list[tuple[int, int]]] = {}
    found = calibrate(
        graph_network(reduction),
        graphs(),
        threads=1,
        progress=lambda what, done, total: told.setdefault(what, []).append((done, total)),
    )
    assert (found.reason is None) == (reduction == "add")
    for what in ("measuring sensitivities", "measuring means"):
        done, totals = (list(column) for column in zip(*told[what], strict=True))
        assert done == sorted(set(done))
        assert done[0] == 0
        assert done[-1] == totals[-1]
        assert len(set(totals)) == 1
    searched = 0 if found.reason is None else LAYERS
    assert len(told["measuring sensitivities"]) == 1 + LAYERS + searched


def test_scores_looked_at_a_few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    scores = random.standard_normal((20, 7))
    constant = np.tile(np.arange(7.0), (20, 1))
    one_class = scores + 60 * np.eye(7)[2]
    for rows in (1, 3, 512):
        monkeypatch.setattr(answers, "_ROWS", rows)
        given = scores.copy()
        answers.check_scores_vary(given)
        np.testing.assert_array_equal(given, scores)
        answers.check_scores_vary(np.where(random.random(scores.shape) < 0.2, -np.inf, scores))
        for wrong, why in (
            (constant, "the same for all images"),
            (one_class, "with certainty"),
            (scores[:, :1] + constant, "move together"),
        ):
            with pytest.raises(Exception, match=why):
                answers.check_scores_vary(wrong)
