"""Normalisation that learns from the batch: when several processes train one network, and when a batch is too small.

Each process has a part of the batch. By default it normalises by that part's statistics. With torch's SyncBatchNorm it
normalises by those of the whole batch, as one process would, for two more exchanges a layer; that exists on GPUs only.
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

__all__ = ["batch_norms", "check_normalisation", "explain_single_value", "synchronise_batch_norms"]

_ONE_VALUE = "Expected more than 1"  # how torch's normalisations begin to say that there is no variance


def batch_norms(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Each batch normalisation of a network, with its parent and its name there."""
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm):
                yield parent, name, child


@contextmanager
def synchronise_batch_norms(model: nn.Module) -> Iterator[None]:
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


def check_normalisation(model: nn.Module, images: int, shape: Sequence[int], cause: str) -> None:
    """Refuse, before anything is trained, batches of which a normalisation sees one value a channel.

    A copy of the network runs once, which shows what every layer sees, called as a module or as a function. More than
    one image are too few for instance normalisation only.

    Args:
        model: the network.
        images: number of images in the smallest batch of a process.
        shape: (channels, height, width) of an image.
        cause: the setting that makes the batch so small, for the message.

    Raises:
        UsageError: a layer would see one value a channel.
    """
    instance = any(isinstance(part, _InstanceNorm) for part in model.modules())
    if images > 1 and not instance:
        return
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    try:
        tried = copy.deepcopy(model).train()
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.no_grad(), explain_single_value(cause):
            tried(torch.zeros(images, *shape, device=device))
    except UsageError:
        raise
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError):
        return  # whatever else is wrong with this network, the training itself says where


@contextmanager
def explain_single_value(cause: str) -> Iterator[None]:
    """Inside, torch's complaint about a normalisation of one value is a `UsageError` of one line."""
    try:
        yield
    except ValueError as error:
        if not str(error).startswith(_ONE_VALUE):
            raise
        if "spatial" in str(error):
            raise UsageError(
                "images of this size leave an instance normalisation one value a channel, which it cannot learn from; "
                "give larger images, or leave that layer out",
                code="E044",
            ) from error
        raise UsageError(
            f"{cause}, so that a normalisation gets one value a channel, which it cannot learn from; set a larger batch"
        ) from error
