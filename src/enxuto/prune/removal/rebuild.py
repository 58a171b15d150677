"""Pruned networks as files: the architecture, the plan and the tensors, with a digest of it all.

A file is `torch.save`'s archive of a dictionary of tensors and plain values (`enxuto.archive`). `load_pruned` builds
the unpruned network, follows its channels, removes what the plan says and puts the tensors in. The file says by name
which network of the zoo that is, and nothing else of it is looked up: a network of the user's own code is made by the
factory that the caller names, never by one that the file names. Version 1, read too, had no digest, only the archive's
checksums.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from enxuto import zoo
from enxuto.archive import digest, read_archive, same_number_kind, write_archive
from enxuto.errors import EnxutoError, FormatError, ModelError, UsageError, error_reason
from enxuto.importing.checkpoint import check_graph_size
from enxuto.prune.channels.tracing import trace
from enxuto.prune.removal.kept import Architecture, KeptChannels
from enxuto.prune.removal.remove import remove

__all__ = ["PrunedNetwork", "check_declared_size", "load_pruned", "read_graph", "save_pruned"]

_FORMAT = "enxuto pruned network"
_VERSION = 2
_PARTS = ("architecture", "plan", "metadata", "model", "graph")
_TIMES = 64  # what a file may ask to build: so many times its own tensors, or the zoo's
_PIXELS = 3 << 20


@dataclass(frozen=True)
class PrunedNetwork:
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

    Args:
        path: of the file.
        network: what `remove` made of `architecture.build()`, or of that network trained.
        architecture: how to build the unpruned network.
        kept: the plan, in positions of the unpruned network.
        metadata: plain values of the caller's, JSON-safe.

    Raises:
        UsageError: the file cannot be written.
    """
    state = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    contents = {
        "architecture": architecture.to_dict(),
        "plan": kept.to_dict(),
        "metadata": dict(metadata or {}),
        "model": state,
        **({} if architecture.graph is None else {"graph": architecture.graph}),
    }
    write_archive(path, _FORMAT, _VERSION, contents)


def load_pruned(path: str | Path, factory: str | None = None) -> PrunedNetwork:
    """Read what `save_pruned` wrote; the network is on the CPU, in evaluation mode.

    Args:
        path: the file.
        factory: for a network that is not of the zoo, the `module:factory` that made it. It is imported and called,
            so the caller must name it; the result's architecture names it too.

    Raises:
        UsageError: the file is missing; a factory is needed and not given, or given and not needed.
        FormatError: the file is damaged, is no pruned network, or its parts contradict each other.
    """
    contents = _read_parts(Path(path))
    try:
        described = _read_mapping(contents, "architecture", path)
        architecture = Architecture.from_dict(described, factory, _graph_in(contents, path))
        kept = KeptChannels.from_dict(_read_mapping(contents, "plan", path))
    except (FormatError, UsageError) as error:
        raise type(error)(f"{path}: {error}") from error
    state = _read_mapping(contents, "model", path)
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise FormatError(f"{path} is damaged: its model holds something else than tensors", code="E052")
    if architecture.factory is None:
        try:
            check_declared_size(architecture, state)
        except EnxutoError as error:
            raise FormatError(f"{path} does not fit {architecture.name[:80]}: {error}") from error
    smaller = _rebuild(architecture, kept, path)
    own = smaller.state_dict()
    for name in sorted(own.keys() ^ state.keys(), key=str):
        raise FormatError(f"{path} does not fit its plan: {name!r} is only in one of them")
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise FormatError(f"{path} does not fit its plan: {name!r} has another shape")
        if not same_number_kind(value, own[name]):
            raise FormatError(
                f"{path} does not fit its plan: {name!r} holds numbers of another kind, {value.dtype}"
            )
    smaller.load_state_dict(dict(state))
    return PrunedNetwork(smaller.eval(), architecture, kept, dict(_read_mapping(contents, "metadata", path)))


def check_declared_size(architecture: Architecture, state: Mapping[str, Tensor]) -> None:
    """Refuse a network of the zoo that is much larger than the tensors that came with it; nothing of it is built.

    Counts, sizes and options come from files, and what is built by them takes memory and time. Raises `UsageError` or
    `ModelError` with the reason.
    """
    if architecture.graph is not None:
        check_graph_size(architecture.graph, sum(value.numel() for value in state.values()))
        return
    item = zoo.entry(architecture.name)
    numbers = [value for value in architecture.options.values() if isinstance(value, (int, float))]
    if not all(math.isfinite(value) and abs(value) <= _TIMES * 16 for value in numbers):
        raise UsageError(f"its options are out of range: {dict(architecture.options)!r:.80}")
    if math.prod(architecture.input_shape) > max(_TIMES * math.prod(item.input_shape), _PIXELS):
        shape = "×".join(map(str, architecture.input_shape))
        raise UsageError(
            f"an input of {shape} is far beyond what it takes; the file is damaged or was forged"
        )
    own = sum(value.numel() for value in state.values())
    usual = max(item.counts.values())
    try:
        with torch.device("meta"):
            whole = architecture.build().state_dict()
    except (RuntimeError, TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
        raise ModelError(f"it cannot be built: {type(error).__name__}") from error
    if sum(value.numel() for value in whole.values()) > _TIMES * own + 4 * usual:
        raise ModelError(
            "it would be far larger than the tensors in the file; the file is damaged or was forged"
        )


def _graph_in(contents: Mapping[str, Any], path: str | Path) -> bytes | None:
    graph = contents.get("graph")
    if graph is not None and not isinstance(graph, bytes):
        raise FormatError(f"{path} is damaged: its graph is none", code="E052")
    return graph


def read_graph(path: str | Path) -> bytes | None:
    """The graph in a file that `save_pruned` wrote, None where the network is one of the zoo or a factory's."""
    return _graph_in(_read_parts(Path(path)), path)


def _rebuild(architecture: Architecture, kept: KeptChannels, path: str | Path) -> nn.Module:
    """The architecture without what the plan removes, with weights that mean nothing yet."""
    network = architecture.build()
    try:
        channels = trace(network, torch.zeros(1, *architecture.input_shape))
        return remove(network, channels, kept, verify=False)
    except EnxutoError as error:
        raise FormatError(f"{path} does not fit {architecture.name[:80]}: {error}") from error
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError, OverflowError) as error:
        raise FormatError(f"{path} does not fit {architecture.name[:80]}: {error_reason(error)}") from error


def _read_parts(path: Path) -> Mapping[str, Any]:
    contents = read_archive(path, "pruned network")
    if not isinstance(contents, Mapping) or contents.get("format") != _FORMAT:
        raise FormatError(f"{path} is no pruned network that enxuto wrote")
    if contents.get("version") not in (1, _VERSION):
        raise FormatError(
            f"{path} is a file of version {contents.get('version')!r:.80}, this enxuto reads 1 and {_VERSION}",
            code="E053",
        )
    parts = {name: contents[name] for name in _PARTS if name in contents}
    if contents["version"] != 1 and contents.get("digest") != digest(parts):
        raise FormatError(
            f"{path} is damaged: its contents do not fit their digest; use another copy of the file",
            code="E052",
        )
    return contents


def _read_mapping(contents: Mapping[str, Any], key: str, path: str | Path) -> Mapping[str, Any]:
    found = contents.get(key)
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise FormatError(f"{path} is damaged: it has no {key}", code="E052")
    return found
