"""Compression, evaluation and comparison of a model with several inputs and outputs of each kind, by named arrays."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import enxuto
from enxuto.data.feeding import fit_samples, read_samples
from enxuto.errors import DataError, EnxutoError, UsageError
from enxuto.metrics.losses import OutputLoss, decibels, fisher_direction
from enxuto.runtime import Runner

Arrays = dict[str, np.ndarray]
IDS, WIDTH = 50, 16


def value(name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def two_inputs() -> onnx.ModelProto:
    """Token ids and vectors → values (n, t, 3), yes or no (n, t, 5), classes (n, t, 7), boxes as picked, a constant."""
    random = np.random.default_rng(0)
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "ids"], ["e"]),
        node("MatMul", ["x", "w"], ["xw"]),
        node("Add", ["e", "xw"], ["s"]),
        node("Tanh", ["s"], ["t"]),
        node("MatMul", ["t", "v"], ["y"]),
        node("MatMul", ["t", "u"], ["z"]),
        node("Sigmoid", ["z"], ["p"]),
        node("MatMul", ["t", "q"], ["l"]),
        node("Softmax", ["l"], ["c"], axis=-1),
    ]
    weights = {
        "table": random.standard_normal((IDS, 32)), "w": random.standard_normal((WIDTH, 32)) / 4,
        "v": random.standard_normal((32, 3)), "u": random.standard_normal((32, 5)) / 2,
        "q": random.standard_normal((32, 7)) / 2,
    }  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "g",
        [value("ids", ["n", "t"], TensorProto.INT64), value("x", ["n", "t", WIDTH])],
        [value("y", ["n", "t", 3]), value("p", ["n", "t", 5]), value("c", ["n", "t", 7])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def arrays(count: int = 36, steps: int = 6) -> Arrays:
    random = np.random.default_rng(1)
    return {
        "ids": random.integers(0, IDS, (count, steps)),
        "x": random.standard_normal((count, steps, WIDTH)).astype(np.float32),
    }


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "two.onnx"
    onnx.save(two_inputs(), path)
    return path


@pytest.fixture(scope="module")
def small(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return enxuto.compress(
        str(model), data=arrays(), min_snr=20, threads=1, cache=tmp_path_factory.mktemp("cache")
    )


def test_every_output_is_judged_by_what_it_is(small: Any) -> None:
    judged_outputs = small.calibrated.calibration.judged_outputs
    assert [(loss.name, loss.kind, loss.value) for loss in judged_outputs.losses] == [
        ("y", "values", "y"),
        ("p", "binary", "p"),
        ("c", "classes", "l"),
    ]
    assert small.calibrated.calibration.reason is None, "gradients come from all outputs"
    assert {layer.weight for layer in small.calibrated.calibration.layers} == {"w", "v", "u", "q"}
    assert [one.name for one in small.report.outputs] == ["y", "p", "c"]


def test_the_figures_are_those_of_the_outputs(model: Path, small: Any) -> None:
    """By an independent formula, on the file's own outputs: the divergence of classes, the noise of values."""
    from enxuto.compression.output_judge import compare_outputs
    from enxuto.onnx_model import Model

    data = arrays()
    whole, other = Model.read(model), small.model
    samples = fit_samples(dict(data), Runner(whole).inputs)
    judgement, _ = compare_outputs(whole, other, samples, threads=1)
    before, after = (Runner(one).run(data) for one in (whole, other))
    noise = np.mean((before[0] - after[0]).astype(np.float64) ** 2) / np.var(before[0].astype(np.float64))
    p, q = (np.asarray(found[1], np.float64) for found in (before, after))
    yes_no = np.mean(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    p, q = (np.asarray(found[2], np.float64) for found in (before, after))
    classes = np.mean(np.sum(p * np.log(p / q), axis=-1))
    found = {one.name: one.loss for one in judgement.outputs}
    assert found == pytest.approx({"y": noise, "p": yes_no, "c": classes}, rel=1e-3)
    assert judgement.snr_db == pytest.approx(-10 * np.log10(noise), abs=0.01)
    assert judgement.kl == pytest.approx((yes_no + classes) / 2, rel=1e-3)


def test_what_is_asked_for_counts(model: Path, tmp_path: Path) -> None:
    choices = {"y": "ignore", "p": ("values", 2.0)}
    made = enxuto.compress(
        str(model), calibration=arrays(), bits=10, outputs=choices, threads=1, cache=tmp_path
    )
    assert [
        (loss.name, loss.kind, loss.weight) for loss in made.calibrated.calibration.judged_outputs.losses
    ] == [
        ("p", "values", 2.0),
        ("c", "classes", 1.0),
    ]


def samples_in(path: Path, form: str, data: Arrays) -> Path:
    """Write arrays in one of the forms that are read."""
    rows = [{name: array[i] for name, array in data.items()} for i in range(len(data["x"]))]
    if form == "npz":
        np.savez(path / "a.npz", **data)
        return path / "a.npz"
    if form == "folder":
        for number, row in enumerate(rows):
            np.savez(path / f"{number:03}.npz", **row)
        return path
    if form == "jsonl":
        lines = [json.dumps({name: array.tolist() for name, array in row.items()}) for row in rows]
        (path / "a.jsonl").write_text("\n".join(lines))
        return path / "a.jsonl"
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({name: [row[name].tolist() for row in rows] for name in data})
    pq.write_table(table, path / "a.parquet")
    return path / "a.parquet"


@pytest.mark.parametrize("form", ["npz", "folder", "jsonl", "parquet"])
def test_all_forms_hold_the_same_samples(form: str, model: Path, tmp_path: Path) -> None:
    data, inputs = arrays(3), Runner(model).inputs
    found = read_samples(samples_in(tmp_path, form, data), inputs)
    assert len(found) == 3
    for index in range(3):
        for name, array in found.sample(index).items():
            np.testing.assert_array_equal(array, data[name][index : index + 1])
            assert array.dtype == data[name].dtype
    assert [group.count for group in found.groups()] == [3]


def test_samples_of_several_lengths_are_grouped(model: Path) -> None:
    rows = [{name: array[0, :length] for name, array in arrays(1).items()} for length in (4, 6, 4, 5)]
    columns: Any = {name: [row[name] for row in rows] for name in rows[0]}
    found = fit_samples(columns, Runner(model).inputs, alone=True)
    assert sorted((group.count, group.feeds["x"].shape) for group in found.groups()) == [
        (1, (1, 5, WIDTH)),
        (1, (1, 6, WIDTH)),
        (2, (2, 4, WIDTH)),
    ]


def changed(**other: Any) -> Arrays:
    return {**arrays(4), **other}


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "no array for an input": (
        lambda: {"ids": arrays(4)["ids"]},
        r"'x' \(float32, \(any, any, 16\)\).*np\.savez",
    ),
    "an array of no input": (lambda: changed(mask=np.zeros(4)), "'mask', and the model has no such input"),
    "floats for ids": (lambda: changed(ids=np.zeros((4, 6))), "'ids'.*whole numbers, not float64"),
    "text": (lambda: changed(x=np.full((4, 6, WIDTH), "a")), "floats, not"),
    "a wrong width": (lambda: changed(x=np.zeros((4, 6, 5), np.float32)), r"'x'.*cannot be \(6, 5\)"),
    "a wrong rank": (lambda: changed(x=np.zeros((4, WIDTH), np.float32)), r"'x'.*cannot be \(16\)"),
    "no samples": (lambda: {name: array[:0] for name, array in arrays(4).items()}, "no samples"),
    "no steps": (lambda: {name: array[:, :0] for name, array in arrays(4).items()}, "is empty"),
    "other numbers of samples": (lambda: changed(ids=arrays(3)["ids"]), r"ids 3, x 4"),
    "NaN": (lambda: changed(x=np.full((4, 6, WIDTH), np.nan, np.float32)), "'x' holds NaN"),
    "numbers beyond float32": (
        lambda: changed(x=np.full((4, 6, WIDTH), -1e300)),
        "takes float32, numbers up to 3.403e.38, and there is 1e.300",
    ),
    "an id beyond the table": (lambda: changed(ids=np.full((4, 6), IDS)), "holds 50.*rows 0 to 49"),
    "an id below the table": (lambda: changed(ids=np.full((4, 6), -IDS - 1)), "holds -51.*rows 0 to 49"),
    "dicts of other names": (lambda: [{"ids": 1}, {"x": 2}], "different names"),
}


@pytest.mark.parametrize("name", BAD)
def test_data_that_do_not_fit_are_refused_in_one_line(name: str, model: Path) -> None:
    made, words = BAD[name]
    with pytest.raises(DataError, match=words) as caught:
        enxuto.compress(str(model), calibration=made(), bits=4, threads=1)
    assert "\n" not in str(caught.value)


ASKED_WRONGLY: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown output": ({"outputs": {"z": "values"}}, "no output 'z'"),
    "an unknown kind": ({"outputs": {"y": "pixels"}}, "not 'pixels'"),
    "nothing left": ({"outputs": {"y": "ignore", "p": "ignore", "c": "ignore"}}, "all are ignored"),
    "a weight of 0": ({"outputs": {"y": ("values", 0)}}, "positive number"),
    "no dict": ({"outputs": "y=values"}, "takes a dict"),
    "an SNR without values": (
        {"outputs": {"y": "ignore"}, "min_snr": 20, "bits": None},
        "min_snr= is of values",
    ),
    "a divergence without classes": (
        {"outputs": {"p": "ignore", "c": "ignore"}, "max_kl": 0.1, "bits": None},
        "max_kl= and min_agreement= are of classes",
    ),
    "points of top-1": ({"max_drop": 1, "bits": None}, "no labels"),
    "decibels that are no number": ({"min_snr": float("inf"), "bits": None}, "in decibels"),
}


@pytest.mark.parametrize("name", ASKED_WRONGLY)
def test_bounds_and_kinds_that_make_no_sense_are_refused(name: str, model: Path, tmp_path: Path) -> None:
    options, words = ASKED_WRONGLY[name]
    with pytest.raises(EnxutoError, match=words) as caught:
        enxuto.compress(str(model), data=arrays(24), threads=1, cache=tmp_path, **{"bits": 4, **options})
    assert isinstance(caught.value, (UsageError, DataError))
    assert "\n" not in str(caught.value)


JUDGES = {
    "raises": ("def judge(one, other):\n    raise KeyError('gone')\n", "raised", "in judge"),
    "gives NaN": ("def judge(one, other):\n    return float('nan')\n", "nan", ""),
    "gives no number": ("def judge(one, other):\n    return [1, 2]\n", "one number", ""),
    "is missing": ("", "cannot be loaded", ""),
}


@pytest.mark.parametrize("name", JUDGES)
def test_a_judge_that_fails_writes_nothing(name: str, model: Path, tmp_path: Path) -> None:
    source, words, shown = JUDGES[name]
    (tmp_path / "scores_here.py").write_text(source)
    np.savez(tmp_path / "a.npz", **arrays(12))
    done = subprocess.run(
        [sys.executable, "-m", "enxuto", "compress", str(model), "-o", "out.enx", "--calibration", "a.npz",
         "--judge", "scores_here:judge", "--max-judge-drop", "0.1"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert shown in done.stderr
    assert not (tmp_path / "out.enx").exists()


def test_directions_have_the_curvature_of_their_loss() -> None:
    """The mean of (direction · error)² is twice the loss of a small error, whatever the kind."""
    random = np.random.default_rng(2)
    scores = random.standard_normal((1, 3, 4))
    error = 1e-3 * random.standard_normal(scores.shape)
    cases = {
        "values": OutputLoss("y", "values", "y", scale=2.5),
        "binary": OutputLoss("y", "binary", "y"),
        "classes": OutputLoss("y", "classes", "y", axis=-1),
        "classes along another axis": OutputLoss("y", "classes", "y", axis=1),
        "one list of classes": OutputLoss("y", "classes", "y"),
    }
    for name, loss in cases.items():
        lost = float(loss.each(scores, scores + error, 1)[0])
        dots = [float(np.sum(loss.direction(scores, 1, random) * error)) for _ in range(4000)]
        assert np.mean(np.square(dots)) == pytest.approx(2 * lost, rel=0.15), name
    assert fisher_direction(scores[0], random).shape == (3, 4)


def test_directions_behind_a_squashing_function_are_those_before_it() -> None:
    random = np.random.default_rng(3)
    scores, error = random.standard_normal((1, 5)), 1e-3 * random.standard_normal((1, 5))
    soft = np.exp(scores) / np.exp(scores).sum()
    slopes = {
        "binary": (1 / (1 + np.exp(-scores)), lambda p: error * p * (1 - p)),
        "classes": (soft, lambda p: p * (error - np.sum(p * error))),
    }
    for kind, (shares, moved) in slopes.items():
        before = OutputLoss("y", kind, "y", "logits", axis=-1 if kind == "classes" else None)  # type: ignore[arg-type]
        behind = OutputLoss("y", kind, "y", "probabilities", axis=before.axis)  # type: ignore[arg-type]
        dots = [float(np.sum(behind.direction(shares, 1, random) * moved(shares))) for _ in range(4000)]
        lost = float(before.each(scores, scores + error, 1)[0])
        assert np.mean(np.square(dots)) == pytest.approx(2 * lost, rel=0.15), kind


def test_a_thousandth_of_the_variance_is_thirty_decibels() -> None:
    assert decibels(1e-3) == pytest.approx(30)
    assert decibels(0.0) == float("inf")


def labelled_classifier(tmp_path: Path) -> tuple[Path, Arrays]:
    """Two inputs whose sum a matrix sorts into three classes, and the classes."""
    random = np.random.default_rng(5)
    node = helper.make_node
    nodes = [node("Add", ["a", "b"], ["s"]), node("MatMul", ["s", "w"], ["l"]), node("Softmax", ["l"], ["y"])]
    weight = random.standard_normal((WIDTH, 3)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "g",
        [value("a", ["n", WIDTH]), value("b", ["n", WIDTH])],
        [value("y", ["n", 3])],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "l.onnx",
    )
    a, b = random.standard_normal((2, 60, WIDTH)).astype(np.float32)
    return tmp_path / "l.onnx", {"a": a, "b": b, "label": ((a + b) @ weight).argmax(axis=1)}


def test_labels_of_arrays_count_right_answers(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from enxuto.cli import app

    model, data = labelled_classifier(tmp_path)
    small = enxuto.compress(str(model), data=dict(data), max_drop=10, threads=1, cache=tmp_path / "cache")
    assert small.report is not None
    assert small.report.original_top1 == 100
    assert small.report.drop is not None
    assert small.report.drop_interval is not None
    assert small.report.drop_interval[0] < small.report.drop_interval[1], "an interval always has a width"
    small.save(tmp_path / "l.enx")
    np.savez(tmp_path / "l.npz", a=data["a"], b=data["b"], kind=data["label"])
    asked = ["evaluate", tmp_path / "l.enx", "--data", tmp_path / "l.npz", "--reference", model, "--json"]
    said = CliRunner().invoke(app, [str(word) for word in (*asked, "--label-column", "kind")])
    assert said.exit_code == 0, said.output
    scores = Runner(small.model).run({"a": data["a"], "b": data["b"]})[0]
    assert json.loads(said.stdout)["top1"] == pytest.approx(
        100 * np.mean(scores.argmax(axis=1) == data["label"])
    )
    assert json.loads(said.stdout)["original_top1"] == 100
    alone = [model, "--data", tmp_path / "l.npz", "--label-column", "kind", "--json"]
    said = CliRunner().invoke(app, ["evaluate", *map(str, alone)])
    assert said.exit_code == 0, said.output
    assert json.loads(said.stdout)["top1"] == 100


LABELS: dict[str, tuple[Any, str]] = {
    "as many as others": (np.zeros(59, np.int64), "59 labels for 60 samples"),
    "of classes that the model lacks": (np.full(60, 3), "label 3, and the model 3 outputs"),
    "negative": (np.full(60, -1), "a whole number from 0 up"),
    "floats": (np.zeros(60), "a whole number from 0 up"),
    "that have nothing to do with the answers": (np.arange(60) % 3, "no better than chance"),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_of_arrays_that_do_not_fit(name: str, tmp_path: Path) -> None:
    labels, words = LABELS[name]
    model, data = labelled_classifier(tmp_path)
    with pytest.raises(DataError, match=words):
        enxuto.compress(
            str(model), data={**data, "label": labels}, max_drop=1, threads=1, cache=tmp_path / "cache"
        )
