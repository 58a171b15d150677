"""What a training remarks reaches the user of every verb that trains, once, and before hours of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

from enxuto.cli.shared.study_epochs import report_epochs
from enxuto.cli.shared.study_progress import study_progress
from enxuto.studies.kinds import LOTTERY_ROUND, LOTTERY_START, make_point
from enxuto.studies.lottery.arms import Arm
from enxuto.studies.lottery.points import trainings_among
from enxuto.train import TrainConfig

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


def test_epochs_of_every_kind_of_training_have_a_line_with_the_time_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = tmp_path / "points" / "p" / "training" / "history.jsonl"
    history.parent.mkdir(parents=True)
    epochs = [
        {"epoch": number, "seconds": seconds, "loss": 0.5, "lr": 0.01, "images_per_s": 100.0}
        for number, seconds in ((1, 90.0), (2, 90.0), (3, 1.0))
    ]
    history.write_text(json.dumps(epochs[0]) + "\n")
    trainings = {"p": ("l1, round 1", 4), "timed": ("l1, round 2", None)}
    with report_epochs(tmp_path, trainings, "training/history.jsonl", shortest=20):
        history.write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))
        timed = tmp_path / "points" / "timed" / "training"
        timed.mkdir(parents=True)
        (timed / "history.jsonl").write_text(json.dumps(epochs[1]))
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "l1, round 1: epoch 2/4, loss 0.5000, lr 0.01, 100 images/s, 3:00 left of this training",
        "l1, round 2: epoch 2, loss 0.5000, lr 0.01, 100 images/s",
    ]


@pytest.mark.parametrize(
    ("mode", "changes", "epochs"),
    [("fine-tune", {}, 5), ("lr-rewind", {}, 10), ("rewind", {}, 7), ("reinit", {}, 10), ("distil", {}, 5),
     ("distil", {"minutes": 1.0}, None), ("none", {}, 0), ("none", {"gradual": [3, 5]}, 2)],
)  # fmt: skip
def test_points_say_how_many_epochs_they_train(
    mode: str, changes: dict[str, Any], epochs: int | None
) -> None:
    arm = Arm("l1", mode, rewind_epoch=3 if mode == "rewind" else 0)
    config = TrainConfig.from_recipe("quick", {"epochs": 10, "schedule": "constant"}).to_dict()
    settings = {
        "arm": asdict(arm), "config": config, "gradual": None, "round": 2, "minutes": None,
        "retrain_epochs": 5 if mode in ("fine-tune", "distil") else None, **changes,
    }  # fmt: skip
    found = trainings_among(
        [
            make_point(LOTTERY_ROUND, settings, 1, None, code="c"),
            make_point(LOTTERY_START, {}, 1, None, code="c"),
        ]
    )
    if epochs == 0:
        assert found == {}
    else:
        assert list(found.values()) == [(f"{arm.label}, round 2, seed 1", epochs)]
