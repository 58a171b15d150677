"""Arrays by input name that do not fit the model: in every verb one line that names the input, and nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import Result

Invoke = Callable[..., Result]
IDS, WIDTH = 20, 4


def network() -> onnx.ModelProto:
    """Token ids and a bool mask → a row of a table each, through a matrix."""
    random = np.random.default_rng(0)
    value, node = helper.make_tensor_value_info, helper.make_node
    nodes = [node("Gather", ["table", "ids"], ["e"]), node("Where", ["keep", "e", "zero"], ["k"]),
             node("Add", ["k", "x"], ["s"]), node("MatMul", ["s", "w"], ["y"])]  # fmt: skip
    weights = {"table": random.standard_normal((IDS, WIDTH)), "w": random.standard_normal((WIDTH, 3)),
               "zero": np.zeros(1)}  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "g",
        [value("ids", TensorProto.INT32, ["n", "t"]), value("keep", TensorProto.BOOL, ["n", "t", 1]),
         value("x", TensorProto.FLOAT, ["n", "t", WIDTH])],
        [value("y", TensorProto.FLOAT, ["n", "t", 3])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def arrays(**other: Any) -> dict[str, Any]:
    random = np.random.default_rng(1)
    return {
        "ids": random.integers(0, IDS, (6, 5)),
        "keep": np.ones((6, 5, 1), bool),
        "x": random.standard_normal((6, 5, WIDTH)).astype(np.float32),
        **other,
    }


def archive(path: Path, **other: Any) -> Path:
    np.savez(path / "a.npz", **{name: array for name, array in arrays(**other).items() if array is not None})
    return path / "a.npz"


def cut_short(path: Path) -> Path:
    file = archive(path)
    file.write_bytes(file.read_bytes()[:-200])
    return file


def rows(path: Path, *, ragged: bool) -> Path:
    row = {name: array[0].tolist() for name, array in arrays().items()}
    other = {**row, "x": [[1.0], [1.0, 2.0]]} if ragged else {"ids": row["ids"]}
    (path / "a.jsonl").write_text(f"{json.dumps(row)}\n{json.dumps(other)}\n")
    return path / "a.jsonl"


def one_array(path: Path) -> Path:
    np.save(path / "a.npy", arrays()["x"])
    return path / "a.npy"


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "an input is missing": (lambda path: archive(path, x=None), "no array for input 'x' (float32, (any, any, 4))"),
    "a name of no input": (lambda path: archive(path, y=np.zeros(6)), "an array 'y', and the model has no such input"),
    "floats for ids": (lambda path: archive(path, ids=np.zeros((6, 5))), "input 'ids' (int32, (any, any)) takes whole"),
    "numbers for a mask": (lambda path: archive(path, keep=np.full((6, 5, 1), 2)), "input 'keep'"),
    "text": (lambda path: archive(path, x=np.full((6, 5, WIDTH), "a")), "input 'x'"),
    "a wrong size": (lambda path: archive(path, x=np.zeros((6, 5, 3), np.float32)), "input 'x'"),
    "a wrong rank": (lambda path: archive(path, x=np.zeros((6, WIDTH), np.float32)), "input 'x'"),
    "an axis too many": (
        lambda path: archive(path, ids=np.zeros((6, 5, 1), int)), "input 'ids' (int32, (any, any)) cannot be (6, 5, 1)"
    ),
    "an axis too many of the last": (
        lambda path: archive(path, x=np.zeros((6, 5, 2, 4), np.float32)), "input 'x' (float32, (any, any, 4)) cannot be"
    ),
    "a single number": (lambda path: archive(path, x=np.float32(1)), "input 'x' (float32, (any, any, 4)) is a single"),
    "samples of other numbers": (lambda path: archive(path, ids=arrays()["ids"][:5]), "ids 5, keep 6, x 6"),
    "lengths that do not go together": (lambda path: archive(path, ids=arrays()["ids"][:, :3]), "ids int32 ("),
    "no samples": (lambda path: archive(path, **{k: v[:0] for k, v in arrays().items()}), "holds no samples"),
    "an empty array": (lambda path: archive(path, x=np.zeros((6, 0, WIDTH), np.float32)), "for 'x' is empty"),
    "NaN": (lambda path: archive(path, x=np.full((6, 5, WIDTH), np.nan, np.float32)), "for 'x' holds NaN"),
    "an id beyond the table": (lambda path: archive(path, ids=np.full((6, 5), IDS)), "'ids' holds 20, and the model's"),
    "an id beyond int32": (lambda path: archive(path, ids=np.full((6, 5), 2**40)), "input 'ids'"),
    "a file that was cut short": (cut_short, "a.npz"),
    "rows of several lengths": (lambda path: rows(path, ragged=True), "'x' is no array of numbers"),
    "rows of other names": (lambda path: rows(path, ragged=False), "line 2"),
    "one array for three inputs": (one_array, "3 inputs (ids, keep, x)"),
}  # fmt: skip


VERBS: dict[str, Callable[[Path, Path], tuple[Any, ...]]] = {
    "compress": lambda path, data: (path / "m.onnx", "-o", data.parent / "out", "--calibration", data, "--bits", 4),
    "compress within": lambda path, data: (path / "m.onnx", "-o", data.parent / "out", "--data", data, "--min-snr", 20),
    "evaluate": lambda path, data: (path / "m.onnx", "--reference", path / "m.onnx", "--data", data),
    "compare": lambda path, data: (path / "m.onnx", path / "m.onnx", "--data", data),
    "verify": lambda path, data: (path / "m.enx", path / "m.onnx", "--run", 2, "--data", data),
    "curve": lambda path, data: (
        path / "m.onnx", "--data", data, "-o", data.parent / "out", "--methods", "enxuto", "--workers", 0
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import enxuto

    path = tmp_path_factory.mktemp("model")
    onnx.save(network(), path / "m.onnx")
    enxuto.compress(str(path / "m.onnx")).save(path / "m.enx")
    return path


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", BAD)
def test_arrays_that_do_not_fit_are_one_line(
    invoke: Invoke, folder: Path, tmp_path: Path, name: str, verb: str
) -> None:
    make, words = BAD[name]
    result = invoke(verb.split()[0], *VERBS[verb](folder, make(tmp_path)))
    assert result.exit_code == 2, result.output
    (error,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert words in error
    assert "preprocessing" not in result.stderr, "what takes ids takes no pixels"
    assert result.stderr.endswith(error + "\n")
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()


def test_whole_numbers_masks_and_several_inputs_are_taken(
    invoke: Invoke, folder: Path, tmp_path: Path
) -> None:
    for verb in ("evaluate", "compare", "verify"):
        result = invoke(verb, *VERBS[verb](folder, archive(tmp_path)))
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize("which", ["input", "output"])
def test_verify_runs_no_model_of_other_names(
    invoke: Invoke, folder: Path, tmp_path: Path, which: str
) -> None:
    other = network()
    if which == "output":
        other.graph.output[0].name = other.graph.node[-1].output[0] = "z"
    else:
        other.graph.input[2].name = other.graph.node[2].input[1] = "z"
    other.graph.initializer[1].name = other.graph.node[-1].input[1] = "v"
    onnx.save(other, tmp_path / "other.onnx")
    result = invoke(
        "verify", folder / "m.enx", tmp_path / "other.onnx", "--run", 2, "--data", archive(tmp_path)
    )
    assert result.exit_code == 1, result.output
    assert "another model" in result.output
    assert "error" not in result.stderr
