"""Normalisation that learns from the batch: when several processes train one network, and when a batch is too small.

Each process has a part of the batch. By default it normalises by that part's statistics; with torch's SyncBatchNorm in
place, by those of the whole batch, as one process would, for two more exchanges a layer. That exists on GPUs only.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from enxuto.errors import UsageError

__all__ = ["batch_norms", "check_normalisation", "one_value_said", "synchronised"]

_ONE_VALUE = "Expected more than 1"  # how torch's normalisations begin to say that there is no variance


def batch_norms(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Each batch normalisation of a network, with its parent and its name there."""
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm):
                yield parent, name, child


@contextmanager
def synchronised(model: nn.Module) -> Iterator[None]:
    """Inside, the batch normalisations of `model` are SyncBatchNorm with the same parameters and statistics.

    `model` must be on its device already. Afterwards it has its own layers again, with what these have learnt: the
    tensors are shared, so that exports and prunings meet the layers they know.
    """
    own = list(batch_norms(model))
    for parent, name, norm in own:
        setattr(parent, name, nn.SyncBatchNorm.convert_sync_batchnorm(norm))  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for parent, name, norm in own:
            norm.train(getattr(parent, name).training)
            setattr(parent, name, norm)


def check_normalisation(model: nn.Module, images: int, shape: Sequence[int], said: str) -> None:
    """Refuse a smallest batch of which a normalisation sees one value a channel, before anything is trained.

    images: in the smallest batch of a process; shape: (channels, height, width); said: the setting that made it so, for
    the message. Which layers see how much, called as modules or as functions, shows a copy that runs once; more than
    one image are too few only for instance normalisation. Raises `UsageError`.
    """
    instance = any(isinstance(part, _InstanceNorm) for part in model.modules())
    if images > 1 and not instance:
        return
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    try:
        tried = copy.deepcopy(model).train()
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.no_grad(), one_value_said(said):
            tried(torch.zeros(images, *shape, device=device))
    except UsageError:
        raise
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError):
        return  # whatever else is wrong with this network, the training itself says where


@contextmanager
def one_value_said(said: str) -> Iterator[None]:
    """Inside, torch's complaint about a normalisation of one value is a `UsageError` of one line."""
    try:
        yield
    except ValueError as error:
        if not str(error).startswith(_ONE_VALUE):
            raise
        if "spatial" in str(error):
            raise UsageError(
                "images of this size leave an instance normalisation one value a channel, which it cannot learn from; "
                "give larger images, or leave that layer out"
            ) from error
        raise UsageError(
            f"{said}, so that a normalisation gets one value a channel, which it cannot learn from; set a larger batch"
        ) from error
