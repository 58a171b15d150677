"""A run that is stopped anywhere goes on to the same bits: failing writes, interrupts, real kills."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from train_nets import dropped, processes, same_bits, seeded, stripes, train_dropped, weights

from enxuto.files import atomic_write
from enxuto.train import Checkpoint, TrainConfig, TrainingProgress, fit

SETTINGS: dict[str, Any] = {
    "batch": 16, "epochs": 12, "lr": 0.05, "threads": 1, "augment": "crop-flip", "optimizer": "nadam", "device": "cpu",
    "schedule": "plateau", "patience": 2, "precision": "mixed", "keep_epochs": [0, 3],
}  # fmt: skip
CONFIG = TrainConfig.from_recipe(None, SETTINGS)


def train(folder: Path, **more: Any) -> dict[str, Any]:
    """Begin, or go on with, the run of these tests; the weights at its end."""
    model = seeded(dropped)
    fit(model, stripes(), stripes(40, seed=1), CONFIG, folder=folder, resume=True, **more)
    return weights(model)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run without any trouble."""
    folder = tmp_path_factory.mktemp("undisturbed")
    train(folder)
    return folder


def check_same(folder: Path, undisturbed: Path) -> None:
    for name in ("last.pt", "best.pt", "epoch-000.pt", "epoch-003.pt"):
        ours, theirs = Checkpoint.read(folder / name), Checkpoint.read(undisturbed / name)
        assert same_bits(ours.model, theirs.model), name
        assert ours.epoch == theirs.epoch
        for mine, other in zip(ours.history, theirs.history, strict=True):
            assert {**mine, "seconds": 0, "images_per_s": 0} == {**other, "seconds": 0, "images_per_s": 0}
    lines = (folder / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == Checkpoint.read(folder / "last.pt").history
    assert not list(folder.glob(".*.part"))


class _PulledOutError(Exception):
    """Stands for the end of the process."""


def test_a_failure_before_or_after_any_write(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every tenth write of the run is the last of its process: once before, once after the file is in place."""
    written = 0

    @contextmanager
    def failing(path: str | Path) -> Iterator[BinaryIO]:
        nonlocal written
        written += 1
        if written % 10 == 4:
            raise _PulledOutError
        with atomic_write(path) as file:
            yield file
        if written % 10 == 9:
            raise _PulledOutError

    monkeypatch.setattr("enxuto.archive.atomic_write", failing)
    monkeypatch.setattr("enxuto.train.history.atomic_write", failing)
    failures = 0
    while failures < 40:
        try:
            train(tmp_path)
            break
        except _PulledOutError:
            failures += 1
    assert 4 < failures < 40
    check_same(tmp_path, undisturbed)


def test_an_interrupt_inside_an_epoch(undisturbed: Path, tmp_path: Path) -> None:
    def interrupts(at: TrainingProgress) -> None:
        if at.epoch in (1, 5) and at.record is None and not (tmp_path / f"past-{at.epoch}").exists():
            (tmp_path / f"past-{at.epoch}").touch()
            raise KeyboardInterrupt

    run = tmp_path / "run"
    for kept in (0, 4):
        with pytest.raises(KeyboardInterrupt):
            train(run, progress=interrupts)
        assert Checkpoint.read(run / "last.pt").epoch == kept
    train(run, progress=interrupts)
    check_same(run, undisturbed)


def test_a_cycle_of_rate_and_momentum_goes_on_where_it_was(tmp_path: Path) -> None:
    """What the schedule changes within an epoch, and the layout of weights and momenta, come back too."""
    config = TrainConfig.from_recipe(
        "quick", {"batch": 16, "epochs": 3, "channels_last": True, "threads": 1, "device": "cpu"}
    )
    whole, cut = seeded(dropped), seeded(dropped)
    fit(whole, stripes(), None, config)

    def interrupts(at: TrainingProgress) -> None:
        if at.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(cut, stripes(), None, config, folder=tmp_path, progress=interrupts)
    cut = seeded(dropped)
    fit(cut, stripes(), None, config, folder=tmp_path, resume=True)
    assert same_bits(weights(whole), weights(cut))


def test_other_threads_go_on_and_are_told(tmp_path: Path) -> None:
    """A study's point may be taken up by a process of other threads; the last bits alone depend on them."""

    def interrupts(at: TrainingProgress) -> None:
        if at.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, progress=interrupts)
    more = CONFIG.model_copy(update={"threads": 2})
    history = fit(seeded(dropped), stripes(), stripes(40, seed=1), more, folder=tmp_path, resume=True)
    assert len(history.records) == 12
    assert "the run started with threads 1 and resumes with 2: last bits may differ" in history.notes


def test_kills_at_random_moments(undisturbed: Path, tmp_path: Path) -> None:
    """A process of its own, killed without warning a random time after some epoch was written, six times."""
    moments = random.Random(4)
    killed_after = []
    for wait_for in (0, 1, 2, 3, 4, 5):
        process = processes().Process(target=train_dropped, args=(tmp_path, SETTINGS))
        process.start()
        try:
            _wait_for_epoch(tmp_path, wait_for, process)
            time.sleep(moments.uniform(0, 0.12))
        finally:
            process.kill()
            process.join()
        assert process.exitcode == -signal.SIGKILL
        killed_after.append(Checkpoint.read(tmp_path / "last.pt").epoch)
    assert killed_after == sorted(killed_after)
    assert killed_after[-1] < CONFIG.epochs
    train(tmp_path)
    check_same(tmp_path, undisturbed)


def _wait_for_epoch(folder: Path, epoch: int, process: Any) -> None:
    """Return when the history has that many lines; the run must not be over."""
    file, deadline = folder / "history.jsonl", time.monotonic() + 60
    while not file.exists() or len(file.read_text().splitlines()) < epoch:
        assert process.is_alive(), "the run ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
