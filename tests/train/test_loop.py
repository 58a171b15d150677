"""The loop: what it learns, repeats, stops at, keeps, and leaves as it was."""

from __future__ import annotations

import csv
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from train_nets import dropped, plain, same_bits, seeded, stripes, weights

from enxuto.errors import DataError, TrainingError, UsageError
from enxuto.train import Checkpoint, History, TrainConfig, TrainingProgress, fit, score
from enxuto.train.history import EpochRecord, best_epoch

QUICK = {"batch": 16, "epochs": 3, "lr": 0.05, "threads": 1, "device": "cpu"}


def config(**settings: Any) -> TrainConfig:
    return TrainConfig.from_recipe(None, {**QUICK, **settings})


def losses(history: History) -> list[float]:
    return [record.loss for record in history.records]


def test_it_learns() -> None:
    model = seeded()
    history = fit(model, stripes(), stripes(40, seed=1), config(epochs=6))
    assert history.records[-1].validation_top1 == 1.0
    assert history.records[-1].loss < 0.5 * history.records[0].loss
    assert (history.stopped, history.samples, history.validation_samples) == ("epochs", 96, 40)
    assert score(model, stripes(40, seed=1)).top1 == 1.0


def test_a_step_is_the_published_one() -> None:
    """One batch of everything, plain descent: the weights move by lr times the gradient of the mean loss."""
    model, twin, data = seeded(), seeded(), stripes(32)
    settings = {"batch": 32, "epochs": 1, "optimizer": "sgd", "lr": 0.2, "label_smoothing": 0.1}
    history = fit(model, data, None, config(**settings))
    images = (data.images / 255 - 0.5) / 0.3
    loss = nn.functional.cross_entropy(twin(images), data.labels, label_smoothing=0.1)
    loss.backward()  # type: ignore[no-untyped-call]
    assert losses(history) == [pytest.approx(loss.item(), rel=1e-5)]
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert theirs.grad is not None
        torch.testing.assert_close(ours, theirs - 0.2 * theirs.grad, rtol=1e-4, atol=1e-6)


def test_smaller_last_batch_counts_as_many_images_as_it_has() -> None:
    """With a rate of next to nothing the epoch's loss is the mean over all images, whatever the batches."""
    data = stripes(40)
    whole, cut = (fit(seeded(), data, None, config(batch=batch, epochs=1, lr=1e-12)) for batch in (40, 16))
    assert losses(whole) == pytest.approx(losses(cut), rel=1e-5)


@pytest.mark.parametrize("augment", ["none", "crop-flip"])
def test_the_same_seed_gives_the_same_bits(augment: str) -> None:
    runs = []
    for seed in (5, 5, 6):
        model = seeded(dropped)
        history = fit(model, stripes(), stripes(40, seed=1), config(seed=seed, augment=augment))
        runs.append((weights(model), losses(history)))
    assert same_bits(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert not same_bits(runs[0][0], runs[2][0])


def test_the_process_is_left_as_it_was() -> None:
    threads = torch.get_num_threads()
    torch.manual_seed(3)
    random.seed(3)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    fit(seeded(dropped), stripes(), None, config(epochs=1, threads=threads + 1))
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert torch.get_num_threads() == threads


def test_schedule_reaches_the_optimizer() -> None:
    history = fit(seeded(), stripes(), None, config(schedule="milestones", milestones=[1, 2], epochs=3))
    assert [record.lr for record in history.records] == pytest.approx([0.05, 0.005, 0.0005])


def test_souza_stops_after_the_fourth_stabilisation() -> None:
    history = fit(seeded(), stripes(), None, config(schedule="souza", stable_change=100.0, epochs=50))
    assert history.stopped == "schedule"
    assert [record.lr for record in history.records] == pytest.approx([0.05, 0.05, 0.005, 0.0005, 0.00005])


def test_early_stopping(tmp_path: Path) -> None:
    settings = config(early_stopping=2, epochs=50, lr=1e-12)
    history = fit(seeded(), stripes(), stripes(40, seed=1), settings, folder=tmp_path)
    lowest = min(history.records, key=lambda record: record.validation_loss or 0)
    assert history.stopped == "early stopping"
    assert len(history.records) == lowest.epoch + 2
    again = fit(seeded(), stripes(), stripes(40, seed=1), settings, folder=tmp_path, resume=True)
    assert again.records == history.records
    with pytest.raises(UsageError, match="E022"):
        fit(seeded(), stripes(), None, config(early_stopping=2))


def test_validation_is_held_out_of_training() -> None:
    history = fit(seeded(), stripes(100), None, config(validation=0.25))
    assert (history.samples, history.validation_samples) == (75, 25)


def test_clip_bounds_the_step() -> None:
    before = weights(seeded())
    model = seeded()
    fit(model, stripes(16), None, config(epochs=1, optimizer="sgd", lr=1.0, clip=0.01))
    moved = sum(float(((value - before[name]) ** 2).sum()) for name, value in weights(model).items())
    assert moved**0.5 == pytest.approx(0.01, rel=1e-3)


def test_mixed_precision_and_channels_last_train_too() -> None:
    model = seeded(dropped)
    settings = config(precision="mixed", channels_last=True, epochs=6)
    history = fit(model, stripes(), stripes(40, seed=1), settings)
    assert history.records[-1].loss < history.records[0].loss
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_a_network_that_cannot_be_compiled_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import TorchDynamoException

    def fails(images: Tensor) -> Tensor:
        raise TorchDynamoException("no working C++ compiler\n\nSet TORCHDYNAMO_VERBOSE=1 for more")

    monkeypatch.setattr(torch, "compile", lambda network: fails)
    with pytest.raises(UsageError, match=r"here: no working C\+\+ compiler.*; set compile=false"):
        fit(seeded(), stripes(), None, config(compile=True))


class _TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.main, self.side = seeded(), seeded(seed=2)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return (self.main(images), self.side(images)) if self.training else self.main(images)


def test_auxiliary_heads_count_three_tenths() -> None:
    data = stripes(32)
    both = fit(_TwoHeads(), data, None, config(batch=32, epochs=1))
    alone = [fit(seeded(seed=seed), data, None, config(batch=32, epochs=1)) for seed in (1, 2)]
    assert losses(both)[0] == pytest.approx(losses(alone[0])[0] + 0.3 * losses(alone[1])[0], rel=1e-5)


def test_numbers_that_are_none_stop_the_run(tmp_path: Path) -> None:
    class Breaks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.calls = seeded(), 0

        def forward(self, images: Tensor) -> Tensor:
            self.calls += self.training
            out: Tensor = self.inner(images)
            return out * float("nan") if self.calls > 8 else out

    with pytest.raises(TrainingError, match=r"diverged in epoch 2: .*last\.pt \(after 1 epochs\)"):
        fit(Breaks(), stripes(), None, config(), folder=tmp_path)
    kept = Checkpoint.read(tmp_path / "last.pt")
    assert kept.epoch == 1
    assert all(bool(value.isfinite().all()) for value in kept.model.values())
    with pytest.raises(TrainingError, match=r"epoch 1: .*; nothing was kept"):
        fit(seeded(), stripes(), None, config(lr=1e30, optimizer="sgd"))


def test_a_weight_broken_by_the_last_step_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="epoch 1: a weight is NaN"):
        fit(seeded(), stripes(16), None, config(lr=3e38, weight_decay=1e3, optimizer="sgd"), folder=tmp_path)
    assert Checkpoint.read(tmp_path / "last.pt").epoch == 0


def test_history_files_and_best(tmp_path: Path) -> None:
    history = fit(seeded(), stripes(), stripes(40, seed=1), config(), folder=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [EpochRecord.from_dict(line) for line in lines] == list(history.records)
    with (tmp_path / "history.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in table] == losses(history)
    assert table[0]["validation_top5"] == ""
    best = Checkpoint.read(tmp_path / "best.pt")
    assert best.epoch == history.best_epoch
    assert history.best == history.records[best.epoch - 1]


@pytest.mark.parametrize(("classes", "reported"), [(10, False), (11, True)])
def test_five_guesses_are_reported_for_more_than_ten_classes(classes: int, reported: bool) -> None:
    data = replace(stripes(44), labels=torch.arange(44) % classes, classes=classes)
    scores = score(nn.Sequential(nn.Flatten(), nn.Linear(64, classes)), data)
    assert (scores.top5 is not None) is reported


def test_best_epoch() -> None:
    def record(epoch: int, loss: float, top1: float | None, held: float | None) -> EpochRecord:
        return EpochRecord(epoch, loss, 0.1, 1.0, 1.0, held, top1)

    assert best_epoch([record(1, 1.0, 0.5, 2.0), record(2, 0.5, 0.7, 3.0), record(3, 0.4, 0.7, 2.5)]) == 3
    assert (
        best_epoch([record(1, 1.0, None, None), record(2, 0.5, None, None), record(3, 0.5, None, None)]) == 2
    )
    assert best_epoch([]) is None


def test_progress_tells_where_it_is() -> None:
    told: list[TrainingProgress] = []
    fit(seeded(), stripes(), None, config(batch=4), progress=told.append)
    assert [(at.epoch, at.done) for at in told if at.record is None] == [
        (epoch, done) for epoch in (1, 2, 3) for done in (80, 96)
    ]
    assert all(at.eta_s > 0 for at in told[:-2])
    assert told[-1].eta_s == 0
    assert [at.record.epoch for at in told if at.record is not None] == [1, 2, 3]


def test_what_does_not_fit_is_refused_first(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"batch=19.*one image"):
        fit(seeded(dropped), stripes(96), None, config(batch=19))
    fit(seeded(dropped), stripes(96), None, config(batch=19, epochs=1, drop_last=True))
    fit(seeded(plain), stripes(96), None, config(batch=19, epochs=1))
    with pytest.raises(DataError, match="E042"):
        fit(seeded(), stripes(), stripes(40, classes=3), config())
    with pytest.raises(DataError, match="E043"):
        fit(seeded(), stripes(8), None, config(drop_last=True))
    with pytest.raises(UsageError, match="E023"):
        fit(seeded(), stripes(), None, config(), resume=True)
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="device"):
            fit(seeded(), stripes(), None, config(device="cuda"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="E013"):
        fit(seeded(), stripes(), None, config(), folder=tmp_path / "file" / "run")
