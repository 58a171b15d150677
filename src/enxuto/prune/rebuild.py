"""Pruned networks as files: the architecture, the plan and the tensors, read with `weights_only`.

A file is `torch.save`'s archive of a dictionary of tensors and plain values. `load_pruned` builds the unpruned network
by its name, follows its channels, removes what the plan says and puts the tensors in: nothing in the file is executed,
and no other file is needed.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from enxuto.errors import FormatError, UsageError
from enxuto.files import atomic_write
from enxuto.prune.channels import trace
from enxuto.prune.kept import Architecture, KeptChannels
from enxuto.prune.removal import remove
from enxuto.signals import interrupts_wait

__all__ = ["Pruned", "load_pruned", "save_pruned"]

_FORMAT = "enxuto pruned network"
_VERSION = 1


@dataclass(frozen=True)
class Pruned:
    """A pruned network and how it came about: what a file of one holds.

    metadata: plain values of the caller's (accuracy, rounds, preprocessing), JSON-safe.
    """

    network: nn.Module = field(hash=False)
    architecture: Architecture
    kept: KeptChannels
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)


def save_pruned(
    path: str | Path,
    network: nn.Module,
    architecture: Architecture,
    kept: KeptChannels,
    *,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a pruned network to `path`, whole or not at all.

    network: what `remove` made of `architecture.build()`, or of that network trained, by the plan `kept` of original
    places. Raises `UsageError` when the file cannot be written.
    """
    state = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    held = {
        "format": _FORMAT,
        "version": _VERSION,
        "architecture": architecture.to_dict(),
        "plan": kept.to_dict(),
        "metadata": dict(metadata or {}),
        "model": state,
    }
    with interrupts_wait(), atomic_write(path) as file:
        torch.save(held, file)


def load_pruned(path: str | Path) -> Pruned:
    """Read what `save_pruned` wrote; the network is on the CPU, in evaluation mode.

    Raises `UsageError` where there is no file or its architecture cannot be built, `FormatError` when it is damaged, no
    pruned network, or its tensors do not fit its plan.
    """
    held = _held(Path(path))
    architecture = Architecture.from_dict(_mapping(held, "architecture", path))
    kept = KeptChannels.from_dict(_mapping(held, "plan", path))
    smaller = _rebuilt(architecture, kept, path)
    state = _mapping(held, "model", path)
    own = smaller.state_dict()
    for name in own.keys() ^ state.keys():
        raise FormatError(f"{path} does not fit its plan: {name!r} is only in one of them")
    for name, value in state.items():
        if not isinstance(value, Tensor) or value.shape != own[name].shape:
            raise FormatError(f"{path} does not fit its plan: {name!r} has another shape")
    smaller.load_state_dict(dict(state))
    return Pruned(smaller.eval(), architecture, kept, dict(_mapping(held, "metadata", path)))


def _rebuilt(architecture: Architecture, kept: KeptChannels, path: str | Path) -> nn.Module:
    """The architecture without what the plan removes, with weights that mean nothing yet."""
    network = architecture.build()
    channels = trace(network, torch.zeros(1, *architecture.input_shape))
    try:
        return remove(network, channels, kept, verify=False)
    except UsageError as error:
        raise FormatError(f"{path} does not fit {architecture.name}: {error}") from error


def _held(path: Path) -> Mapping[str, Any]:
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist; check the name of the file") from error
    except pickle.UnpicklingError as error:
        raise FormatError(f"{path} holds more than tensors and plain values, or is damaged") from error
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes make torch fail in many ways
        raise FormatError(f"{path} is damaged or no pruned network ({type(error).__name__})") from error
    if not isinstance(held, Mapping) or held.get("format") != _FORMAT:
        raise FormatError(f"{path} is no pruned network that enxuto wrote")
    if held.get("version") != _VERSION:
        raise FormatError(
            f"{path} is a file of version {held.get('version')!r}, this enxuto reads {_VERSION}"
        )
    return held


def _mapping(held: Mapping[str, Any], key: str, path: str | Path) -> Mapping[str, Any]:
    found = held.get(key)
    if not isinstance(found, Mapping):
        raise FormatError(f"{path} is damaged: it has no {key}")
    return found
