"""`enxuto curve` as a user calls it: computed once, gone on with, merged; and how progress shows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import Result

from enxuto.cli.shared.progress import clock_time
from tiny_classifier import tiny_network

Invoke = Callable[..., Result]
FEW = ("--limit", 40, "--levels", "5:6", "--methods", "midtread", "--workers", 0)


def with_channels_last(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The network with a Transpose in front, as converters from TensorFlow write."""
    (given,) = [item for item in proto.graph.input if item.name == "x"]
    for node in proto.graph.node:
        for place, name in enumerate(node.input):
            if name == "x":
                node.input[place] = "moved"
    proto.graph.node.insert(0, onnx.helper.make_node("Transpose", ["x"], ["moved"], perm=[0, 3, 1, 2]))
    sizes = [dim.dim_value or dim.dim_param for dim in given.type.tensor_type.shape.dim]
    given.CopyFrom(onnx.helper.make_tensor_value_info("x", 1, [sizes[place] for place in (0, 2, 3, 1)]))
    return proto


def test_a_curve_goes_on_with_what_is_recorded(
    invoke: Invoke, digits: Path, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "study"
    first = invoke("curve", digits, "--data", images, *FEW, "--output", out)
    assert first.exit_code == 0, first.output
    assert "Best settings" in first.stdout
    assert "midtread, 5" in first.stdout
    more = invoke(
        "curve", digits, "--data", images, *FEW, "--methods", "enxuto", "--bits", 5, "--output", out, "--json"
    )
    assert more.exit_code == 0, more.output
    assert "3 of 5 points are recorded already" in more.stderr
    said = json.loads(more.stdout)
    assert [point["setting"] for point in said["models"][0]["points"]] == [
        "midtread, 5", "midtread, 6", "enxuto, 5 bits", "enxuto, default",
    ]  # fmt: skip
    assert said["models"][0]["original"]["samples"] == 40
    assert said["failed"] == []
    assert len((out / "records.jsonl").read_text().splitlines()) == 5
    assert len(list(csv.DictReader(io.StringIO((out / "curve.csv").read_text())))) == 5
    assert sorted(path.name for path in out.glob("*.png")) == [
        f"digits-{kind}.png" for kind in ("bytes", "dead-zones", "methods")
    ]
    assert "all points" in (out / "curve.md").read_text()

    # Another machine has the same records in its own folder: nothing is computed again.
    other = invoke(
        "curve", digits, "--data", images, *FEW, "--merge", out, "--output", tmp_path / "other", "--all"
    )
    assert other.exit_code == 0, other.output
    assert "merged: 5 points added" in other.stderr
    assert "3 of 3 points are recorded already" in other.stderr
    assert "digits: all points" in other.stdout


@pytest.mark.parametrize("words", [(), ("--bits", 3)], ids=["default", "bits"])
@pytest.mark.parametrize("known", ["stored", "assumed", "said", "named arrays", "channels last"])
def test_a_point_is_of_the_file_that_compress_writes(
    known: str, words: tuple[object, ...], invoke: Invoke, digits: Path, images: Path, tmp_path: Path
) -> None:
    """Its bytes, whatever the file says of preprocessing."""
    said = ("--preprocess", "resnet-cifar") if known == "said" else ()
    if known != "stored":
        onnx.save(tiny_network(channels=3), digits)
        pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
        np.savez(images, images=pixels, labels=np.arange(40) % 10)
    if known in ("named arrays", "channels last"):
        shape = (40, 3, 8, 8) if known == "named arrays" else (40, 8, 8, 3)
        np.savez(images, x=np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    if known == "channels last":
        onnx.save(with_channels_last(tiny_network(channels=3)), digits)
    made = invoke("compress", digits, *said, *words)
    assert made.exit_code == 0, made.output
    shown = invoke("curve", digits, "--data", images, *said, "--methods", "enxuto", "--images", 0, "--workers", 0,
                   "--bits", 3, "--output", tmp_path / "study", "--json")  # fmt: skip
    assert shown.exit_code == 0, shown.output
    bits = 3 if words else None
    (point,) = [one for one in json.loads(shown.stdout)["models"][0]["points"] if one["bits"] == bits]
    assert point["file_bytes"] == digits.with_suffix(".enx").stat().st_size


def test_a_point_that_fails_is_told_and_ends_with_1(
    invoke: Invoke, digits: Path, images: Path, tmp_path: Path
) -> None:
    result = invoke("curve", digits, "--data", images, *FEW, "--methods", "enxuto", "--bits", 0.01,
                    "--output", tmp_path / "study")  # fmt: skip
    assert result.exit_code == 1
    assert "0.01 bits per weight cannot be reached" in result.stderr
    assert "1 points failed" in result.stderr
    assert "midtread, 5" in result.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--levels", "9"), "LOW:HIGH"), (("--levels", "9:3"), "LOW:HIGH"), (("--methods", "magic"), "no method"),
        (("--bits", 0), "positive numbers"), (("--scheduler", "tcp://127.0.0.1:1"), "leave out --workers"),
    ],
)  # fmt: skip
def test_wrong_options_are_one_line(
    invoke: Invoke, digits: Path, images: Path, tmp_path: Path, words: tuple[object, ...], says: str
) -> None:
    result = invoke("curve", digits, "--data", images, *FEW, "--output", tmp_path / "study", *words)
    assert result.exit_code == 2
    assert says in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_time_is_said_as_people_say_it() -> None:
    assert [clock_time(seconds) for seconds in (4, 80, 800, 12_100)] == ["0:04", "1:20", "13:20", "3:21:40"]


def test_calibrated_points_stand_beside_the_others(
    invoke: Invoke, digits: Path, images: Path, tmp_path: Path
) -> None:
    words = ("curve", digits, "--data", images, "--limit", 90, "--levels", "5:5", "--methods",
             "midtread,enxuto calibrated", "--bits", 3, "--images", 20, "--workers", 0,
             "--output", tmp_path / "study")  # fmt: skip
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    assert "enxuto calibrated, about 3 bits" in result.stdout
    said = " ".join(result.stdout.split())
    assert "Calibrated on 20 images" in said
    assert "none of them among those judged" in said
    with (tmp_path / "study" / "curve.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["samples"]) for row in rows] == [
        ("original", "70"), ("midtread", "70"), ("enxuto calibrated", "70"),
    ]  # fmt: skip
    again = invoke(*words, "--json")
    assert "4 of 4 points are recorded already" in again.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--methods", "midtread", "--calibration", "photos/"), "which --methods leaves out"),
        (("--methods", "enxuto calibrated", "--images", 0), "leaves no images to calibrate"),
        (("--images", 1), "at least 2 images"),
        (("--limit", 4), "too few to calibrate"),
        (("--calibration", "nowhere.npz"), "nowhere.npz"),
    ],
)
def test_calibration_without_use_or_images_is_refused(
    invoke: Invoke, digits: Path, images: Path, tmp_path: Path, words: tuple[object, ...], said: str
) -> None:
    result = invoke("curve", digits, "--data", images, *words, "--output", tmp_path / "study")
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "study").exists()
