"""Options of images beside arrays by input name: --limit counts samples, others are refused before anything runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from typer.testing import Result

Invoke = Callable[..., Result]
RANDOM = np.random.default_rng(5)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network of two layers with a softmax at its end."""
    weights = {"w": RANDOM.standard_normal((12, 40)), "v": RANDOM.standard_normal((40, 5))}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["z"]),
        helper.make_node("Softmax", ["z"], ["p"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", 12])],
        [helper.make_tensor_value_info("p", 1, ["n", 5])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """64 samples with labels."""
    path = tmp_path / "arrays.npz"
    x = RANDOM.standard_normal((64, 12)).astype(np.float32)
    np.savez(path, x=x, labels=RANDOM.integers(0, 5, 64))
    return path


def words(verb: str, model: Path, arrays: Path) -> tuple[object, ...]:
    """A verb that runs a model on arrays."""
    return {
        "evaluate": ("evaluate", model, "--data", arrays),
        "evaluate beside": ("evaluate", model, "--reference", model, "--data", arrays),
        "compare": ("compare", model, model, "--data", arrays),
        "compress": ("compress", model, "--data", arrays, "--max-kl", "0.1", "-o", arrays.parent / "small.enx"),
        "calibrate": ("compress", model, "--calibration", arrays, "--bits", 20, "-o", arrays.parent / "small.enx"),
        "curve": ("curve", model, "--data", arrays, "--methods", "midtread", "--levels", "4:4", "-o",
                  arrays.parent / "c"),
    }[verb]  # fmt: skip


IMAGES = [("--split", "test"), ("--format", "parquet"), ("--image-column", "foo"), ("--labels", "names.txt")]
PREPROCESSING = [("--preprocess", "imagenet"), ("--resize", "30"), ("--mean", "0.5"), ("--channels", "BGR")]
SHOWN = {"evaluate": [("--per-class",), ("--confusion",)], "compare": [("--sheet", "sheet.png")]}
CASES = [
    (verb, option)
    for verb in ("evaluate", "evaluate beside", "compare", "compress", "calibrate", "curve")
    for option in [
        *(one for one in IMAGES if (verb, one[0]) != ("calibrate", "--labels")),
        *(PREPROCESSING if verb.startswith(("evaluate", "compare")) else []),
        *SHOWN.get(verb.split()[0], []),
        *([("--calibration-split", "foo")] if verb == "calibrate" else []),
    ]
]


@pytest.mark.parametrize(("verb", "option"), CASES, ids=[f"{verb} {option[0]}" for verb, option in CASES])
def test_refused(verb: str, option: tuple[str, ...], invoke: Invoke, model: Path, arrays: Path) -> None:
    before = sorted(path.name for path in arrays.parent.iterdir())
    result = invoke(*words(verb, model, arrays), *option)
    assert result.exit_code == 2, result.output
    assert f"{option[0]} is of images" in result.stderr
    assert sorted(path.name for path in arrays.parent.iterdir()) == before


@pytest.mark.parametrize("verb", ["evaluate", "evaluate beside", "compare", "curve"])
def test_limit_draws_samples(verb: str, invoke: Invoke, model: Path, arrays: Path) -> None:
    found = []
    for seed in (0, 0, 1):
        asked = list(words(verb, model, arrays))
        if verb == "curve":
            asked[-1] = arrays.parent / f"c{len(found)}"
        result = invoke(*asked, "--limit", 10, "--seed", seed, "--json")
        assert result.exit_code == 0, result.output
        said = json.loads(result.stdout)
        said = said["models"][0]["original"] if verb == "curve" else said
        assert said["samples"] == 10
        found.append(said.get("data_hash", said.get("provenance", {}).get("data")))
    assert found[0] == found[1]
    assert verb == "curve" or found[0] != found[2]


@pytest.mark.parametrize("verb", ["compress", "calibrate"])
def test_limit_counts_where_files_are_made(verb: str, invoke: Invoke, model: Path, arrays: Path) -> None:
    result = invoke(*words(verb, model, arrays), "--limit", 20)
    assert "20 samples of x" in result.stderr, result.output
