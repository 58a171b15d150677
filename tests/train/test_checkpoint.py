"""Checkpoints: complete, plain, checked; and what may not be resumed."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from train_nets import dropped, plain, same_bits, seeded, stripes, weights, without_hash

from enxuto.errors import EnxutoError, FormatError, ModelError, UsageError
from enxuto.train import Checkpoint, TrainConfig, epoch_file, fit

SETTINGS = {"batch": 16, "epochs": 3, "lr": 0.05, "threads": 1, "keep_epochs": [0, 2], "device": "cpu"}


def config(**settings: Any) -> TrainConfig:
    return TrainConfig.from_recipe(None, {**SETTINGS, **settings})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("run")
    fit(seeded(dropped), stripes(), stripes(40, seed=1), config(), folder=folder)
    return folder


def test_all_there_is_to_know(run: Path) -> None:
    last = Checkpoint.read(run / "last.pt")
    assert last.epoch == 3
    assert last.stopped == "epochs"
    assert len(last.history) == 3
    assert TrainConfig.from_recipe(None, last.config) == config()
    assert last.data["hash"] == stripes().hash
    assert last.data["mean"] == [0.5]
    assert last.preprocess is not None
    assert last.preprocess["channels"] == "L"
    assert {"torch", "enxuto", "threads"} <= last.versions.keys()
    assert {"python", "numpy", "torch"} <= last.generators[0].keys()
    assert last.optimizer["state"][0]["momentum_buffer"].abs().sum() > 0
    assert last.summary().keys() == {
        "epoch",
        "stopped",
        "config",
        "data",
        "preprocess",
        "versions",
        "network",
    }


def test_epochs_that_are_kept(run: Path) -> None:
    assert sorted(file.name for file in run.iterdir()) == [
        "best.pt", epoch_file(0), epoch_file(2), "history.csv", "history.jsonl", "last.pt"
    ]  # fmt: skip
    assert same_bits(Checkpoint.read(run / epoch_file(0)).model, weights(seeded(dropped)))
    assert Checkpoint.read(run / epoch_file(2)).epoch == 2


def test_torch_alone_reads_it(run: Path) -> None:
    model = dropped()
    model.load_state_dict(torch.load(run / "last.pt", weights_only=True)["model"])


def test_damage_is_found_wherever_it_is(run: Path, tmp_path: Path) -> None:
    whole = (run / "last.pt").read_bytes()
    bad = tmp_path / "bad.pt"
    places = np.random.default_rng(0).integers(len(whole), size=60)
    messages = []
    for place in places:
        bad.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            # Bytes that fill the archive up to a multiple of 64 mean nothing.
            assert same_bits(Checkpoint.read(bad).model, Checkpoint.read(run / "last.pt").model)
        except EnxutoError as error:
            messages.append(str(error))
    assert len(messages) > 10
    assert all(str(bad) in message and "\n" not in message for message in messages)
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        bad.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            Checkpoint.read(bad)


def test_a_weight_that_flipped_is_found(run: Path, tmp_path: Path) -> None:
    held = torch.load(run / "last.pt", weights_only=True)
    held["model"]["0.weight"][0, 0, 0, 0] += 1e-3
    torch.save(held, tmp_path / "bad.pt")
    with pytest.raises(FormatError, match="E052"):
        Checkpoint.read(tmp_path / "bad.pt")


class _Runs:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (Path.touch, (Path("was-executed"),))


def test_foreign_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "some.pt"
    torch.save({"model": seeded().state_dict()}, file)
    with pytest.raises(FormatError, match="E050"):
        Checkpoint.read(file)
    torch.save({"format": "enxuto checkpoint", "version": 9}, file)
    with pytest.raises(FormatError, match="E053"):
        Checkpoint.read(file)
    file.write_bytes(pickle.dumps(_Runs()))
    with pytest.raises(FormatError):
        Checkpoint.read(file)
    assert not (tmp_path / "was-executed").exists()
    with pytest.raises(UsageError, match="E010"):
        Checkpoint.read(tmp_path / "none.pt")


@pytest.mark.parametrize(
    ("field", "value"),
    [("lr", 0.1), ("batch", 32), ("seed", 1), ("optimizer", "adam"), ("augment", "flip"), ("epochs", 2)],
)
def test_another_configuration_is_refused_by_field(run: Path, field: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"trained with {field}="):
        fit(
            seeded(dropped), stripes(), stripes(40, seed=1), config(**{field: value}), folder=run, resume=True
        )


def test_other_things_are_refused(run: Path) -> None:
    held_out = stripes(40, seed=1)
    with pytest.raises(UsageError, match="E012"):
        fit(seeded(dropped), stripes(), held_out, config(), folder=run)
    with pytest.raises(UsageError, match="other data: hash"):
        fit(seeded(dropped), without_hash(stripes()), held_out, config(), folder=run, resume=True)
    with pytest.raises(UsageError, match="validation_hash"):
        fit(seeded(dropped), stripes(), None, config(), folder=run, resume=True)
    with pytest.raises(ModelError, match="E071"):
        fit(seeded(plain), stripes(), held_out, config(), folder=run, resume=True)


def test_epochs_may_grow_and_the_result_is_that_of_one_long_run(tmp_path: Path) -> None:
    models = []
    for folder, lengths in (("two", (2, 4)), ("one", (4,))):
        for epochs in lengths:
            model = seeded(dropped)
            history = fit(
                model, stripes(), None, config(epochs=epochs), folder=tmp_path / folder, resume=True
            )
        assert [record.epoch for record in history.records] == [1, 2, 3, 4]
        models.append(weights(model))
    assert same_bits(*models)


def test_epochs_of_a_laid_out_schedule_may_not_grow(tmp_path: Path) -> None:
    fit(seeded(), stripes(), None, config(schedule="cosine", epochs=1), folder=tmp_path)
    with pytest.raises(UsageError, match=r"epochs=1, not 2.*cosine"):
        fit(seeded(), stripes(), None, config(schedule="cosine", epochs=2), folder=tmp_path, resume=True)
