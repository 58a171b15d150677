"""Batch normalisation over several processes: the layers are exchanged and given back, and the tensors stay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from train_nets import dropped, same_bits, seeded, stripes, weights

from enxuto.errors import UsageError
from enxuto.train import TrainConfig, fit
from enxuto.train.batches import evaluation_batches
from enxuto.train.norms import batch_norms, check_normalisation, synchronise_batch_norms
from enxuto.train.placement import check_machine


def nested() -> nn.Module:
    """Two batch normalisations at different depths, the second without parameters."""
    inner = nn.Sequential(nn.Linear(256, 8), nn.BatchNorm1d(8, affine=False, momentum=0.3))
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4, eps=1e-3), nn.Flatten(), inner)


def test_layers_are_exchanged_and_given_back() -> None:
    model = seeded(nested)
    own, parameters = dict(model.named_modules()), list(model.parameters())
    images, _ = next(evaluation_batches(stripes(8), 8))
    model.eval()
    expected = model(images)
    model.train()
    with synchronise_batch_norms(model):
        assert [type(norm) for _, _, norm in batch_norms(model)] == [nn.SyncBatchNorm] * 2
        assert [norm.eps for _, _, norm in batch_norms(model)] == [1e-3, 1e-5]
        assert [norm.momentum for _, _, norm in batch_norms(model)] == [0.1, 0.3]
        assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
        assert all(norm.training for _, _, norm in batch_norms(model))
        model.eval()
        assert torch.equal(model(images), expected)
    assert all(part is own[name] for name, part in model.named_modules())
    assert not model[1].training


def test_what_is_learnt_inside_stays() -> None:
    """Among one process it does what batch normalisation does; so the states after a step are equal."""
    images, _ = next(evaluation_batches(stripes(16), 16))
    plain, exchanged = seeded(nested), seeded(nested)
    plain(images).square().mean().backward()
    with synchronise_batch_norms(exchanged):
        exchanged(images).square().mean().backward()
    for model in (plain, exchanged):
        torch.optim.SGD(model.parameters(), 0.1).step()
    assert same_bits(weights(plain), weights(exchanged))
    assert int(exchanged[1].num_batches_tracked) == 1


def test_layers_are_given_back_after_an_error() -> None:
    model = seeded(dropped)
    with pytest.raises(KeyboardInterrupt), synchronise_batch_norms(model):
        raise KeyboardInterrupt
    assert type(model[1]) is nn.BatchNorm2d


def test_several_processes_without_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig.from_recipe(None, {"sync_batch_norm": True, "device": "cpu"})
    check_machine(config)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(UsageError, match=r"sync_batch_norm .* GPUs only"):
        check_machine(config)
    check_machine(TrainConfig.from_recipe(None, {"device": "cpu"}))


def test_more_processes_than_gpus_or_images_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WORLD_SIZE", "3"), ("RANK", "2"), ("LOCAL_RANK", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="E022"):
        check_machine(TrainConfig.from_recipe(None, {"batch": 2, "device": "cpu"}))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match=r"2 GPUs.* process 2 .*--nproc-per-node"):
        check_machine(TrainConfig.from_recipe(None, {}))


class Functional(nn.Module):
    """Normalises by a function, in no module that could be looked for."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.batch_norm(self.fc(x.flatten(1)), None, None, training=True)


def ends(*norm: nn.Module) -> Callable[[], nn.Module]:
    """Features of one place a channel, then `norm`, then four classes."""
    return lambda: nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1), *norm, nn.Flatten(), nn.Linear(8, 4)
    )


ONE_VALUE: dict[str, Callable[[], nn.Module]] = {
    "1d": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)),
    "1d without statistics": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.Linear(8, 4)
    ),
    "2d of one place": ends(nn.BatchNorm2d(8)),
    "synchronised": ends(nn.SyncBatchNorm(8)),
    "groups of one": ends(nn.GroupNorm(8, 8)),
    "function": Functional,
}
MANY_VALUES: dict[str, Callable[[], nn.Module]] = {
    "2d of many places": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 4)
    ),
    "groups of many": ends(nn.GroupNorm(2, 8)),
    "layer norm": lambda: nn.Sequential(nn.Flatten(), nn.LayerNorm(64), nn.Linear(64, 4)),
    "instance norm of many places": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4), nn.Flatten(), nn.Linear(144, 4)
    ),
    "frozen": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4)),
}


def settings(**more: object) -> TrainConfig:
    return TrainConfig.from_recipe(None, {"epochs": 1, "lr": 0.01, "threads": 1, "device": "cpu", **more})


@pytest.mark.parametrize("name", ONE_VALUE)
def test_batches_of_one_image_are_refused_where_that_leaves_one_value(name: str, tmp_path: Path) -> None:
    """Torch is the oracle: in training it refuses just these. Nothing is begun, nothing moved."""
    model = ONE_VALUE[name]().train()
    with pytest.raises(ValueError, match="Expected more than 1"):
        model(torch.zeros(1, 1, 8, 8))
    before, state = weights(model), torch.random.get_rng_state()
    with pytest.raises(UsageError, match=r"batch=1 makes.*normalisation") as caught:
        fit(model, stripes(6), None, settings(batch=1), folder=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    assert same_bits(before, weights(model))
    assert torch.equal(state, torch.random.get_rng_state())
    # A last batch of one image: the same, before the epoch that it ends.
    with pytest.raises(UsageError, match=r"batch=4 .*normalisation"):
        fit(model, stripes(9), None, settings(batch=4), folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    if name != "synchronised":  # which torch has for GPUs alone
        fit(model, stripes(9), None, settings(batch=4, drop_last=True))


@pytest.mark.parametrize("name", MANY_VALUES)
def test_batches_of_one_image_train_where_there_are_more_values(name: str) -> None:
    history = fit(MANY_VALUES[name](), stripes(6), None, settings(batch=1))
    assert history.records[0].loss < float("inf")


def test_instance_normalisation_of_one_place_is_refused_whatever_the_batch(tmp_path: Path) -> None:
    class Called(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.instance_norm(x)

    for norm in (nn.InstanceNorm2d(8), nn.InstanceNorm2d(8, track_running_stats=True), Called()):
        for batch in (1, 4):
            with pytest.raises(UsageError, match="E044"):
                fit(
                    ends(norm)(), stripes(8), None, settings(batch=batch), folder=tmp_path / f"{norm}-{batch}"
                )


def test_a_network_that_fails_otherwise_is_left_to_training() -> None:
    check_normalisation(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), 1, (1, 8, 8), "batch=1")
