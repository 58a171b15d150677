"""Hashes of networks, which are part of what points are known by: of their weights, and of a user's own code."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from enxuto.study.identity import content_hash

__all__ = ["code_hash", "state_hash"]


def state_hash(state: Mapping[str, Tensor]) -> str:
    """Sixteen hex digits of the names, dtypes, shapes and values of tensors, whatever file they come from."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        if value.numel():
            # As bytes: not every dtype of PyTorch is known to NumPy.
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def code_hash(network: nn.Module, factory_module: str) -> str:
    """Sixteen hex digits of the source files of a network's factory and of the classes it is made of.

    Files of PyTorch are left out, as its version is recorded. Left out too is what forward passes call from
    elsewhere, which cannot be told without running them.
    """
    names = {factory_module, *(type(part).__module__ for part in network.modules())}
    digests = set()
    for name in names:
        module = sys.modules.get(name)
        if module is None or name.partition(".")[0] == "torch":
            continue
        try:
            digests.add(hashlib.sha256(Path(inspect.getsourcefile(module) or "").read_bytes()).hexdigest())
        except (OSError, TypeError):  # without a source file, such as compiled code
            digests.add(name)
    return content_hash({"files": sorted(digests)})
