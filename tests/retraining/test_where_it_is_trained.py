"""Where and in which numbers a network is retrained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import enxuto
from enxuto.errors import UsageError
from enxuto.retraining.descent import Descent
from enxuto.retraining.placement import name_of, placement_of, plainer_than
from tiny_classifier import CLASSES, JUDGING, MODEL, TRAINING

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def pretend(monkeypatch: pytest.MonkeyPatch, *, gpu: bool, bfloat16: bool) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    monkeypatch.setattr("enxuto.train.placement._has_bfloat16", lambda device: bfloat16)
    monkeypatch.setattr("enxuto.train.placement.processor_has_bfloat16", lambda: bfloat16)


@pytest.mark.parametrize(
    ("gpu", "bfloat16", "device", "precision", "expected"),
    [
        (False, False, "auto", "auto", (CPU, None)),
        (False, True, "auto", "auto", (CPU, torch.bfloat16)),
        (False, True, "auto", "float32", (CPU, None)),
        (False, False, "auto", "bfloat16", (CPU, torch.bfloat16)),
        (True, True, "auto", "auto", (GPU, torch.bfloat16)),
        (True, False, "auto", "auto", (GPU, None)),  # and not float16, which would lose small gradients
        (True, False, "cuda", "bfloat16", (GPU, torch.bfloat16)),
        (True, True, "cpu", "float32", (CPU, None)),
    ],
)
def test_the_fastest_numbers_of_the_machine_are_taken(
    gpu: bool,
    bfloat16: bool,
    device: str,
    precision: str,
    expected: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, gpu=gpu, bfloat16=bfloat16)
    found = placement_of(enxuto.Retraining(device=device, precision=precision))  # type: ignore[arg-type]
    assert (found.device, found.mixed) == expected


def test_what_is_plainer(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, gpu=True, bfloat16=True)
    first = placement_of(enxuto.Retraining())
    assert [name_of(one) for one in (first, *plainer_than(first))] == [
        "in bfloat16 on the GPU", "in float32 on the GPU", "in float32 on the CPU",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("device", "gpu", "device= is auto, cpu or cuda, not 'gpu'"),
        ("precision", "half", "precision= is auto, float32 or bfloat16, not 'half'"),
    ],
)
def test_unknown_names_are_refused(name: str, value: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        enxuto.Retraining(**{name: value})  # type: ignore[arg-type]


def test_a_gpu_that_is_not_there_is_missed_before_anything_is_calibrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, gpu=False, bfloat16=False)
    with pytest.raises(UsageError, match="torch finds no GPU here"):
        compress(tmp_path, enxuto.Retraining(epochs=1, device="cuda"))
    assert not any(tmp_path.iterdir())


def compress(cache: Path, retrain: enxuto.Retraining) -> enxuto.CompressionResult:
    return enxuto.compress(
        MODEL, data=JUDGING, calibration=TRAINING, images=64, outputs=CLASSES, retrain=retrain, cache=cache,
        threads=1, bits=3.1,
    )  # fmt: skip


@pytest.fixture
def few_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enxuto.compression.search._TRIALS", 3)


@pytest.mark.usefixtures("few_trials")
def test_training_in_bfloat16_finds_a_better_file_and_repeats_it(tmp_path: Path) -> None:
    settings = enxuto.Retraining(epochs=3, batch=16, checks=2, rate=0.03, precision="bfloat16")
    first, again = (compress(tmp_path, settings) for _ in range(2))
    assert first.calibrated is not None
    assert first.calibrated.retrained is not None
    assert first.calibrated.retrained.improved
    assert first.to_bytes() == again.to_bytes()


@pytest.mark.usefixtures("few_trials")
def test_a_network_that_has_no_bfloat16_is_trained_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Descent.loss

    def loss(self: Descent, step: int) -> Tensor:
        if self.placement.mixed is not None:
            raise RuntimeError("no kernel for BFloat16")
        return whole(self, step)

    few = {"epochs": 0.5, "batch": 16, "checks": 1}
    expected = compress(tmp_path, enxuto.Retraining(precision="float32", **few))  # type: ignore[arg-type]
    monkeypatch.setattr(Descent, "loss", loss)
    with pytest.warns(
        UserWarning, match="float32 on the CPU, as this network does not run in bfloat16 on the CPU"
    ):
        found = compress(tmp_path, enxuto.Retraining(precision="bfloat16", **few))  # type: ignore[arg-type]
    assert found.to_bytes() == expected.to_bytes()
