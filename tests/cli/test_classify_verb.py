"""`enxuto classify`: names and percent for every image, as a table and as JSON; one line for what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from typer.testing import Result

import enxuto
from enxuto.demo import TEST_IMAGES
from enxuto.onnx_model.carried import PREPROCESS_KEY
from tiny_classifier import tiny_network

Invoke = Callable[..., Result]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with three of the packaged images."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, pixels in enumerate(np.load(TEST_IMAGES)["images"][:3]):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def without_preprocess(path: Path) -> Path:
    """The same network in a file that says nothing of preprocessing."""
    proto = onnx.load(path)
    kept = [(prop.key, prop.value) for prop in proto.metadata_props if prop.key != PREPROCESS_KEY]
    del proto.metadata_props[:]
    for key, value in kept:
        proto.metadata_props.add(key=key, value=value)
    bare = path.with_name("bare.onnx")
    onnx.save(proto, bare)
    return bare


def printed(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_json_holds_what_predict_gives(invoke: Invoke, digits: Path, photos: Path) -> None:
    found = printed(invoke("classify", digits, photos, "--top", 3, "--json"))
    assert found["schema"] == "enxuto.classify/1"
    assert found["provenance"]["samples"] == 3
    model = enxuto.load(digits)
    assert found["preprocess"] == model.preprocess.to_dict() if model.preprocess else None
    for entry, path in zip(found["images"], sorted(photos.iterdir()), strict=True):
        assert entry["image"] == str(path)
        assert entry["milliseconds"] > 0
        expected = model.predict(path, top=3)
        assert entry["classes"] == [vars(one) for one in expected]


def test_the_table_names_images_classes_and_percent(invoke: Invoke, digits: Path, photos: Path) -> None:
    assert invoke("compress", digits, "--no-xz").exit_code == 0
    found = invoke("classify", digits.with_suffix(".enx"), photos / "0.png", f"{photos}/[12].png")
    assert found.exit_code == 0, found.output
    assert all(f"{number}.png" in found.stdout for number in range(3))
    assert found.stdout.count("%") == 15
    assert "L, x/255, NCHW" in found.stdout


@pytest.mark.parametrize("words", [("--data", "photos"), ("--calibration", "photos")])
def test_files_that_images_calibrated_need_no_word_on_preprocessing(
    words: tuple[str, ...], invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it was assumed: what is told to `compress` is told to no verb that takes its file."""
    monkeypatch.chdir(tmp_path)
    onnx.save(tiny_network(channels=3), "net.onnx")
    Path("photos").mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)):
        Image.fromarray(pixels).save(f"photos/{number}.png")
    made = invoke("compress", "net.onnx", *words, "--bits", 8)
    assert made.exit_code == 0, made.output
    assert "no preprocessing is known" in made.stderr
    for verb in (
        ("classify", "net.enx", "photos/0.png"),
        ("evaluate", "net.enx", "--data", "photos", "--reference", "net.onnx"),
    ):
        result = invoke(*verb)
        assert result.exit_code == 0, result.output
        assert "no preprocessing is known" not in result.stderr


def test_names_and_preprocessing_can_be_said(invoke: Invoke, digits: Path, photos: Path) -> None:
    names = photos.with_name("names.txt")
    names.write_text("\n".join(f"digit {number}" for number in range(10)))
    bare = without_preprocess(digits)
    words = (bare, photos, "--channels", "L", "--labels", names, "--top", 1, "--json")
    found = printed(invoke("classify", *words))
    assert all(entry["classes"][0]["name"].startswith("digit ") for entry in found["images"])
    changed = invoke("classify", digits, photos, "--divide-by", 16)
    assert "differs from the model's own" in changed.stderr


def test_one_broken_image_loses_no_other_answers(invoke: Invoke, digits: Path, photos: Path) -> None:
    (photos / "0.png").write_text("no image")
    found = invoke("classify", digits, photos, "--json")
    assert found.exit_code == 1
    answers = json.loads(found.stdout)
    assert [Path(entry["image"]).name for entry in answers["images"]] == ["1.png", "2.png"]
    assert answers["unread"] == [str(photos / "0.png")]
    assert "warning: " in found.stderr
    assert "0.png" in found.stderr
    table = invoke("classify", digits, photos)
    assert table.exit_code == 1
    assert "2.png" in table.stdout
    for image in photos.iterdir():
        image.write_text("no image")
    nothing = invoke("classify", digits, photos)
    assert nothing.exit_code == 2
    assert not nothing.stdout


def test_images_of_another_size_are_told_of_resize(invoke: Invoke, digits: Path, photos: Path) -> None:
    Image.new("L", (20, 20)).save(photos / "0.png")
    assert "--resize" in invoke("classify", digits, photos / "0.png").stderr
    assert invoke("classify", digits, photos / "0.png", "--resize", "8,8").exit_code == 0


def test_bad_input_is_one_line_with_a_code(invoke: Invoke, digits: Path, photos: Path) -> None:
    text = photos.with_name("text.png")
    text.write_text("no image")
    names = photos.with_name("names.txt")
    names.write_text("a\nb\n")
    large = photos.with_name("large.png")
    Image.new("L", (20, 20)).save(large)
    for words, code in (
        ((digits, photos / "none.png"), "E010"),
        ((digits, f"{photos}/*.jpg"), "E010"),
        ((digits, text), "E041"),
        ((digits, large), "E044"),
        ((without_preprocess(digits), photos), "E046"),
        ((digits, photos, "--labels", names), "E042"),
        ((digits, photos, "--preprocess", "unknown"), "E02"),
    ):
        found = invoke("classify", *words)
        assert found.exit_code == 2
        (line,) = [line for line in found.stderr.splitlines() if line.startswith("error: ")]
        assert f"[{code}" in line
        assert not found.stdout
