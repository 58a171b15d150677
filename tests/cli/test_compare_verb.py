"""`enxuto compare` as a user calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

Invoke = Callable[..., Result]


def test_an_original_and_its_small_file(invoke: Invoke, digits: Path, images: Path, tmp_path: Path) -> None:
    small, sheet = tmp_path / "small.enx", tmp_path / "changed.png"
    assert invoke("compress", digits, "--bits", 0.8, "-o", small).exit_code == 0
    shown = invoke("compare", digits, small, "--data", images, "--sheet", sheet, "--limit", 100)
    assert shown.exit_code == 0, shown.output
    for words in ("equal answers", "McNemar", "changed answers", "output, dB", "confusion"):
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
