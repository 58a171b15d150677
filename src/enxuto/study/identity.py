"""What a computation is known by: a hash of the values that determine it.

Of files that is what they hold, never where they are: moved or renamed they are the same.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["code_hash", "content_hash", "state_hash"]


def content_hash(values: Mapping[str, Any]) -> str:
    """Sixteen hex digits that change when any of these JSON-safe values does, whatever their order."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def state_hash(state: Mapping[str, Tensor]) -> str:
    """Sixteen hex digits of the names, kinds, shapes and values of tensors, whatever file they come from."""
    import torch

    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        if value.numel():
            # As bytes: not every dtype of PyTorch is known to NumPy.
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def code_hash(network: nn.Module, module: str) -> str:
    """Sixteen hex digits of the source files that a user's own network is made of: its factory's and its classes'.

    module: the factory's. Files of PyTorch are left out, as its version is recorded; so is what forward passes call
    from elsewhere, which cannot be told without running them.
    """
    names = {module, *(type(part).__module__ for part in network.modules())}
    found = set()
    for name in names:
        held = sys.modules.get(name)
        if held is None or name.partition(".")[0] == "torch":
            continue
        try:
            found.add(hashlib.sha256(Path(inspect.getsourcefile(held) or "").read_bytes()).hexdigest())
        except (OSError, TypeError):  # without a source file, such as compiled code
            found.add(name)
    return content_hash({"files": sorted(found)})
