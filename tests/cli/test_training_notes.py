"""What a training remarks reaches the user of every verb that trains, once, and before hours of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

from enxuto.cli.shared.study_progress import study_progress

pytestmark = pytest.mark.usefixtures("remembered_exports")

Invoke = Callable[..., Result]
SLOW = ("--set", "precision=mixed", "--set", "epochs=1", "--set", "batch=16", "--set", "device=cpu")
STUDY = ("--workers", 0, "--threads", 1)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """32 grey images of 8×8 pixels in ten classes."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (32, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "i.npz", images=pixels, labels=np.arange(32) % 10)
    return tmp_path / "i.npz"


VERBS: dict[str, tuple[object, ...]] = {
    "train": ("train", "lenet5", "-o", "run"),
    "prune": ("prune", "digits.onnx", "--test", "i.npz", "--retrain", "fine-tune", "--amount", "20%", "--no-speed",
              "-o", "run"),
    "lottery": ("lottery", "lenet5", "--test", "i.npz", "--recipe", "quick", "--criteria", "l1", "--retrain",
                "lr-rewind", "--controls", "none", "--seeds", 1, "--rounds", 1, "-o", "run", *STUDY),
    "study": ("study", "souza", "--networks", "squeezenet-dsc", "--test", "i.npz", "-o", "run", *STUDY),
}  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_that_trains_warns_of_a_slow_precision(
    verb: str,
    invoke: Invoke,
    images: Path,
    digits: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("enxuto.train.placement.processor_has_bfloat16", lambda: False)
    monkeypatch.chdir(images.parent)
    words = (*VERBS[verb], "--data", images.name, *SLOW)
    result = invoke(*words)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("processor without bfloat16 units") == 1
    before = result.stderr.partition("processor without bfloat16 units")[0]
    assert before.endswith("warning: precision=mixed on a ")
    assert "epoch 1/1" not in before
    if verb != "train":
        records = [json.loads(line) for line in Path("run/records.jsonl").read_text().splitlines()]
        assert any("bfloat16" in str(record["values"].get("notes")) for record in records)
        assert records[-1]["settings"]["config"]["channels_last"] == "auto"
        again = invoke(*words)  # nothing is left to train
        assert (again.exit_code, "bfloat16 units" in again.stderr) == (0, False)


def at(last: Any, settled: int) -> Any:
    return SimpleNamespace(settled=settled, total=3, known=1, eta=None, last=last)


def test_remarks_of_points_are_made_once_each(capsys: pytest.CaptureFixture[str]) -> None:
    def point(**values: Any) -> Any:
        return SimpleNamespace(done=True, values=values, error=None)

    with study_progress("souza", lambda result: "p", ["slow here"]) as report:
        report(at(None, 1))
        report(at(point(notes=["slow here", "resumed with torch 2"]), 2))
        report(at(point(notes=["resumed with torch 2", "two\nlines"]), 3))
        report(at(point(), 3))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert lines == ["warning: slow here", "warning: resumed with torch 2", "warning: two lines"]
