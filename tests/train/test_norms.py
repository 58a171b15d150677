"""Batch normalisation over several processes: the layers are exchanged and given back, and the tensors stay."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from train_nets import dropped, same_bits, seeded, stripes, weights

from enxuto.errors import UsageError
from enxuto.train import TrainConfig
from enxuto.train.batches import evaluation_batches
from enxuto.train.norms import batch_norms, synchronised
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
    with synchronised(model):
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
    with synchronised(exchanged):
        exchanged(images).square().mean().backward()
    for model in (plain, exchanged):
        torch.optim.SGD(model.parameters(), 0.1).step()
    assert same_bits(weights(plain), weights(exchanged))
    assert int(exchanged[1].num_batches_tracked) == 1


def test_layers_are_given_back_after_an_error() -> None:
    model = seeded(dropped)
    with pytest.raises(KeyboardInterrupt), synchronised(model):
        raise KeyboardInterrupt
    assert type(model[1]) is nn.BatchNorm2d


def test_several_processes_without_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig.of(None, {"sync_batch_norm": True, "device": "cpu"})
    check_machine(config)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(UsageError, match=r"sync_batch_norm .* GPUs only"):
        check_machine(config)
    check_machine(TrainConfig.of(None, {"device": "cpu"}))


def test_more_processes_than_gpus_or_images_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WORLD_SIZE", "3"), ("RANK", "2"), ("LOCAL_RANK", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="batch is 2 for 3 processes"):
        check_machine(TrainConfig.of(None, {"batch": 2, "device": "cpu"}))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match=r"2 GPUs.* process 2 .*--nproc-per-node"):
        check_machine(TrainConfig.of(None, {}))
