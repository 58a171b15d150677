"""Distillation: the teacher's answers are learned, labels mean nothing, and a stopped one resumes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from train_nets import same_bits, seeded, stripes

from enxuto.train import TrainConfig, fit
from enxuto.train.distillation import Teacher, distil, share_of_time

SETTINGS = {"batch": 16, "epochs": 4, "optimizer": "adam", "lr": 0.01, "schedule": "cosine", "threads": 1,
            "device": "cpu"}  # fmt: skip


def config(**settings: object) -> TrainConfig:
    return TrainConfig.from_recipe(None, {**SETTINGS, **settings})


@pytest.fixture(scope="module")
def teacher() -> nn.Module:
    model = seeded()
    fit(model, stripes(), None, config(epochs=6))
    return model.eval()


def test_the_loss_is_the_divergence_at_a_temperature(teacher: nn.Module) -> None:
    images = stripes(5).images / 255
    with torch.no_grad():
        wanted = teacher(images)
        logits = wanted + 0.1 * torch.randn(wanted.shape, generator=torch.Generator().manual_seed(0))
    p, q = (wanted / 3).softmax(1), (logits / 3).softmax(1)
    expected = 9 * float((p * (p.log() - q.log())).sum())
    assert float(Teacher(teacher, 3.0).loss(logits, images)) == pytest.approx(expected, rel=1e-4)
    assert float(Teacher(teacher, 3.0).loss((logits, None), images)) == pytest.approx(expected, rel=1e-4)  # type: ignore[arg-type]


def test_answers_are_learned_without_labels(teacher: nn.Module, tmp_path: Path) -> None:
    data = stripes()
    blind = replace(data, labels=torch.zeros_like(data.labels))
    student = seeded()
    history = distil(student, Teacher(teacher), blind, config(epochs=8), tmp_path / "run")
    assert history.records[-1].loss < 0.2 * history.records[0].loss
    images = (data.images / 255 - torch.tensor(data.mean).view(1, -1, 1, 1)) / torch.tensor(data.std).view(
        1, -1, 1, 1
    )
    with torch.no_grad():
        same = student.eval()(images).argmax(1) == teacher(images).argmax(1)
    assert float(same.float().mean()) > 0.95


def test_it_resumes_with_the_same_bits(teacher: nn.Module, tmp_path: Path) -> None:
    whole, stopped = seeded(), seeded()
    distil(whole, Teacher(teacher), stripes(), config(), tmp_path / "whole")

    def stop(done: object) -> None:
        if getattr(done, "record", None) is not None and getattr(done, "epoch", 0) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distil(stopped, Teacher(teacher), stripes(), config(), tmp_path / "stopped", progress=stop)
    again = seeded()
    distil(again, Teacher(teacher), stripes(), config(), tmp_path / "stopped")
    assert same_bits(whole.state_dict(), again.state_dict())


def test_minutes_are_measured_once(teacher: nn.Module, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "length.json").write_text(json.dumps({"epochs": 2, "images": 48}))
    history = distil(seeded(), Teacher(teacher), stripes(), config(), folder, minutes=5)
    assert (len(history.records), history.samples) == (2, 48)
    short = distil(seeded(), Teacher(teacher), stripes(), config(), tmp_path / "short", minutes=1e-6)
    assert (len(short.records), short.samples) == (1, 16)
    assert json.loads((tmp_path / "short" / "length.json").read_text()) == {"epochs": 1, "images": 16}


@pytest.mark.parametrize(
    ("fit_into_time", "expected"),
    [
        (300, (1, 300)), (5, (1, 32)), (999, (1, 999)), (1000, (1, 1000)), (1200, (1, 1000)), (1300, (2, 650)),
        (1900, (2, 950)), (2600, (3, 866)), (10_900, (10, 1000)),
    ],
)  # fmt: skip
def test_the_time_is_used(fit_into_time: int, expected: tuple[int, int]) -> None:
    epochs, images = share_of_time(fit_into_time, 1000, 32)
    assert (epochs, images) == expected
    assert epochs * images <= max(32, fit_into_time)
    assert epochs * images >= 0.8 * fit_into_time
