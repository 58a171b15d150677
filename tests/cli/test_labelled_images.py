"""Verbs that take labelled images: labels count the model's outputs; images without labels do where none counts them.

The network answers the colour that is strongest, so its right answers are known by construction.
"""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from typer.testing import CliRunner, Result

from enxuto.cli import app
from enxuto.data import Preprocess, open_dataset
from enxuto.studies.curve.calibration import CalibrationSplit
from enxuto.studies.curve.points import Subject

Invoke = Callable[..., Result]
COLOURS = {"a_red": 0, "b_green": 1, "c_blue": 2}
FEW = ("--levels", "7:7", "--methods", "midtread", "--workers", 0)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Means of the three channels through two convolutions that nearly undo each other; it names its classes."""
    random = np.random.default_rng(0)
    first = 0.02 * random.standard_normal((16, 3, 3, 3))
    first[:, :, 1, 1] = random.standard_normal((16, 3))
    second = np.linalg.pinv(first[:, :, 1, 1]).reshape(3, 16, 1, 1)
    weights = [
        numpy_helper.from_array(values.astype(np.float32), name)
        for name, values in (("v", first), ("w", second))
    ]
    nodes = [helper.make_node("Conv", ["x", "v"], ["h"], pads=[1] * 4), helper.make_node("Conv", ["h", "w"], ["c"]),
             helper.make_node("GlobalAveragePool", ["c"], ["g"]),
             helper.make_node("Flatten", ["g"], ["y"])]  # fmt: skip
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in (("x", ["N", 3, 8, 8]), ("y", ["N", 3]))]  # fmt: skip
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.metadata_props.add(key="enxuto.labels", value=json.dumps(list(COLOURS)))
    onnx.save(model, tmp_path / "colours.onnx")
    return tmp_path / "colours.onnx"


@pytest.fixture
def nameless(network: Path) -> Path:
    """The same without class names."""
    model = onnx.load(network)
    del model.metadata_props[:]
    onnx.save(model, network.with_name("nameless.onnx"))
    return network.with_name("nameless.onnx")


def pictures(root: Path, colours: dict[str, int]) -> Path:
    """Ten images of each colour in a folder of its name."""
    for name, channel in colours.items():
        (root / name).mkdir(parents=True)
        for number in range(10):
            image = np.full((8, 8, 3), 30 + number, np.uint8)
            image[..., channel] = 200
            Image.fromarray(image).save(root / name / f"{number}.png")
    return root


def top1(verb: str, result: Result) -> float:
    """What a verb says of the original's right answers."""
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    match verb:
        case "evaluate":
            return float(said["metrics"]["accuracy"])
        case "compare":
            return float(said["top1"][0])
        case _:
            return float(said["models"][0]["original"]["top1"])


def asked(invoke: Invoke, verb: str, model: Path, data: Path, *words: object) -> Result:
    """evaluate, compare and curve of one model on the data."""
    match verb:
        case "evaluate":
            return invoke("evaluate", model, "--data", data, "--json", *words)
        case "compare":
            return invoke("compare", model, model, "--data", data, "--layer-images", 0, "--json", *words)
        case _:
            return invoke(
                "curve", model, "--data", data, "--output", model.parent / "s", "--json", *FEW, *words
            )


VERBS = pytest.mark.parametrize("verb", ["evaluate", "compare", "curve"])
QUICK = pytest.mark.parametrize("verb", ["evaluate", "compare"])  # curves draw charts, which takes seconds


@VERBS
def test_a_class_that_the_data_lack_moves_no_other(
    invoke: Invoke, network: Path, tmp_path: Path, verb: str
) -> None:
    data = pictures(tmp_path / "test", {"a_red": 0, "c_blue": 2})
    result = asked(invoke, verb, network, data)
    assert top1(verb, result) == 1.0
    assert "has 2 of the model's 3 classes, not 'b_green'; labels are matched by class name" in result.stderr
    assert result.stderr.count("matched by class name") == 1


@QUICK
def test_another_order_is_matched(invoke: Invoke, network: Path, tmp_path: Path, verb: str) -> None:
    model = onnx.load(network)
    model.metadata_props[0].value = json.dumps(["zebra red", "Green", "BLUE"])
    onnx.save(model, network)
    data = pictures(tmp_path / "test", {"blue": 2, "green": 1, "Zebra_Red": 0})
    result = asked(invoke, verb, network, data)
    assert top1(verb, result) == 1.0
    assert "labels are matched by class name" in result.stderr


@VERBS
def test_a_class_that_the_model_lacks_is_named(
    invoke: Invoke, network: Path, tmp_path: Path, verb: str
) -> None:
    data = pictures(tmp_path / "test", {"a_red": 0, "b_brown": 1, "c_blue": 2})
    result = asked(invoke, verb, network, data)
    assert result.exit_code == 2
    assert "'b_brown'" in result.stderr


@QUICK
def test_names_from_a_file(invoke: Invoke, nameless: Path, tmp_path: Path, verb: str) -> None:
    data = pictures(tmp_path / "test", {"b_green": 1, "c_blue": 2})
    for name, text in (
        ("l.txt", "\n".join(COLOURS)),
        ("l.json", json.dumps({str(v): k for k, v in COLOURS.items()})),
    ):
        (tmp_path / name).write_text(text)
        shutil.rmtree(tmp_path / "s", ignore_errors=True)
        assert top1(verb, asked(invoke, verb, nameless, data, "--labels", tmp_path / name)) == 1.0
    (tmp_path / "l.txt").write_text("one\ntwo\n")
    result = asked(invoke, verb, nameless, data, "--labels", tmp_path / "l.txt")
    assert result.exit_code == 2
    assert "names 2 classes and the model has 3 outputs" in result.stderr


@QUICK
def test_without_names_a_difference_of_counts_is_told(
    invoke: Invoke, nameless: Path, tmp_path: Path, verb: str
) -> None:
    data = pictures(tmp_path / "test", {"b_green": 1, "c_blue": 2})
    result = asked(invoke, verb, nameless, data)
    assert result.exit_code == 0
    assert "has 2 classes and the model 3 outputs" in result.stderr
    result = asked(invoke, verb, nameless, pictures(tmp_path / "more", dict.fromkeys("abcd", 0)))
    assert result.exit_code == 2
    assert "4 classes, more than the model's 3 outputs" in result.stderr


@QUICK
def test_folders_called_by_numbers(invoke: Invoke, nameless: Path, tmp_path: Path, verb: str) -> None:
    assert top1(verb, asked(invoke, verb, nameless, pictures(tmp_path / "test", {"2": 2, "0": 0}))) == 1.0


def test_the_file_that_compress_writes_keeps_the_names(invoke: Invoke, network: Path, tmp_path: Path) -> None:
    data = pictures(tmp_path / "test", {"a_red": 0, "c_blue": 2})
    assert invoke("compress", network, "-o", tmp_path / "c.enx").exit_code == 0
    assert top1("evaluate", asked(invoke, "evaluate", tmp_path / "c.enx", data)) == 1.0


@pytest.mark.parametrize("verb", ["evaluate", "compare", "curve", "compress"])
def test_verbs_share_the_options_of_data(verb: str) -> None:
    shown = CliRunner().invoke(app, [verb, "--help"]).output
    for option in (
        "--format",
        "--split",
        "--limit",
        "--seed",
        "--image-column",
        "--label-column",
        "--labels",
    ):
        assert option in shown, f"{verb} has no {option}"


# --- images without labels


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Images without labels, half of them in a subfolder of a subfolder, and what is no image."""
    random = np.random.default_rng(1)
    for number in range(80):
        place = tmp_path / "photos" / ("" if number % 2 else "2020/may") / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(place)
    (tmp_path / "photos" / "notes.txt").write_text("x")
    return tmp_path / "photos"


@pytest.fixture
def loose(photos: Path) -> Path:
    """The same without subfolders."""
    shutil.rmtree(photos / "2020")
    return photos


def said(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_any_folder_of_images_calibrates(invoke: Invoke, network: Path, photos: Path) -> None:
    words = ("compress", network, "--force", "--calibration", photos, "--target-size", "1KB", "--json")
    assert said(invoke(*words))["calibration"]["images"] == 80, "those of subfolders too"
    assert said(invoke(*words, "--limit", 12))["calibration"]["images"] == 12


def test_any_folder_of_images_calibrates_a_curve(network: Path, photos: Path, tmp_path: Path) -> None:
    data = pictures(tmp_path / "test", COLOURS)
    subject = Subject.open(
        "colours", network, str(data), {}, Preprocess(), CalibrationSplit(60, own=True), str(photos)
    )
    assert subject.calibration_hash is not None
    assert subject.data_hash == open_dataset(data).hash


@pytest.mark.usefixtures("few_trials")
@pytest.mark.parametrize("layout", ["loose", "by year", "by place"])
def test_images_without_labels_judge_answers(
    invoke: Invoke, network: Path, photos: Path, layout: str
) -> None:
    """Loose, or in folders that are no classes of the model."""
    if layout != "loose":
        for number, file in enumerate(sorted(photos.glob("*.png"))):
            folder = photos / (str(2020 + number % 2) if layout == "by year" else f"place {number % 12:02}")
            folder.mkdir(exist_ok=True)
            file.rename(folder / file.name)
    made = invoke("compress", network, "--force", "--data", photos, "--images", 12, "--max-kl", 0.5, "--json")
    found = said(made)
    assert found["fits"]
    assert found["reported"]["kl"] > 0
    assert [found["reported"][name] for name in ("top1", "drop", "drop_interval")] == [None, None, None]
    assert "answers are compared with the original's, and no top-1 is shown" in made.stderr
    assert not re.search(r"top-1 \d", made.stderr)
    result = invoke("compress", network, "--force", "--data", photos, "--max-drop", 1)
    assert result.exit_code == 2
    assert "error: " in result.stderr


def test_the_table_of_images_without_labels_tells_no_top1(invoke: Invoke, network: Path, loose: Path) -> None:
    told = invoke("compress", network, "--force", "--data", loose, "--images", 12, "--target-size", "1KB")
    assert told.exit_code == 0, told.output
    assert "same answers" in told.stdout
    assert "top-1" not in told.stdout
    result = invoke("compress", network, "--force", "--data", loose, "--max-drop", 1)
    assert result.exit_code == 2
    assert "holds images without labels" in result.stderr


def test_evaluate_and_images_without_labels(invoke: Invoke, network: Path, loose: Path) -> None:
    result = invoke("evaluate", network, "--data", loose)
    assert result.exit_code == 2
    assert "holds images without labels" in result.stderr
    followed = said(invoke("evaluate", network, "--data", loose, "--reference", network, "--json"))
    assert (followed["samples"], followed["agreement"], followed["kl"]) == (
        40,
        1.0,
        pytest.approx(0, abs=1e-9),
    )
    assert "metrics" not in followed
    shown = invoke("evaluate", network, "--data", loose, "--reference", network)
    assert "same answers" in shown.stdout
    assert "top-1" not in shown.stdout


def test_options_of_data_reach_the_data(invoke: Invoke, network: Path, tmp_path: Path) -> None:
    """Columns of odd names, in shards of two parts."""
    labels = np.random.default_rng(2).integers(0, 3, 160)
    (tmp_path / "set").mkdir()
    for part, start in (("train", 0), ("test", 100)):
        rows = []
        for number in range(start, start + 60):
            stream = io.BytesIO()
            pixels = np.full((8, 8, 3), 30, np.uint8)
            pixels[..., labels[number]] = 200
            Image.fromarray(pixels).save(stream, "PNG")
            rows.append(stream.getvalue())
        pq.write_table(
            pa.table({"other": pa.array([b""] * 60), "scan": pa.array(rows), "n": pa.array(range(60)),
                      "value": pa.array(labels[start : start + 60])}),
            tmp_path / "set" / f"{part}-0.parquet",
        )  # fmt: skip
    words = ["compress", network, "--force", "--data", tmp_path / "set", "--split", "test", "--format", "parquet",
             "--image-column", "scan", "--label-column", "value", "--limit", 48, "--images", 12,
             "--target-size", "1KB", "--json"]  # fmt: skip
    made = said(invoke(*words))
    assert made["calibration"]["images"] == 12
    assert made["reported"]["samples"] == 36
    assert made["reported"]["top1"] > 80
    only = ["compress", network, "--force", "--calibration", tmp_path / "set", "--calibration-split", "train",
            "--image-column",
            "scan", "--format", "parquet", "--images", 10, "--target-size", "1KB", "--json"]  # fmt: skip
    assert said(invoke(*only))["calibration"]["images"] == 10


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--split", "test"), "--split is of images; give --data or --calibration"),
        (
            ("--calibration-split", "test", "--data", "DATA", "--bits", 3),
            "--calibration-split is of --calibration",
        ),
        (("--labels", "FILE", "--calibration", "DATA", "--bits", 3), "--labels names classes of --data"),
        (("--data", "DATA", "--bits", 3, "--format", "4,3"), "no data format is called '4,3'"),
        (("--data", "DATA", "--bits", 3, "--format", "idx"), "idx"),
    ],
)
def test_options_that_make_no_sense(
    invoke: Invoke, network: Path, images: Path, words: Any, told: Any
) -> None:
    given = [{"DATA": images, "FILE": images}.get(word, word) for word in words]
    result = invoke("compress", network, *given)
    assert result.exit_code == 2, result.output
    assert told in result.stderr
    assert not network.with_suffix(".enx").exists()


def test_minifloat_keeps_its_format(invoke: Invoke, network: Path) -> None:
    assert (
        invoke("compress", network, "--force", "--quantizer", "minifloat", "--minifloat", "4,3").exit_code
        == 0
    )


def test_labels_that_have_nothing_to_do_with_the_answers_are_told(
    invoke: Invoke, nameless: Path, tmp_path: Path
) -> None:
    """As where class folders, without names in the model, sort in another order than its outputs do."""
    right = pictures(tmp_path / "right", {"a": 0, "b": 1, "c": 2})
    assert "chance" not in invoke("evaluate", nameless, "--data", right).stderr
    turned = pictures(tmp_path / "turned", {"a": 1, "b": 2, "c": 0})
    result = invoke("evaluate", nameless, "--data", turned)
    assert result.exit_code == 0
    assert "top-1, 0 of 30, is no better than chance (33.3 %): are the labels" in " ".join(
        result.stderr.split()
    )
