"""Recurrent models: states that are zeros, and sequences whose outputs are fed back, beside NumPy's own loop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

import enxuto
from enxuto.calibration.sensitivity import run_groups
from enxuto.calibration.sequences import single_steps
from enxuto.cli import app
from enxuto.compression.arguments import named_samples
from enxuto.compression.output_judge import compare_outputs
from enxuto.errors import EnxutoError, UsageError
from enxuto.onnx_model import Model, find_states

WIDTH, HIDDEN = 6, 16
FED_BACK = {"stateN": "state"}


def weights() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    shapes = {"w": (WIDTH, HIDDEN), "u": (HIDDEN, HIDDEN), "v": (HIDDEN, 3)}
    return {name: (random.standard_normal(shape) / 2).astype(np.float32) for name, shape in shapes.items()}


def cell() -> onnx.ModelProto:
    """state' = tanh(x·w + state·u), y = sigmoid(state'·v)."""
    node, value = helper.make_node, helper.make_tensor_value_info
    nodes = [
        node("MatMul", ["x", "w"], ["a"]), node("MatMul", ["state", "u"], ["b"]), node("Add", ["a", "b"], ["c"]),
        node("Tanh", ["c"], ["stateN"]), node("MatMul", ["stateN", "v"], ["d"]), node("Sigmoid", ["d"], ["y"]),
    ]  # fmt: skip
    ends = [value("x", 1, ["n", WIDTH]), value("state", 1, ["n", HIDDEN])]
    outputs = [value("y", 1, ["n", 3]), value("stateN", 1, ["n", HIDDEN])]
    constants = [numpy_helper.from_array(array, name) for name, array in weights().items()]
    graph = helper.make_graph(nodes, "g", ends, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def sound(count: int = 12, steps: int = 5) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, steps, WIDTH)).astype(np.float32)


def loop(x: np.ndarray, state: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The outputs (steps, 3) and the states before every step (steps, HIDDEN) of a sequence."""
    w, u, v = weights().values()
    state, outputs, states = np.zeros(HIDDEN, np.float32) if state is None else state, [], []
    for step in x:
        states.append(state)
        state = np.tanh(step @ w + state @ u)
        outputs.append(1 / (1 + np.exp(-(state @ v))))
    return np.stack(outputs), np.stack(states)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cell") / "cell.onnx"
    onnx.save(cell(), path)
    return path


def test_a_state_without_an_array_is_zeros_and_told(model: Path) -> None:
    found = named_samples({"x": sound()[:, 0]}, Model.read(model))
    assert found is not None
    np.testing.assert_array_equal(found.sample(3)["state"], np.zeros((1, HIDDEN)))
    (remark,) = found.remarks
    assert "'state' is a state and has no array" in remark
    assert "feedback=stateN=state" in remark


@pytest.mark.parametrize("begin", [None, 0.5], ids=["zeros", "a state of its own"])
def test_outputs_are_fed_back_step_by_step(model: Path, begin: float | None) -> None:
    data: dict[str, Any] = {"x": sound(3)}
    if begin is not None:
        data["state"] = np.full((3, HIDDEN), begin, np.float32)
    read = Model.read(model)
    found = named_samples(data, read, FED_BACK)
    assert found is not None
    assert found.remarks == ()
    outputs = run_groups(read, found.groups(), threads=1)
    for x, (y, _) in zip(data["x"], outputs, strict=True):
        state = None if begin is None else np.full(HIDDEN, begin, np.float32)
        np.testing.assert_allclose(y, loop(x, state)[0], atol=1e-5)


def test_a_number_may_be_given_for_every_step() -> None:
    """An input without axes, such as a sampling rate, of which an array holds one number a step."""
    proto = cell()
    proto.graph.node[3].input[0] = "louder"
    proto.graph.node.insert(3, helper.make_node("Mul", ["c", "gain"], ["louder"]))
    proto.graph.input.append(helper.make_tensor_value_info("gain", 1, []))
    read = Model.from_proto(proto)
    data = {"x": sound(3), "gain": np.ones((3, 5), np.float32)}
    found = named_samples(data, read, FED_BACK)
    assert found is not None
    for x, (y, _) in zip(data["x"], run_groups(read, found.groups(), threads=1), strict=True):
        np.testing.assert_allclose(y, loop(x)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("width", "hint"), [(WIDTH, True), (WIDTH + 1, False)], ids=["sequences", "another width"]
)
def test_sequences_that_are_given_without_feedback(model: Path, width: int, hint: bool) -> None:
    x = np.zeros((12, 5, 1, width), np.float32)
    with pytest.raises(EnxutoError, match=r"'x' .* cannot be") as caught:
        enxuto.compress(model, data={"x": x}, min_snr=20, threads=1)
    assert ("if these are sequences, feedback=stateN=state" in str(caught.value)) == hint


def test_calibration_sees_steps_with_the_states_of_the_original(model: Path) -> None:
    read = Model.read(model)
    found = named_samples({"x": sound()}, read, FED_BACK)
    assert found is not None
    steps = single_steps(read, found, 20, threads=1)
    assert (len(steps), steps.feedback) == (20, {})
    known = {x.tobytes(): state for row in sound() for x, state in zip(row, loop(row)[1], strict=True)}
    for number in range(20):
        one = steps.sample(number)
        np.testing.assert_allclose(one["state"][0], known[one["x"][0].tobytes()], atol=1e-5)


def test_a_file_within_a_bound_judged_by_its_own_states(model: Path, tmp_path: Path) -> None:
    """What compress reports, evaluate says of the same sequences, and NumPy of the decoded weights."""
    small = enxuto.compress(
        str(model), data={"x": sound(24)}, feedback=FED_BACK, max_kl=1e-3, threads=1, cache=tmp_path / "cache"
    )
    assert small.report is not None
    assert small.report.kl <= 2e-3
    small.save(tmp_path / "a.enx")
    np.savez(tmp_path / "a.npz", x=sound(4))
    arguments = [
        "evaluate",
        str(tmp_path / "a.enx"),
        "--data",
        str(tmp_path / "a.npz"),
        "--reference",
        str(model),
    ]
    said = CliRunner().invoke(app, [*arguments, "--feedback", "stateN=state", "--json"])
    assert said.exit_code == 0, said.output
    found = named_samples({"x": sound(4)}, Model.read(model), FED_BACK)
    assert found is not None
    judgement, _ = compare_outputs(Model.read(model), small.model, found, threads=1)
    assert json.loads(said.stdout)["kl"] == judgement.kl
    decoded = {name: small.model.load(name) for name in ("w", "u", "v")}
    lost = []
    for x in sound(4):
        state, p = np.zeros(HIDDEN, np.float32), loop(x)[0].astype(np.float64)
        for number, step in enumerate(x):
            state = np.tanh(step @ decoded["w"] + state @ decoded["u"])
            q = 1 / (1 + np.exp(-(state @ decoded["v"]).astype(np.float64)))
            one, none = p[number], 1 - p[number]
            lost.append(np.mean(one * np.log(one / q) + none * np.log(none / (1 - q))))
    assert judgement.kl == pytest.approx(np.mean(lost), rel=1e-2)


STRAY: dict[str, tuple[dict[str, str], str]] = {
    "no such output": ({"stateM": "state"}, "no output 'stateM'.*stateN"),
    "no such input": ({"stateN": "stat"}, "no input 'stat'.*'state'"),
    "another shape": ({"y": "state"}, r"'y' \(float32 \(any, 3\)\) cannot be input 'state'"),
    "no dict": ("stateN=state", "takes a dict"),  # type: ignore[dict-item]
    "steps of other lengths": (FED_BACK, "cannot be"),
}


@pytest.mark.parametrize("name", STRAY)
def test_feedback_that_does_not_fit_is_one_line(name: str, model: Path) -> None:
    feedback, words = STRAY[name]
    x = sound() if "steps" not in name else sound()[:, 0]
    with pytest.raises(EnxutoError, match=words) as caught:
        enxuto.compress(str(model), data={"x": x}, feedback=feedback, bits=4, threads=1)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="feedback="):
        enxuto.compress(str(model), feedback=FED_BACK)


STATES: dict[str, tuple[str, list[Any], list[Any], tuple[int, ...] | None]] = {
    "a plain name": ("h0", [1, "n", 8], [1, "n", 8], (1, 1, 8)),
    "words": ("hiddenState", ["n", 8], ["n", 8], (1, 8)),
    "a cache that grows": ("past_key_values.0.key", ["n", 2, "past", 4], ["n", 2, "all", 4], (1, 2, 0, 4)),
    "no output of its shape": ("encoder_hidden_states", ["n", "t", 8], ["n", "t", 9], None),
    "another rank": ("state", ["n", 8], ["n", 1, 8], None),
    "no state": ("image", ["n", 8], ["n", 8], None),
    "a letter that no output's name begins with": ("h", ["n", 8], ["n", 8], None),
    "a part of a word": ("estate", ["n", 8], ["n", 8], None),
}


@pytest.mark.parametrize("name", STATES)
def test_states_are_told_by_name_and_shape(name: str) -> None:
    called, shape, given, expected = STATES[name]
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", [called], ["z"])]
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, ["n", 2, 2, 2, 2]), value(called, TensorProto.FLOAT, shape)],
        [value("y", TensorProto.FLOAT, ["n", 2, 2, 2, 2]), value("z", TensorProto.FLOAT, given)],
    )
    found = find_states(Model.from_proto(helper.make_model(graph, ir_version=8)))
    assert {one: state.shape for one, state in found.items()} == (
        {} if expected is None else {called: expected}
    )


GIVEN_BACK: dict[str, tuple[dict[str, list[Any]], dict[str, list[Any]], dict[str, str]]] = {
    "beside an output of open size": (
        {"hidden_in": [4]}, {"y": ["t"], "hidden_out": [4]}, {"hidden_in": "hidden_out"},
    ),
    "by what names share": (
        {"in_cache0": [1, 4, "k"], "in_cache1": [1, 4, "k"]},
        {"y": [1, "t", 4], "out_cache1": [1, 4, "n"], "out_cache0": [1, 4, "m"]},
        {"in_cache0": "out_cache0", "in_cache1": "out_cache1"},
    ),
    "by numbers in names": (
        {"state_2_hidden": [4], "state_1_hidden": [4]},
        {"y": ["t"], "gru_1_7": [4], "gru_2_9": [4]},
        {"state_1_hidden": "gru_1_7", "state_2_hidden": "gru_2_9"},
    ),
    "each its own, in their order": (
        {"h0": [1, "n", 4], "c0": [1, "n", 4]}, {"y": ["n", 1, 4], "a": [1, "n", 4], "b": [1, "n", 4]},
        {"h0": "a", "c0": "b"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GIVEN_BACK)
def test_the_likeliest_output_that_gives_a_state_back_comes_first(name: str) -> None:
    taken, given, expected = GIVEN_BACK[name]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], [one]) for one in given],
        "g",
        [value("x", 1, ["t", 3]), *(value(one, 1, shape) for one, shape in taken.items())],
        [value(one, 1, shape) for one, shape in given.items()],
    )
    found = find_states(Model.from_proto(helper.make_model(graph, ir_version=8)))
    assert {one: state.outputs[0] for one, state in found.items()} == expected


def test_the_initial_state_of_a_cell_is_a_state_whatever_its_name() -> None:
    value = helper.make_tensor_value_info
    random = np.random.default_rng(2)
    nodes = [helper.make_node("Squeeze", ["q"], ["r"]), helper.make_node("Unsqueeze", ["r", "axes"], ["s"]),
             helper.make_node("GRU", ["x", "w", "u", "", "", "s"], ["y", "z"], hidden_size=4)]  # fmt: skip
    constants = [
        numpy_helper.from_array(np.array([0, 1], np.int64), "axes"),
        numpy_helper.from_array(random.standard_normal((1, 12, 3)).astype(np.float32), "w"),
        numpy_helper.from_array(random.standard_normal((1, 12, 4)).astype(np.float32), "u"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", 1, ["t", 1, 3]), value("q", 1, [1, 1, 4])],
        [value("z", 1, [1, 1, 4])],
        constants,
    )
    found = find_states(Model.from_proto(helper.make_model(graph, ir_version=8)))
    assert {name: state.outputs for name, state in found.items()} == {"q": ("z",)}
