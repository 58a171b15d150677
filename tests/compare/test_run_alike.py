"""Whether two models are said to run alike: only where the figures of every output say so, for outputs of all kinds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from enxuto.cli import app
from enxuto.compare.trial_run import OutputCheck, TrialRun, compare_outputs
from enxuto.compression.data_free import compress
from enxuto.onnx_model import Model

WEIGHT = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
ENDS = {
    "floats": ([], TensorProto.FLOAT),
    "classes": ([("ArgMax", {"axis": 1})], TensorProto.INT64),
    "whole numbers": ([("Cast", {"to": TensorProto.INT32})], TensorProto.INT32),
    "signs": ([("Cast", {"to": TensorProto.BOOL})], TensorProto.BOOL),
}


def model(end: str, weight: np.ndarray) -> ModelProto:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["v0"]), helper.make_node("Relu", ["v0"], ["v1"])]
    kinds, dtype = ENDS[end]
    for kind, attributes in [("Identity", {}), *kinds, ("Identity", {})]:
        last = nodes[-1].output[0]
        nodes.append(helper.make_node(kind, [last], [f"v{len(nodes)}"], **attributes))
    nodes[-1].output[0] = "y"
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6])],
        [helper.make_tensor_value_info("y", dtype, None)], [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(("error", "alike"), [(0.0, True), (1e-4, True), (3.0, False)])
def test_outputs_are_alike_where_errors_are_small(end: str, error: float, alike: bool) -> None:
    other = WEIGHT + np.float32(error) * np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)
    one, two = (Model.from_proto(model(end, weight)) for weight in (WEIGHT, other))
    found = compare_outputs(one, two, 200)
    assert found.alike is alike
    assert found.unlike == (() if alike else ("y",))


def check(relative: float | None, agreement: float | None, problem: str | None = None) -> OutputCheck:
    return OutputCheck("y", relative, relative, agreement, problem)


@pytest.mark.parametrize(
    ("relative", "agreement", "alike"),
    [(0.1, None, True), (0.11, None, False), (None, 0.75, True), (None, 0.74, False), (0.01, 0.5, False),
     (0.99, 1.0, False), (0.01, 1.0, True), (None, None, None)],
)  # fmt: skip
def test_both_figures_count(relative: float | None, agreement: float | None, alike: bool | None) -> None:
    one = check(relative, agreement)
    assert one.alike is alike
    assert TrialRun(8, 0, None, (one,)).alike is bool(alike)
    assert TrialRun(8, 0, None, (one, check(0.0, None))).alike is (alike is not False)
    assert check(relative, agreement, "has NaN").alike is False


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("bits", [1, 12])
def test_the_verb_says_what_its_own_table_says(end: str, bits: int, tmp_path: Path) -> None:
    original, file = tmp_path / "m.onnx", tmp_path / "m.enx"
    original.write_bytes(model(end, WEIGHT).SerializeToString())
    scale = 2.0 ** -(bits - 1)
    moved = (np.round(WEIGHT / scale) * scale * (1 if bits > 1 else 0.3)).astype(np.float32)
    compress(Model.from_proto(model(end, moved))).save(file)
    said = CliRunner().invoke(app, ["verify", str(file), str(original), "--run", "64"]).output
    said = " ".join(said.split())
    figures = compare_outputs(Model.read(original), Model.from_proto(model(end, moved)), 64)
    (one,) = figures.outputs
    near = (one.relative_error or 0) <= 0.05 and (one.agreement is None or one.agreement >= 0.9)
    far = (one.relative_error or 0) >= 0.2 or (one.agreement is not None and one.agreement <= 0.6)
    assert ("show that both models run alike." in said) is not ("do not show that both" in said)
    if near or far:
        assert ("inputs show that both models run alike." in said) is near


def test_infinite_errors_are_not_alike() -> None:
    assert not OutputCheck("y", math.inf, None, None, "has nothing of the original's").alike


def test_the_outputs_that_are_unlike_are_named() -> None:
    from enxuto.cli.verify import _said_by_random_inputs

    def trial(*names: str) -> Any:
        return TrialRun(8, 0, None, tuple(OutputCheck(name, 1.0, 0.9, None, None) for name in names))

    assert "(output 'a')." in _said_by_random_inputs(trial("a"))
    assert "(output 'a', 'b', 'c' and 2 more)." in _said_by_random_inputs(trial(*"abcde"))
    assert _said_by_random_inputs(TrialRun(8, 0, None, ())).endswith(
        "do not show that both models run alike."
    )
