"""Filters whose levels all became zero leave the file, so that the network that comes back is also faster.

Such a filter gives a constant. Where that constant is zero at every layer that reads it, the filter can go, with its
bias and with the columns that read it, and the outputs stay what they were. Where it is not (a positive bias before
a rectifier), what reads it would need another bias, at its borders too if it pads, and the file has biases only on a
grid: the filter stays, and is counted.

That a constant is zero is looked up in the network itself, run in float64: a filter without weights gives the same on
all inputs. Then the smaller network's outputs are compared with the whole one's on random inputs, in PyTorch as
`prune.removal` does, and as the two files' models in ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from enxuto.compression.retrainer import RemovedFilters, Retrained, RetrainingTask
from enxuto.enx.file import CompressedModel
from enxuto.errors import EnxutoError, ModelError
from enxuto.importing.load import network_of
from enxuto.importing.network import OnnxNetwork
from enxuto.onnx_model import Model, fill
from enxuto.prune.channels.map import ChannelMap
from enxuto.prune.channels.tracing import trace
from enxuto.prune.removal.check import TOLERANCE, difference_of_outputs
from enxuto.prune.removal.kept import KeptChannels
from enxuto.prune.removal.remove import remove
from enxuto.retraining.cutting import Cuts, cut_file, cut_model
from enxuto.runtime import Runner
from enxuto.summary import summarize_onnx

__all__ = ["channels_of", "macs_by_layer", "removable_groups", "remove_dead_filters", "without_dead_filters"]

_IMAGES = 2
_SINGLE_TOLERANCE = 1e-4  # of the largest output, in ONNX Runtime's float32


def remove_dead_filters(
    made: CompressedModel, *, threads: int = 1, shape: Sequence[int] | None = None
) -> tuple[CompressedModel, RemovedFilters]:
    """Return the file without filters that are zero, and what went; the same file where none can go.

    shape: of an image, where the model leaves sizes open.
    """
    arrays = {name: array for payload in made.payloads for name, array in payload.arrays().items()}
    model = fill(made.skeleton, arrays)
    filters = 0
    try:
        network = network_of(model, shape).eval()
        channels = channels_of(network)
        filters = sum(channels.widths.values())
        dead, constant = _dead_groups(network.double(), channels)
        if not dead:
            return made, RemovedFilters(0, filters, kept_for_constants=constant)
        kept = channels.without_groups(dead)
        gone = sum(len(positions) for positions in kept.removed().values())
        _check_in_torch(network, channels, kept)
        cuts = _cuts(network_of(model, shape), model, channels, kept)
        smaller = cut_model(model, cuts)
        found = cut_file(made, smaller, cuts)
        macs = tuple(summarize_onnx(one, input_shape=shape).macs for one in (model, smaller))
        _check_in_runtime(model, smaller, threads, shape)
    except EnxutoError as error:
        return made, RemovedFilters(0, filters, reason=str(error))
    report = RemovedFilters(gone, filters, constant, macs[0], macs[1])
    found.metadata["pruned"] = {"filters": gone, "of": filters, "macs": list(macs)}
    return found, report


def without_dead_filters(found: Retrained, task: RetrainingTask) -> Retrained:
    """Return what was found without the filters that are zero; where nothing better was found, as it is."""
    if not found.improved:
        return found
    model, removed = remove_dead_filters(found.outcome.model, shape=task.images.shape[1:])
    size = model.file_bytes
    best = replace(found.best, bytes=size, violation=task.violation(size, found.best.judgement))
    return replace(found, outcome=replace(found.outcome, model=model), best=best, removed=removed)


def channels_of(network: OnnxNetwork) -> ChannelMap:
    """Return the channels of a network; `ModelError` where they cannot be followed."""
    images = [
        torch.zeros(_IMAGES, *shape, dtype=_type_of(network)) for shape in network.signature.input_shapes
    ]
    return trace(network, images)


def removable_groups(channels: ChannelMap) -> dict[int, frozenset[int]]:
    """Return the atoms of the groups that can leave a graph, by number.

    Left out are those that a padding or a shuffle follows, whose sizes a graph holds as constants, and those of grouped
    convolutions other than depthwise ones.
    """
    tied = {
        atom for item in channels.resized for part in (item.before, item.after, item.inputs) for atom in part
    }
    tied |= {atom for binding in channels.bindings if binding.groups > 1 for atom in binding.atoms}
    tied |= {atom for item in channels.balances for part in item.parts for atom in part}
    groups = {group.number: frozenset(group.atoms) for group in channels.groups}
    return {number: atoms for number, atoms in groups.items() if not atoms & tied}


def _type_of(network: nn.Module) -> torch.dtype:
    return next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)


def _dead_groups(network: OnnxNetwork, channels: ChannelMap) -> tuple[list[int], int]:
    """Return the groups that are zero and read as zero, and how many filters are constant and not zero."""
    state = network.state_dict()
    live: set[int] = set()
    for layer, atoms in channels.layers.items():
        name, axis = channels.rows[layer]
        if name in channels.depthwise:
            continue  # follows the layer before
        weight = state[name].movedim(axis, 0).flatten(1)
        live |= {atom for atom, row in zip(atoms, weight, strict=True) if bool(row.any())}
    candidates = {number: atoms for number, atoms in removable_groups(channels).items() if not atoms & live}
    if not candidates:
        return [], 0
    read = _read_channels(network, channels)
    silent = [number for number, atoms in candidates.items() if not atoms & read]
    constant = len(candidates) - len(silent)
    left = {layer: len(atoms) for layer, atoms in channels.layers.items()}
    dead = []
    for number in silent:  # every layer keeps a filter
        owned = channels.groups[number].filters
        if all(left[layer] > len(positions) for layer, positions in owned.items()):
            dead.append(number)
            for layer, positions in owned.items():
                left[layer] -= len(positions)
    return dead, constant


def _read_channels(network: OnnxNetwork, channels: ChannelMap) -> set[int]:
    """Return the atoms that are not zero wherever a layer reads them, on random images."""
    found: set[int] = set()
    handles = []
    for binding in channels.bindings:
        path, _, attribute = binding.tensor.rpartition(".")
        rows = [axis for name, axis in channels.rows.values() if name == binding.tensor]
        if (
            attribute != "weight"
            or not rows
            or binding.dim == rows[0]
            or binding.tensor in channels.depthwise
        ):
            continue
        module = network.get_submodule(path)
        handles.append(module.register_forward_pre_hook(_reader(binding.atoms, found)))
    try:
        with torch.no_grad():
            network(*_images(network))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _reader(atoms: tuple[int, ...], found: set[int]) -> Any:
    def read(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        axis = -1 if isinstance(module, nn.Linear) else 1
        channels = inputs[0].movedim(axis, 0).flatten(1)
        if len(channels) == len(atoms):
            found.update(atom for atom, channel in zip(atoms, channels, strict=True) if bool(channel.any()))
        else:
            found.update(atoms)

    return read


def _images(network: OnnxNetwork) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    dtype = _type_of(network)
    shapes = network.signature.input_shapes
    return [torch.randn(_IMAGES, *shape, generator=generator, dtype=dtype) for shape in shapes]


def _check_in_torch(network: OnnxNetwork, channels: ChannelMap, kept: KeptChannels) -> None:
    smaller = remove(network, channels, kept, verify=False)
    difference = difference_of_outputs(network, smaller, _images(network))
    if not difference <= TOLERANCE:
        raise ModelError(
            f"filters of zeros were left in: without them the outputs differ by {difference:.3g} of the largest",
            code="E034",
        )


def _check_in_runtime(model: Model, smaller: Model, threads: int, shape: Sequence[int] | None) -> None:
    one, other = (Runner(which, threads=threads) for which in (model, smaller))
    batch = one.inputs[0].shape[0] or 1
    feeds = one.random_feeds(batch, shape=None if shape is None else {one.inputs[0].name: (batch, *shape)})
    for expected, found in zip(one.run(feeds), other.run(feeds), strict=True):
        largest = float(np.abs(np.asarray(expected, np.float64)).max(initial=0)) or 1.0
        same = found.shape == expected.shape
        if not same or not float(np.abs(found - expected).max(initial=0)) <= _SINGLE_TOLERANCE * largest:
            raise ModelError(
                "filters of zeros were left in: the smaller graph computes something else", code="E034"
            )


def _cuts(network: OnnxNetwork, model: Model, channels: ChannelMap, kept: KeptChannels) -> Cuts:
    """Return which places of each initializer stay, by axis; `ModelError` where a tensor is in another form."""
    removed = {
        channels.layers[layer][position]
        for layer, positions in kept.removed().items()
        for position in positions
    }
    cuts = Cuts({}, frozenset())
    groups = set()
    for binding in channels.bindings:
        left = [position for position, atom in enumerate(binding.atoms) if atom not in removed]
        if len(left) == len(binding.atoms):
            continue
        name = network.initializers.get(binding.tensor)
        flipped = None if name is None else network.is_turned(binding.tensor, model.load(name))
        if name is None or flipped is None:
            raise ModelError(
                f"filters of zeros were left in: {binding.tensor} is no weight of the graph", code="E034"
            )
        axis = 1 - binding.dim if flipped else binding.dim
        cuts.places.setdefault(name, {})[axis] = np.asarray(left)
        if binding.tensor in channels.depthwise:
            groups.add(name)
    return Cuts(cuts.places, frozenset(groups))


def macs_by_layer(network: OnnxNetwork) -> Mapping[str, float]:
    """Return the multiplications of each filter of a convolution for one image, by the path of its module."""
    found: dict[str, float] = {}
    handles = []
    for path, module in network.named_modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            handles.append(module.register_forward_hook(_counter(path, found)))
    try:
        with torch.no_grad():
            network(*(image[:1] for image in _images(network)))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _counter(path: str, found: dict[str, float]) -> Any:
    def count(module: Any, inputs: Any, output: Tensor) -> None:
        found[path] = found.get(path, 0.0) + float(module.weight[0].numel() * output[0, 0].numel())

    return count
