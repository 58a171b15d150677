"""`enxuto weights` as a user calls it, and the tables and charts it makes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from enxuto.weights.tonin_published import BEST, SIMILAR, find_published

Invoke = Callable[..., Result]


def test_everything_of_a_model(invoke: Invoke, digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = invoke("weights", digits, "--layers", "--dependence", "--output", out, "--svg", "--json")
    assert result.exit_code == 0, result.output
    (said,) = json.loads(result.stdout)["models"]
    assert said["name"] == "digits"
    assert len(said["fits"]) == 10
    assert [fit["sse"] for fit in said["fits"]] == sorted(fit["sse"] for fit in said["fits"])
    assert said["count"] > sum(
        layer["count"] for layer in said["layers"]
    )  # small tensors count in the model only
    assert {axis["axis"] for one in said["dependence"] for axis in one["axes"]} >= {"outputs", "inputs"}
    assert said["seed"] == 0
    rows = list(csv.DictReader(io.StringIO((out / "weights.csv").read_text())))
    assert len(rows) == 10 * (1 + len(said["layers"]))
    gaussian = next(row for row in rows if row["family"] == "Gaussian" and not row["layer"])
    assert float(gaussian["mean"]) == said["mean"]
    assert (out / "dependence.csv").read_text().startswith("model,layer,role,shape,axis")
    written = (out / "weights.md").read_text()
    assert "| digits | " in written
    assert "published: 8 and 6 of 14" in written
    charts = sorted(path.name for path in out.glob("*.svg"))
    assert charts == [f"digits-{kind}.svg" for kind in ("dependence", "families", "layers", "weights")]
    assert all(
        "generalised Gaussian" in (out / f"digits-{kind}.svg").read_text() for kind in ("layers", "families")
    )


def test_tables_in_the_form_of_the_source(invoke: Invoke, digits: Path, tmp_path: Path) -> None:
    twin = digits.with_name("resnet-small.onnx")
    twin.write_bytes(digits.read_bytes())
    result = invoke("weights", digits, twin, "--output", tmp_path / "charts")
    assert result.exit_code == 0, result.output
    assert "by SSE" in result.stdout
    assert "by D(P‖Q)" in result.stdout
    row = next(line for line in result.stdout.splitlines() if "resnet-small" in line)
    assert "Laplace, logistic, Gaussian (ResNet-101)" in row
    with Image.open(tmp_path / "charts" / "resnet-small-weights.png") as image:
        assert image.size == (1590, 555)
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 50


@pytest.mark.parametrize(
    ("words", "says"),
    [(["--by", "length"], "--by is sse or kl"), (["--output", "digits.onnx/x"], "cannot write into")],
)
def test_wrong_options_are_one_line(
    invoke: Invoke, digits: Path, words: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(digits.parent)
    result = invoke("weights", "digits.onnx", *words)
    assert result.exit_code == 2
    assert says in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_published_tables_say_what_the_text_says() -> None:
    """57.14 % and 42.86 % by SSE, 42.86 % and 50 % by divergence; 22.9 → 4.73 bits over ten models."""
    assert [sum(row.sse[place] == "Laplace" for row in SIMILAR) for place in (0, 1)] == [8, 6]
    assert [sum(row.kl[place] == "Laplace" for row in SIMILAR) for place in (0, 1)] == [6, 7]
    assert np.mean([row.original_entropy for row in BEST]) == pytest.approx(22.896, abs=5e-4)
    assert np.mean([row.entropy for row in BEST]) == pytest.approx(4.73, abs=5e-3)
    for row in BEST:
        assert row.ratio == pytest.approx(32 / row.entropy, rel=0.005)
    assert [find_published(SIMILAR, name).network for name in ("Age-GoogLeNet", "googlenet-12", "MobileNetV2")] == [  # type: ignore[union-attr]
        "Age-GoogLeNet", "GoogLeNet", "MobileNet-v2",
    ]  # fmt: skip
    assert find_published(BEST, "lenet5") is None
