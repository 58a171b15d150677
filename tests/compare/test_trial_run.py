"""Two models on the same inputs: figures by numpy, and what is wrong is said, for inputs and outputs of all kinds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from typer.testing import CliRunner, Result

from enxuto.cli import app
from enxuto.compare.trial_run import compare_outputs
from enxuto.compression.data_free import compress
from enxuto.demo import MODEL, TEST_IMAGES
from enxuto.errors import DataError, UsageError
from enxuto.onnx_model import Model

WEIGHT = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


def model_of(
    nodes: Sequence[Any],
    weights: dict[str, np.ndarray],
    inputs: dict[str, tuple[int, list[Any]]],
    outputs: dict[str, int],
) -> Model:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return Model.from_proto(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    )


def linear(weight: np.ndarray, shape: Sequence[Any] = ("n", 6), kind: int = TensorProto.FLOAT) -> Model:
    nodes = [helper.make_node("Cast", ["x"], ["f"], to=1), helper.make_node("MatMul", ["f", "w"], ["y"])]
    return model_of(nodes, {"w": weight}, {"x": (kind, list(shape))}, {"y": 1})


def test_figures_are_those_of_numpy() -> None:
    other = WEIGHT + 0.1 * np.random.default_rng(1).normal(size=WEIGHT.shape).astype(np.float32)
    found = compare_outputs(linear(WEIGHT), linear(other), 40, seed=5)
    rng = np.random.default_rng(5)
    x = np.concatenate([rng.standard_normal([n, 6]) for n in (16, 16, 8)]).astype(np.float32)
    a, b = x @ WEIGHT, x @ other
    (output,) = found.outputs
    assert found.inputs == 40
    assert output.largest_error == pytest.approx(np.abs(a - b).max(), rel=1e-4)
    assert output.relative_error == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(a), rel=1e-4)
    assert output.agreement == np.mean(a.argmax(1) == b.argmax(1))
    assert found.problems == ()
    assert json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("made", "word"),
    [
        (linear(WEIGHT * 0), "nothing of the original's"),
        (linear(-WEIGHT), "nothing of the original's"),
        (linear(WEIGHT * np.inf), "NaN or infinities"),
        (linear(WEIGHT * np.nan), "NaN or infinities"),
        (linear(WEIGHT[:, :3]), "has the shape"),
    ],
    ids=["zeros", "negated", "infinite", "NaN", "another shape"],
)
def test_a_model_that_answers_otherwise_is_a_problem(made: Model, word: str) -> None:
    (problem,) = compare_outputs(linear(WEIGHT), made, 5).problems
    assert "output 'y'" in problem
    assert word in problem


@pytest.mark.parametrize("kind", [1, 10, 11, 2, 3, 6, 7, 9, 12, 13])
@pytest.mark.parametrize("shape", [("n", 6), (4, 6), (1, 6)], ids=str)
def test_inputs_of_all_types_and_batch_sizes(kind: int, shape: tuple[Any, ...]) -> None:
    found = compare_outputs(linear(WEIGHT, shape, kind), linear(WEIGHT * np.float32(1.01), shape, kind), 6)
    (output,) = found.outputs
    assert found.inputs == {"n": 6, 4: 8, 1: 6}[shape[0]]
    assert output.relative_error == pytest.approx(0.01, rel=0.05)


def test_several_inputs_and_outputs() -> None:
    nodes = [
        helper.make_node("Gather", ["table", "id"], ["e"]),
        helper.make_node("Where", ["mask", "e", "x"], ["y"]),
        helper.make_node("ArgMax", ["y"], ["z"], axis=1, keepdims=0),
    ]
    inputs = {"id": (7, ["n"]), "mask": (9, ["n", 4]), "x": (1, ["n", 4])}
    one, two = (model_of(nodes, {"table": t}, inputs, {"y": 1, "z": 7}) for t in (WEIGHT, WEIGHT * 1.001))
    first, second = compare_outputs(one, two, 9).outputs
    assert first.relative_error is not None
    assert 0 < first.relative_error < 0.002
    assert (second.agreement, second.relative_error) == (1.0, None)
    assert second.problem is None


def test_what_cannot_be_run_says_what_to_do() -> None:
    open_sizes = linear(WEIGHT, ("n", "k"))
    with pytest.raises(DataError, match="E023"):
        compare_outputs(open_sizes, open_sizes, 3)
    assert compare_outputs(open_sizes, open_sizes, 3, shape=(6,)).outputs[0].largest_error == 0
    with pytest.raises(UsageError, match="at least 1"):
        compare_outputs(open_sizes, open_sizes, 0)


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_verb_runs_images_and_random_inputs(tmp_path: Path) -> None:
    small = tmp_path / "m.enx"
    original = Model.read(MODEL)
    compress(original, metadata={"preprocess": {"channels": "L", "divide_by": 16.0}}).save(small)
    shown = json.loads(invoke("verify", small, MODEL, "--run", 50, "--data", TEST_IMAGES, "--json").stdout)
    assert shown["ok"] is True
    assert shown["run"]["inputs"] == 50
    assert shown["run"]["outputs"][0]["agreement"] >= 0.95
    assert shown["run"]["outputs"][0]["relative_error"] < 0.1
    assert json.loads(invoke("verify", small, MODEL, "--json").stdout)["run"] is None
    assert "give --run N" in invoke("verify", small, MODEL, "--data", TEST_IMAGES).stderr
    assert "name it behind" in invoke("verify", small, "--run", 3).stderr
    # A file that decodes soundly and answers nothing.
    weights = {n: np.zeros_like(original.load(n)) for n in original.weight_names if original.load(n).ndim > 1}
    zeros = original.replace_weights(weights)
    compress(zeros).save(small)
    result = invoke("verify", small, MODEL, "--run", 4)
    assert result.exit_code == 1
    assert invoke("verify", small, MODEL, "--run", 0).exit_code == 2


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("small") / "m.enx"
    compress(MODEL, metadata={"preprocess": {"channels": "L", "divide_by": 16.0}}).save(place)
    return place


def test_the_verb_runs_images_without_labels(tmp_path: Path, small: Path) -> None:
    """A comparison of two models asks for no class: any folder of images will do."""
    with np.load(TEST_IMAGES) as held:
        for number, picture in enumerate(held["images"][:3]):
            Image.fromarray(picture).save(tmp_path / f"{number}.png")
    shown = json.loads(invoke("verify", small, MODEL, "--run", 9, "--data", tmp_path, "--json").stdout)
    assert (shown["ok"], shown["run"]["inputs"]) == (True, 3)


def test_damaged_images_are_no_verdict_on_the_file(tmp_path: Path, small: Path) -> None:
    (tmp_path / "d.npz").write_bytes(TEST_IMAGES.read_bytes()[:999])
    result = invoke("verify", small, MODEL, "--run", 3, "--data", tmp_path / "d.npz")
    assert (result.exit_code, result.stdout) == (2, "")
    assert str(tmp_path / "d.npz") in result.stderr


def test_a_file_that_does_not_decode_is_not_run(tmp_path: Path, small: Path) -> None:
    data = bytearray(small.read_bytes())
    data[-9] ^= 1
    (tmp_path / "m.enx").write_bytes(data)
    result = invoke("verify", tmp_path / "m.enx", MODEL, "--run", 3, "--json")
    shown = json.loads(result.stdout)
    assert (result.exit_code, shown["run"], len(shown["problems"])) == (1, None, 1)
    assert len(shown["checks"]) > 1  # of all other tensors


def test_the_verb_finds_sizes_that_a_model_leaves_open(tmp_path: Path) -> None:
    """A second input with an open size: what `compress` tries the default on is what both models run on."""
    weight = np.random.default_rng(0).standard_normal((8, 4, 3)).astype(np.float32)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Conv", ["sound", "w"], ["h"]),
         helper.make_node("ReduceMean", ["h"], ["y"], axes=[2], keepdims=0)],
        "g",
        [value("sound", TensorProto.FLOAT, ["n", 4, "length"])],
        [value("y", TensorProto.FLOAT, ["n", 8])],
        [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "open.onnx").write_bytes(proto.SerializeToString())
    place = tmp_path / "open.enx"
    assert invoke("compress", tmp_path / "open.onnx", "-o", place).exit_code == 0
    result = invoke("verify", place, tmp_path / "open.onnx", "--run", 2)
    assert result.exit_code == 0
    assert "synthetic inputs" in result.stderr
    assert "outputs on 2 inputs" in result.stdout
    given = invoke("verify", place, tmp_path / "open.onnx", "--run", 2, "--input-shape", "4,30")
    assert "outputs on 2 random inputs" in given.stdout
