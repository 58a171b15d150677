"""`compress` with images: a stated loss, a stated size, no images at all; what it refuses and what it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

from enxuto.enx.file import CompressedModel
from enxuto.onnx_model import Model
from enxuto.opening import load
from enxuto.runtime import Runner

Invoke = Callable[..., Result]


def printed(result: Any) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.usefixtures("few_trials")
def test_a_bound_kept_by_luck_is_told(invoke: Invoke, digits: Path, images: Path) -> None:
    """All answers stay on some images; that none changes on the others is another matter, and the line says which."""
    words = ("compress", digits, "-o", digits.with_name("lucky.enx"), "--data", images, "--images", 64)
    result = invoke(*words, "--max-kl", 0.01)
    reported = next(line for line in result.stdout.splitlines() if "KL from the original" in line)
    missed = float(reported.split()[-2]) > 0.01
    assert ("on these images the divergence is" in " ".join(result.stderr.split())) == missed


def test_a_stated_loss(invoke: Invoke, digits: Path, images: Path) -> None:
    """The file is smaller than without images, keeps the bound where judged, and decodes to what was judged."""
    small = digits.with_name("small.enx")
    made = printed(
        invoke(
            "compress", digits, "-o", small, "--data", images, "--min-agreement", 97, "--images", 64, "--json"
        )
    )
    assert made["fits"]
    assert made["broken"] is None
    judged = [trial for trial in made["trials"] if trial["fits"]]
    assert min(trial["bytes"] for trial in judged) == small.stat().st_size
    assert all(trial["judged"]["agreement"] >= 97 for trial in judged)
    # 64 of 360 calibrate; the others judge and report, half each.
    assert made["calibration"]["images"] == 64
    assert made["reported"]["samples"] == 148
    assert made["reported"]["agreement"] > 90
    low, high = made["reported"]["agreement_interval"]
    assert low <= made["reported"]["agreement"] <= high
    assert (made["missed"] is None) == (made["reported"]["agreement"] >= 97)
    plain = digits.with_name("plain.enx")
    printed(invoke("compress", digits, "-o", plain, "--bits", 3, "--json"))
    assert small.stat().st_size < plain.stat().st_size
    read = CompressedModel.read(small)
    assert read.metadata["calibrated"]["images"] == 64
    verified = invoke("verify", small, digits)
    assert verified.exit_code == 0
    assert "10 moved by calibrated rounding" in verified.stdout
    x = np.random.default_rng(0).standard_normal((3, 1, 8, 8)).astype(np.float32)
    shape = Runner(load(digits)).inputs[0].shape[1:]
    x = np.resize(x, (3, *[int(size or 8) for size in shape]))
    np.testing.assert_array_equal(Runner(load(small)).scores(x), Runner(read.to_model()).scores(x))


def test_layers_of_the_report_add_up(invoke: Invoke, digits: Path, images: Path) -> None:
    made = printed(invoke("compress", digits, "--calibration", images, "--target-size", "20KB", "--json"))
    size = digits.with_suffix(".enx").stat().st_size
    assert 20_000 * 0.99 <= size <= 20_000
    assert made["reported"] is None
    assert sum(row["share_of_file"] for row in made["layers"]) < 1
    assert sum(row["share_of_loss"] or 0 for row in made["layers"]) == pytest.approx(1, abs=1e-3)
    biases = {row["method"] for row in made["layers"] if row["name"].endswith(" biases")}
    assert len(biases) == 1
    assert biases <= {"corrected", "kept"}
    others = {row["method"] for row in made["layers"] if not row["name"].endswith(" biases")}
    assert others <= {"calibrated", "nearest", "default"}
    shown = invoke(
        "compress", digits, "--calibration", images, "--target-size", "20KB", "--report", "--force"
    )
    assert shown.exit_code == 0
    assert "of the loss" in shown.stdout
    assert "20 KB" not in shown.stderr


def test_the_same_bytes_again(invoke: Invoke, digits: Path, images: Path) -> None:
    found = []
    for name in ("a.enx", "b.enx"):
        target = digits.with_name(name)
        words = ("--calibration", images, "--bits", 2.5, "--images", 48, "--threads", 1)
        assert invoke("compress", digits, "-o", target, *words).exit_code == 0
        found.append(target.read_bytes())
    assert found[0] == found[1]


def test_without_any_images(invoke: Invoke, digits: Path) -> None:
    made = printed(
        invoke("compress", digits, "--synthetic", "--bits", 3, "--images", 32, "--resize", "8,8", "--json")
    )
    assert made["calibration"]["data"] == "synthetic"
    assert made["fits"]


@pytest.mark.usefixtures("few_trials")
def test_synthetic_images_leave_all_others_to_judge(invoke: Invoke, digits: Path, images: Path) -> None:
    words = ("--data", images, "--min-agreement", 90, "--images", 32)
    made = printed(invoke("compress", digits, "--synthetic", *words, "--json"))
    assert made["calibration"]["data"] == "synthetic"
    assert made["reported"]["samples"] == 180
    assert {trial["judged"]["samples"] for trial in made["trials"]} == {180}


@pytest.mark.usefixtures("few_trials")
def test_a_bound_out_of_reach(invoke: Invoke, digits: Path, images: Path) -> None:
    """Exit 1, the nearest that was found written, and one line that says so."""
    result = invoke("compress", digits, "--data", images, "--max-drop", -50, "--images", 16)
    assert result.exit_code == 1
    last = result.stderr.strip().splitlines()[-1]
    assert "the bound cannot be met" in last
    assert "points of top-1" in last
    assert CompressedModel.read(digits.with_suffix(".enx")).metadata["parameters"] > 0


@pytest.mark.parametrize("words", [("--target-size", "10MB"), ("--bits", 40), ("--target-size", "9" * 400)])
def test_a_size_above_the_original(invoke: Invoke, digits: Path, words: tuple[object, ...]) -> None:
    """Not an error: weights as they are take less."""
    assert invoke("compress", digits, *words).exit_code == 0
    made, model = CompressedModel.read(digits.with_suffix(".enx")).to_model(), Model.read(digits)
    assert all(np.array_equal(made.load(name), model.load(name)) for name in model.weight_names)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--max-drop", 1), "give --data"),
        (("--report",), "--report is of calibrated rounding"),
        (("--synthetic",), "needs a bound"),
        (("--synthetic", "--bits", 3, "--quantizer", "mu-law", "--levels", 4), "chooses its own quantizers"),
        (("--bits", 3, "--target-size", "1KB"), "give one of them"),
        (("--target-size", "much"), "takes bytes such as"),
        (("--synthetic", "--calibration", "x", "--bits", 3), "give one of them"),
        (("--synthetic", "--bits", 0), "positive number"),
        (("--data", "nowhere.npz", "--max-kl", 0.1), "does not exist"),
        (("--synthetic", "--bits", 3, "--max-kl", 0.1), "cannot both be searched"),
        (("--bits", 3, "--max-kl", 0.1), "cannot both be searched"),
        (("--synthetic", "--max-kl", 0.1), "give --data"),
    ],
)
def test_what_cannot_be(invoke: Invoke, digits: Path, words: tuple[object, ...], message: str) -> None:
    result = invoke("compress", digits, *words)
    assert result.exit_code == 2, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not digits.with_suffix(".enx").exists()
