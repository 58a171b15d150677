"""Batch normalisation when several processes train one network.

Each process has a part of the batch. By default it normalises by that part's statistics; with torch's SyncBatchNorm in
place, by those of the whole batch, as one process would, for two more exchanges a layer. That exists on GPUs only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["batch_norms", "synchronised"]


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
