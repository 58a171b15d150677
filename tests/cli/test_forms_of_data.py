"""Every verb that takes data takes each form of it, with labels inside, and says the same of all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper
from pyarrow import parquet
from typer.testing import Result

import enxuto
from enxuto.data.samples import Samples

Invoke = Callable[..., Result]
RNG = np.random.default_rng(5)
X = RNG.standard_normal((36, 24)).astype(np.float32)
W, V = RNG.standard_normal((24, 24)).astype(np.float32), RNG.standard_normal((24, 4)).astype(np.float32)
SCORES = np.maximum(X @ W, 0) @ V
LABELS = (SCORES + 12 * RNG.standard_normal(SCORES.shape)).argmax(1)
TOP1 = float(np.mean(SCORES.argmax(1) == LABELS))


def folder_of(path: Path, save: Callable[[Path, int], None]) -> Path:
    (path / "samples").mkdir()
    for number in range(len(X)):
        save(path / "samples" / f"{number:02}", number)
    return path / "samples"


def archive(path: Path) -> Path:
    np.savez(path / "a.npz", v=X, label=LABELS)
    return path / "a.npz"


def archives(path: Path) -> Path:
    return folder_of(path, lambda name, n: np.savez(f"{name}.npz", v=X[n], label=LABELS[n]))


def lines(path: Path) -> Path:
    rows = [{"v": row.tolist(), "label": int(label)} for row, label in zip(X, LABELS, strict=True)]
    (path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path / "a.jsonl"


def table(path: Path) -> Path:
    columns = {"v": pa.array(X.tolist(), pa.list_(pa.float32())), "label": LABELS.tolist()}
    parquet.write_table(pa.table(columns), path / "a.parquet")
    return path / "a.parquet"


def single_arrays(path: Path) -> Path:
    """Arrays without names have no labels."""
    return folder_of(path, lambda name, n: np.save(f"{name}.npy", X[n]))


LABELLED = {".npz": archive, "a folder of .npz": archives, ".jsonl": lines, "Parquet": table}
FORMS = {**LABELLED, "a folder of .npy": single_arrays}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.onnx"
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["v", "w"], ["h"]), helper.make_node("Relu", ["h"], ["r"]),
         helper.make_node("MatMul", ["r", "u"], ["y"])],
        "g",
        [helper.make_tensor_value_info("v", TensorProto.FLOAT, ["n", 24])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(W, "w"), numpy_helper.from_array(V, "u")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    enxuto.compress(str(path), threads=1).save(path.with_suffix(".enx"))
    return path


@pytest.mark.parametrize("form", FORMS)
def test_verbs_that_compare_say_the_same_of_every_form(
    invoke: Invoke, model: Path, tmp_path: Path, form: str
) -> None:
    data, small = FORMS[form](tmp_path), model.with_suffix(".enx")
    found = []
    for words in (
        ("evaluate", small, "--reference", model, "--data", data, "--json"),
        ("compare", model, small, "--data", data, "--json"),
    ):
        result = invoke(*words)
        assert result.exit_code == 0, result.output
        found.append(json.loads(result.stdout))
    one, other = found
    outputs = enxuto.load(str(small)).load("w"), enxuto.load(str(small)).load("u")
    same = np.mean((np.maximum(X @ outputs[0], 0) @ outputs[1]).argmax(1) == SCORES.argmax(1))
    assert one["samples"] == len(X)
    assert one["kl"] == other["kl"] > 0
    assert one["agreement"] == other["agreement"] == pytest.approx(100 * same)
    if form in LABELLED:
        assert one["original_top1"] == other["original_top1"] == pytest.approx(100 * TOP1)
    run = invoke("verify", small, model, "--run", len(X), "--data", data, "--json")
    assert run.exit_code == 0, run.output


@pytest.mark.parametrize("form", FORMS)
def test_calibration_is_that_of_the_same_arrays(
    invoke: Invoke, model: Path, tmp_path: Path, form: str
) -> None:
    words = ("--calibration", FORMS[form](tmp_path), "-o", tmp_path / "c.enx", "--bits", 9, "--threads", 1)
    result = invoke("compress", model, *words)
    assert result.exit_code == 0, result.output
    said = enxuto.CompressedModel.read(tmp_path / "c.enx").metadata["calibrated"]
    assert said["images"] == len(X)
    assert said["data"].split()[0] == Samples({"v": X}, labels=LABELS if form in LABELLED else None).hash


@pytest.mark.parametrize("form", LABELLED)
def test_labels_inside_count_right_answers(invoke: Invoke, model: Path, tmp_path: Path, form: str) -> None:
    alone = json.loads(invoke("evaluate", model, "--data", LABELLED[form](tmp_path), "--json").stdout)
    assert alone["top1"] == pytest.approx(100 * TOP1)


def test_labels_inside_count_right_answers_of_a_curve(invoke: Invoke, model: Path, tmp_path: Path) -> None:
    data = table(tmp_path)
    few = ("--methods", "enxuto", "--bits", 9, "--images", 0, "--workers", 0, "-o", tmp_path / "s", "--json")
    curve = invoke("curve", model, "--data", data, *few)
    assert curve.exit_code == 0, curve.output
    assert "labels count right answers" in curve.stderr
    (shown,) = json.loads(curve.stdout)["models"]
    assert shown["original"]["top1"] == pytest.approx(TOP1)
    assert all(point["lost"] == pytest.approx(TOP1 - point["top1"]) for point in shown["points"])
    assert "top-1 %" in (tmp_path / "s" / "curve.md").read_text()
    assert "Best settings" in (tmp_path / "s" / "curve.md").read_text()


def test_labels_of_another_name_are_asked_for(invoke: Invoke, model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "b.npz", v=X, truth=LABELS)
    few = ("--methods", "midtread", "--levels", "6:6", "--workers", 0, "-o", tmp_path / "s", "--json")
    words = ("curve", model, "--data", tmp_path / "b.npz", *few)
    (shown,) = json.loads(invoke(*words, "--label-column", "truth").stdout)["models"]
    assert shown["original"]["top1"] == pytest.approx(TOP1)
    assert shown["original"]["above_chance"]


@pytest.mark.parametrize("verb", ["prune", "slim"])
def test_verbs_of_images_say_so_in_one_line(invoke: Invoke, model: Path, tmp_path: Path, verb: str) -> None:
    more: tuple[Any, ...] = ("--max-drop", 1) if verb == "slim" else ("--amount", "20%")
    result = invoke(verb, model, "--data", archive(tmp_path), "-o", tmp_path / "out", *more)
    assert result.exit_code == 2, result.output
    (error,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "images" in error
