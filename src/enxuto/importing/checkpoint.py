"""Checkpoints of networks made from a graph: the graph and the tensors, in a file that loads by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from enxuto.archive import digest, is_whole_number, read_archive, same_number_kind, write_archive
from enxuto.errors import EnxutoError, FormatError, UsageError
from enxuto.importing.load import network_from_graph
from enxuto.importing.network import OnnxNetwork
from enxuto.onnx_model import skeleton_slots

__all__ = ["check_graph_size", "read_module", "save_module"]

_FORMAT = "enxuto module"
_VERSION = 1
_PARTS = ("graph", "input_shape", "metadata", "model")
_TIMES = 64  # what a graph may declare: so many times the tensors that came with it


def save_module(path: str | Path, network: OnnxNetwork) -> None:
    """Write a network that `load_module` made, trained or not, whole or not at all; `load_module` reads the file.

    Raises `UsageError` where the file cannot be written.
    """
    contents = {
        "graph": network.graph,
        "input_shape": list(network.input_shape),
        "metadata": dict(network.signature.metadata),
        "model": {name: value.detach().cpu() for name, value in network.state_dict().items()},
    }
    write_archive(path, _FORMAT, _VERSION, contents)


def read_module(path: str | Path) -> OnnxNetwork:
    """Read what `save_module` wrote.

    Raises:
        UsageError: there is no such file, or it is of another kind.
        FormatError: it is damaged, or its parts contradict each other.
    """
    contents = read_archive(path)
    if not isinstance(contents, Mapping) or contents.get("format") != _FORMAT:
        raise UsageError(
            f"{path} is no network that save_module wrote; load_module takes ONNX and .enx files too"
        )
    if contents.get("version") != _VERSION:
        raise FormatError(
            f"{path} is a file of version {contents.get('version')!r:.80}, this enxuto reads {_VERSION}",
            code="E053",
        )
    parts = {name: contents.get(name) for name in _PARTS}
    if contents.get("digest") != digest(parts):
        raise FormatError(f"{path} is damaged: its contents do not fit their digest", code="E052")
    state, metadata = parts["model"], parts["metadata"]
    if (
        not isinstance(state, Mapping)
        or not isinstance(metadata, Mapping)
        or not isinstance(parts["graph"], bytes)
    ):
        raise FormatError(f"{path} is damaged: a part of it is missing", code="E052")
    network = _rebuild(parts["graph"], parts["input_shape"], state, path)
    own = network.state_dict()
    for name in sorted(own.keys() ^ state.keys(), key=str):
        raise FormatError(f"{path} does not fit its graph: {name!r} is only in one of them")
    for name, value in state.items():
        if value.shape != own[name].shape or not same_number_kind(value, own[name]):
            raise FormatError(f"{path} does not fit its graph: {name!r} has another shape or type")
    network.load_state_dict(dict(state))
    network.signature = replace(network.signature, metadata=dict(metadata))
    return network


def _rebuild(graph: bytes, shape: Any, state: Mapping[str, Any], path: str | Path) -> OnnxNetwork:
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise FormatError(f"{path} is damaged: its model holds something else than tensors", code="E052")
    if not isinstance(shape, Sequence) or not all(is_whole_number(size) for size in shape):
        raise FormatError(f"{path} is damaged: its input shape is none", code="E052")
    try:
        check_graph_size(graph, sum(value.numel() for value in state.values()))
        return network_from_graph(graph, shape)
    except EnxutoError as error:
        raise FormatError(f"{path} does not hold a graph that fits it: {error}") from error


def check_graph_size(graph: bytes, tensors: int) -> None:
    """Refuse a graph that declares far more numbers than the tensors that came with it; nothing of it is built.

    tensors: how many numbers came. Raises `FormatError`.
    """
    declared = 0
    for shape, _ in skeleton_slots(graph).values():
        numbers = 1
        for size in shape:
            numbers *= size
        declared += numbers
    if declared > _TIMES * tensors + (1 << 20):
        raise FormatError("the graph declares far more numbers than the file holds; it was damaged or forged")
