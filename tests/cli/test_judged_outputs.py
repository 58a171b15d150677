"""Verbs on models of other kinds: errors of images, judges without data, uint8 images, one set of figures."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from typer.testing import Result

from enxuto.compression.data_free import compress
from enxuto.compression.judge import Judge
from enxuto.data import open_dataset
from enxuto.enx.file import CompressedModel
from enxuto.onnx_model import Model
from enxuto.opening import load, load_with_metadata, preprocess_of
from enxuto.report.results import read_results
from enxuto.runtime import Runner
from enxuto.studies.curve.modes import default_settings
from enxuto.studies.curve.points import Subject, points
from enxuto.study import Serial, Study

Invoke = Callable[..., Result]
random = np.random.default_rng(0)


def save(path: Path, nodes: list[Any], x: Any, y: Any, **weights: np.ndarray) -> Path:
    graph = helper.make_graph(
        nodes, "g", [x], [y], [numpy_helper.from_array(a, name) for name, a in weights.items()]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def sharpener(tmp_path: Path) -> Path:
    """An image network: images (N, 1, 16, 16) → images."""
    value = helper.make_tensor_value_info
    kernel = 0.05 * random.standard_normal((64, 1, 5, 5)).astype(np.float32)
    kernel[:, :, 2, 2] += 0.5
    return save(
        tmp_path / "sharp.onnx",
        [helper.make_node("Conv", ["x", "v"], ["h"], pads=[2] * 4), helper.make_node("Conv", ["h", "w"], ["y"])],
        value("x", TensorProto.FLOAT, ["n", 1, 16, 16]), value("y", TensorProto.FLOAT, ["n", 1, 16, 16]),
        v=kernel, w=np.full((1, 64, 1, 1), 1 / 32, np.float32),
    )  # fmt: skip


def test_errors_of_images_are_printed(invoke: Invoke, sharpener: Path, tmp_path: Path) -> None:
    x = random.random((12, 1, 16, 16)).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=x)
    assert invoke("compress", sharpener, "-o", tmp_path / "a.enx").exit_code == 0
    asked = ("evaluate", tmp_path / "a.enx", "--data", tmp_path / "a.npz", "--reference", sharpener)
    result = invoke(*asked)
    assert result.exit_code == 0, result.output
    one, other = (Runner(load(path)).scores(x).astype(np.float64) for path in (sharpener, tmp_path / "a.enx"))
    error = one - other
    shown = dict(
        line.strip().split(maxsplit=1) for line in result.stdout.splitlines() if len(line.split()) > 1
    )
    expected = {
        "SSE": np.sum(error**2), "MSE": np.mean(error**2), "RMSE": np.sqrt(np.mean(error**2)),
        "SAE": np.sum(np.abs(error)), "MAE": np.mean(np.abs(error)),
    }  # fmt: skip
    for name, figure in expected.items():
        assert float(shown[name]) == pytest.approx(figure, rel=1e-4), name
    assert float(shown["PSNR"].split()[0]) == pytest.approx(-10 * np.log10(expected["MSE"]), abs=0.01)
    assert 0 < float(shown["SSIM"]) < 1
    (output,) = json.loads(invoke(*asked, "--json").stdout)["outputs"]
    assert output["signal"]["mse"] == pytest.approx(expected["MSE"], rel=1e-4)


def test_others_show_no_more_than_their_snr(invoke: Invoke, tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    model = save(
        tmp_path / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["embedding"])],
        value("x", TensorProto.FLOAT, ["n", 8]), value("embedding", TensorProto.FLOAT, ["n", 6]),
        w=random.standard_normal((8, 6)).astype(np.float32),
    )  # fmt: skip
    np.savez(tmp_path / "a.npz", x=random.standard_normal((12, 8)).astype(np.float32))
    result = invoke("evaluate", model, "--data", tmp_path / "a.npz", "--reference", model)
    assert "signal to error (SNR)" in result.stdout
    assert "SSE" not in result.stdout
    assert "'embedding' looks like quantities" in result.stderr


SCORES = {
    "a bound that holds": (
        "return -abs(float(b.run(None, f)[0].sum() - a.run(None, f)[0].sum()))",
        0,
        "the judge gives",
    ),
    "a judge that raises": ("raise KeyError('gone')", 2, "raised KeyError"),
    "NaN for compressed models": (
        "return 1.0 if a is b else float('nan')",
        2,
        "gives NaN for a compressed model",
    ),
    "NaN for the original": ("return float('nan')", 2, "gives the original nan"),
    "text": ("return 'good'", 2, "must give one number"),
    "text of digits": ("return '0.5'", 2, "must give one number, not text, '0.5'"),
    "an array of text": ("return np.array('0.5')", 2, "must give one number, not text"),
    "an exit": ("raise SystemExit(3)", 2, "ends the process (sys.exit(3)); nothing was written"),
    "an exit without a word": ("raise SystemExit", 2, "ends the process (sys.exit())"),
}


@pytest.mark.parametrize("name", SCORES)
def test_a_judge_brings_its_own_data(
    invoke: Invoke, sharpener: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    body, code, words = SCORES[name]
    module = f"scores_{abs(hash(name))}"
    made = "import numpy as np\nf = {'x': np.ones((1, 1, 16, 16), np.float32)}\n"
    (tmp_path / f"{module}.py").write_text(f"{made}def judge(a, b):\n    {body}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    result = invoke(
        "compress", sharpener, "-o", "out.enx", "--judge", f"{module}:judge", "--max-judge-drop", 5
    )
    assert result.exit_code == code, result.output
    assert words in result.stderr
    assert (tmp_path / "out.enx").exists() == (code == 0)
    if "raises" in name:
        assert "Traceback (most recent call last):\n" in result.stderr
        assert "in judge" in result.stderr


def test_a_judge_that_exits_when_it_is_loaded(
    invoke: Invoke, sharpener: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "exits_at_once.py").write_text("raise SystemExit('no data')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    result = invoke("compress", sharpener, "--judge", "exits_at_once:judge", "--max-judge-drop", 1)
    assert result.exit_code == 2
    assert "cannot be loaded: it ends the process (sys.exit('no data'))" in result.stderr


@pytest.mark.parametrize(
    "more", [("--data", "a.npz"), ("--calibration", "a.npz")], ids=["data", "calibration"]
)
def test_the_table_shows_the_judge_that_bounds(
    invoke: Invoke, sharpener: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "scores_of_half.py").write_text("def judge(a, b):\n    return 1.0 if a is b else 0.75\n")
    np.savez("a.npz", x=random.standard_normal((24, 1, 16, 16)).astype(np.float32))
    words = (
        "compress",
        sharpener,
        "-o",
        "out.enx",
        "--judge",
        "scores_of_half:judge",
        "--max-judge-drop",
        0.5,
    )
    result = invoke(*words, *more)
    assert result.exit_code == 0, result.output
    assert re.search(r"judge of the original +1\n", result.output)
    assert re.search(r"judge of the file +0\.75 \(-0\.25\)", result.output)
    told = json.loads(invoke(*words, *more, "--json", "--force").stdout)
    assert told["judge"] == {"original": 1, "compressed": 0.75}


def test_a_judge_and_a_size_contradict_each_other(invoke: Invoke, sharpener: Path) -> None:
    result = invoke("compress", sharpener, "--judge", "a:b", "--max-judge-drop", 1, "--bits", 4)
    assert result.exit_code == 2
    assert "cannot both be searched" in result.stderr


@pytest.fixture
def pixels(tmp_path: Path) -> Path:
    """A classifier of uint8 images (1, 8, 8, 3), channels last, with its preprocessing inside; batch of one."""
    value, node = helper.make_tensor_value_info, helper.make_node
    nodes = [node("Cast", ["x"], ["f"], to=TensorProto.FLOAT), node("Div", ["f", "most"], ["d"]),
             node("Transpose", ["d"], ["t"], perm=[0, 3, 1, 2]), node("Conv", ["t", "v"], ["c"], pads=[1] * 4),
             node("GlobalAveragePool", ["c"], ["g"]), node("Flatten", ["g"], ["p"]),
             node("MatMul", ["p", "w"], ["logits"])]  # fmt: skip
    first = random.standard_normal((16, 3, 3, 3)).astype(np.float32)
    last = np.linalg.pinv(first.sum(axis=(2, 3))).T.astype(np.float32)
    return save(
        tmp_path / "pixels.onnx", nodes, value("x", TensorProto.UINT8, [1, 8, 8, 3]),
        value("logits", TensorProto.FLOAT, [1, 3]), most=np.array(255, np.float32), v=first, w=last,
    )  # fmt: skip


def photos(root: Path) -> Path:
    for label in range(3):
        (root / str(label)).mkdir(parents=True)
        for number in range(8):
            image = random.integers(0, 120, (8, 8, 3)).astype(np.uint8)
            image[..., label] += 100
            Image.fromarray(image).save(root / str(label) / f"{number}.png")
    return root


def test_whole_pixels_channels_last_one_at_a_time(invoke: Invoke, pixels: Path, tmp_path: Path) -> None:
    data = photos(tmp_path / "photos")
    out = tmp_path / "a.enx"
    result = invoke("compress", pixels, "-o", out, "--data", data, "--max-drop", 20, "--json")
    assert result.exit_code == 0, result.output
    assert "pixels are fed as they are, 0 to 255" in result.stderr
    assert json.loads(result.stdout)["reported"]["original_top1"] == 100
    said = invoke("evaluate", out, "--data", data, "--json")
    assert said.exit_code == 0, said.output
    assert json.loads(said.stdout)["preprocess"]["layout"] == "NHWC"
    assert json.loads(said.stdout)["metrics"]["accuracy"] > 0.9
    halved = invoke("evaluate", pixels, "--data", data, "--divide-by", 255)
    assert halved.exit_code == 2
    assert "takes uint8, not numbers such as" in halved.stderr


def test_outputs_that_are_no_list_of_classes_are_compared(
    invoke: Invoke, sharpener: Path, tmp_path: Path
) -> None:
    for name in ("1", "2"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(4):
            image = Image.fromarray(random.integers(0, 255, (16, 16)).astype(np.uint8))
            image.save(tmp_path / "photos" / name / f"{number}.png")
    for words in (("evaluate", sharpener, "--reference", sharpener), ("compare", sharpener, sharpener)):
        result = invoke(*words, "--data", tmp_path / "photos", "--channels", "L", "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["outputs"][0]["kind"] == "values"
        assert "nothing with labels: " in result.stderr


def test_curve_compare_and_evaluate_say_the_same_of_outputs(
    invoke: Invoke, sharpener: Path, tmp_path: Path
) -> None:
    """To the last digit, and NumPy nearly so."""
    np.savez(tmp_path / "a.npz", x=random.random((12, 1, 16, 16)).astype(np.float32))
    data = ("--data", tmp_path / "a.npz")
    compress(Model.read(sharpener), steps="checked").save(tmp_path / "a.enx")
    few = ("--methods", "enxuto", "--bits", 8, "--images", 0, "--workers", 0, "-o", tmp_path / "s")
    curve = invoke("curve", sharpener, *data, *few, "--json")
    assert curve.exit_code == 0, curve.output
    points = {one["setting"]: one for one in json.loads(curve.stdout)["models"][0]["points"]}
    evaluated = json.loads(
        invoke("evaluate", tmp_path / "a.enx", *data, "--reference", sharpener, "--json").stdout
    )
    compared = json.loads(invoke("compare", sharpener, tmp_path / "a.enx", *data, "--json").stdout)
    lost = points["enxuto, default"]["values_loss"]
    assert lost > 0
    assert evaluated["values_loss"] == lost == compared["values_loss"]
    lines = list(csv.DictReader(io.StringIO((tmp_path / "s" / "curve.csv").read_text())))
    assert [line["setting"] for line in lines] == ["original", "enxuto, 8 bits", "enxuto, default"]
    assert float(lines[2]["snr_db"]) == pytest.approx(evaluated["snr_db"], rel=1e-12)
    assert (tmp_path / "s" / "sharp-outputs.png").exists()
    (tmp_path / "curve.json").write_text(curve.stdout)
    for source in (tmp_path / "s", tmp_path / "curve.json"):
        (shown,) = read_results([source]).exhibits
        assert (shown.kind, shown.title) == ("rate-curve", "sharp: rate and what is kept")
        assert [row[0] for row in shown.tables[0].rows] == ["original", "enxuto, 8 bits", "enxuto, default"]
        assert [measure.key for measure in shown.charts[0].y] == ["snr"]


def test_compress_curve_compare_and_evaluate_say_the_same_of_classes(
    invoke: Invoke, digits: Path, images: Path, tmp_path: Path
) -> None:
    compress(Model.read(digits), steps="checked").save(tmp_path / "a.enx")
    how = preprocess_of(load_with_metadata(digits)[1])
    assert how is not None
    subject = Subject.open("digits", digits, str(images), {}, how)
    results = Study(points(subject, default_settings(())), tmp_path / "s").run(Serial())
    lost = next(
        one.values["kl"] for one in results if one.values and one.settings["compress"]["mode"] == "default"
    )
    assert lost > 0
    small = tmp_path / "a.enx"
    for words in (("evaluate", small, "--reference", digits), ("compare", digits, small)):
        assert json.loads(invoke(*words, "--data", images, "--json").stdout)["kl"] == lost
    assert Judge(Model.read(digits), open_dataset(images), how)(CompressedModel.read(small)).kl == lost


def test_columns_that_are_far_apart_are_a_warning(invoke: Invoke, tmp_path: Path) -> None:
    """A bound in dB counts offsets between columns as signal, so that a file of nothing may keep it."""
    made, value = helper.make_node, helper.make_tensor_value_info
    model = save(
        tmp_path / "m.onnx", [made("MatMul", ["x", "w"], ["h"]), made("Add", ["h", "b"], ["y"])],
        value("x", TensorProto.FLOAT, ["n", 8]), value("y", TensorProto.FLOAT, ["n", 4]),
        w=0.05 * random.standard_normal((8, 4)).astype(np.float32), b=np.array([1000, 0, -500, 3], np.float32),
    )  # fmt: skip
    np.savez(tmp_path / "x.npz", x=random.standard_normal((60, 8)).astype(np.float32))
    data = ("--data", tmp_path / "x.npz", "--outputs", "y=values", "--threads", 1)
    made_file = invoke("compress", model, *data, "--min-snr", 30, "-o", tmp_path / "m.enx")
    judged = invoke("evaluate", tmp_path / "m.enx", "--reference", model, *data)
    for result in (made_file, judged):
        assert result.exit_code == 0, result.output
        assert re.search(
            r"warning: output 'y': its columns differ .* dB more", result.stderr.replace("\n", " ")
        )
