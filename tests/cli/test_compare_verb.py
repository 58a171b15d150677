"""`enxuto compare` as a user calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import onnx
import pytest
from typer.testing import Result

from enxuto import evaluate
from enxuto.data import Preprocess
from enxuto.onnx_model.carried import PREPROCESS_KEY

Invoke = Callable[..., Result]


def test_an_original_and_its_small_file(invoke: Invoke, digits: Path, images: Path, tmp_path: Path) -> None:
    small, sheet = tmp_path / "small.enx", tmp_path / "changed.png"
    assert invoke("compress", digits, "--bits", 0.8, "-o", small).exit_code == 0
    shown = invoke("compare", digits, small, "--data", images, "--sheet", sheet, "--limit", 100)
    assert shown.exit_code == 0, shown.output
    for words in ("same answers", "McNemar", "changed answers", "output, dB", "confusion"):
        assert words in shown.stdout
    assert "images whose answer changed" in shown.stderr
    assert sheet.stat().st_size > 1000
    said = json.loads(invoke("compare", digits, small, "--data", images, "--json", "--limit", 100).stdout)
    assert said["samples"] == 100
    assert said["counts"]["both"] + said["counts"]["only first"] == round(100 * said["top1"][0])
    assert len(said["changed"]) == round(100 * (1 - said["agreement"]))
    worst = min(layer["output_snr"] for layer in said["layers"] if layer["output_snr"] is not None)
    assert -20 < worst < 40


def test_a_model_and_itself(invoke: Invoke, digits: Path, images: Path, tmp_path: Path) -> None:
    shown = invoke(
        "compare", digits, digits, "--data", images, "--limit", 20, "--sheet", tmp_path / "none.png"
    )
    assert shown.exit_code == 0, shown.output
    assert "all weights are equal" in shown.stdout
    assert "changed answers" not in shown.stdout
    assert "0 of 0 images" in shown.stderr


def test_weights_alone(invoke: Invoke, digits: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.enx"
    assert invoke("compress", digits, "--bits", 0.8, "-o", small).exit_code == 0
    shown = invoke("compare", digits, small)
    assert shown.exit_code == 0, shown.output
    assert "Outputs of layers need --data" in shown.stdout
    said = json.loads(invoke("compare", digits, small, "--json").stdout)
    changed = [layer for layer in said["layers"] if layer["changed"]]
    assert changed
    assert all(0 < layer["weight_snr"] < 40 and layer["output_snr"] is None for layer in changed)
    refused = invoke("compare", digits, small, "--sheet", tmp_path / "sheet.png")
    assert refused.exit_code == 2
    assert "give --data" in refused.stderr


def test_wrong_options_are_one_line(invoke: Invoke, digits: Path, images: Path, tmp_path: Path) -> None:
    for words, says in (
        (("--sheet", tmp_path / "sheet.jpg"), "a contact sheet is a .png"),
        (("--sheet", tmp_path / "nowhere" / "sheet.png"), "cannot write"),
    ):
        result = invoke("compare", digits, digits, "--data", images, "--limit", 20, *words)
        assert result.exit_code == 2
        assert says in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("verb", ["compare", "evaluate", "python"])
@pytest.mark.parametrize("knows", [0, 1])
def test_the_model_that_knows_its_preprocessing_prepares_the_images_of_both(
    verb: str, knows: int, invoke: Invoke, digits: Path, images: Path, tmp_path: Path
) -> None:
    proto = onnx.load(str(digits))
    bare, settings = tmp_path / "bare.onnx", tmp_path / "settings.toml"
    for prop in [prop for prop in proto.metadata_props if prop.key == PREPROCESS_KEY]:
        proto.metadata_props.remove(prop)
    onnx.save(proto, str(bare))
    settings.write_text('channels = "L"\ndivide_by = 16.0\n')
    told = tmp_path / "told.onnx"
    proto.metadata_props.add(key=PREPROCESS_KEY, value=json.dumps(Preprocess.from_toml(settings).to_dict()))
    onnx.save(proto, str(told))
    models = [told, bare][:: 1 - 2 * knows]
    if verb == "python":
        with pytest.warns(UserWarning, match="as the reference says") if knows else nullcontext():
            found = evaluate(models[0], images, reference=models[1])
        assert found.top1 == evaluate(told, images).top1 != evaluate(digits, images).top1
        return
    words = ("compare", *models) if verb == "compare" else ("evaluate", models[0], "--reference", models[1])
    shown = invoke(*words, "--data", images, "--limit", 50, "--json")
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["preprocess"]["divide_by"] == 16.0
    assert ("told.onnx says" in shown.stderr) == (knows == 1)
    assert "no preprocessing is known" not in shown.stderr
