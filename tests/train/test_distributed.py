"""Two processes with Gloo train as one does with the same batches: the same losses up to rounding."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from train_nets import processes, seeded, stripes, train_among, weights

from enxuto.errors import UsageError
from enxuto.train import Checkpoint, TrainConfig, fit
from enxuto.train.processes import join_processes

# 96 images in batches of 20: the last batch is smaller, and of 41 validation images one process gets one more.
SETTINGS: dict[str, Any] = {
    "batch": 20, "epochs": 2, "lr": 0.05, "threads": 1, "augment": "crop-flip", "label_smoothing": 0.1, "clip": 1.0,
    "device": "cpu",
}  # fmt: skip
LONGER = {**SETTINGS, "epochs": 4}


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def run_two(folder: Path, *settings: dict[str, Any]) -> list[int]:
    """Train by two processes; their exit codes."""
    port = free_port()
    pair = [
        processes().Process(target=train_among, args=(rank, port, folder, list(settings))) for rank in (0, 1)
    ]
    for process in pair:
        process.start()
    for process in pair:
        process.join(timeout=90)
        process.kill()
    return [process.exitcode for process in pair]


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    assert run_two(tmp_path / "two", SETTINGS, LONGER) == [0, 0]  # the second run goes on with the first
    model = seeded()
    alone = fit(model, stripes(), stripes(41, seed=1), TrainConfig.from_recipe(None, LONGER))
    together = Checkpoint.read(tmp_path / "two" / "last.pt")
    assert len(together.generators) == 2
    for ours, theirs in zip(together.history, alone.records, strict=True):
        assert ours["loss"] == pytest.approx(theirs.loss, abs=1e-5)
        assert ours["validation_loss"] == pytest.approx(theirs.validation_loss, abs=1e-5)
        assert ours["validation_top1"] == pytest.approx(theirs.validation_top1, abs=1e-9)
    for name, value in weights(model).items():
        torch.testing.assert_close(together.model[name], value, rtol=0, atol=1e-5)
    with pytest.raises(UsageError, match="E071"):
        fit(
            seeded(), stripes(), stripes(41, seed=1), TrainConfig.from_recipe(None, LONGER), folder=tmp_path / "two",
            resume=True,
        )  # fmt: skip


def test_variables_that_make_no_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(UsageError, match="WORLD_SIZE"):
        join_processes(gpu=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "2")
    with pytest.raises(UsageError, match="RANK is 2 of 2"):
        join_processes(gpu=False)
