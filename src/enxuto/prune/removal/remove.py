"""`remove`: a smaller network by a plan of kept filters; the network it came from stays as it was.

Parameters, buffers and state dicts are cut along the axes that `ChannelMap` binds to channels, modules are told their
new sizes, padding shortcuts and channel shuffles are fitted. The result is compared with the original whose removed
channels are zero (`check`). Left out: removing whole layers.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from enxuto.errors import ModelError, UsageError, error_reason
from enxuto.prune.channels.map import AxisBinding, ChannelMap, ResizedModule
from enxuto.prune.channels.resizing import ChannelOrder, shuffle_order
from enxuto.prune.removal.kept import KeptChannels
from enxuto.zoo.resnet import OptionAShortcut

CONVOLUTIONS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)

__all__ = ["bindings_by_tensor", "cut_tensor", "remove", "removed_atoms", "slice_state", "zero_state"]


def remove(network: nn.Module, channels: ChannelMap, kept: KeptChannels, *, verify: bool = True) -> nn.Module:
    """A new network with only the kept filters, in the mode (training or evaluation) of `network`.

    Parameters keep `requires_grad`; shared ones stay shared.

    Args:
        network: the one that `channels` was traced from, or one with equal shapes.
        verify: compare the result with `network` whose removed channels are zero, in float64 on seeded random images.

    Raises:
        UsageError: the plan does not fit the network.
        ModelError: the smaller network cannot be made, or computes something else; the message names the layer.
    """
    removed = removed_atoms(channels, kept)
    smaller = _cut_network(network, channels, removed)
    if verify:
        from enxuto.prune.removal.check import check_removal

        check_removal(network, smaller, channels, kept)
    return smaller


def removed_atoms(channels: ChannelMap, kept: KeptChannels) -> frozenset[int]:
    """The atoms that a plan removes.

    Raises `UsageError` where the plan is for another network, separates what belongs together, removes what must
    stay, or leaves the parts of a grouped convolution unequal.
    """
    if dict(kept.widths) != channels.widths:
        odd = sorted(set(kept.widths.items()) ^ set(channels.widths.items()))[0][0]
        raise UsageError(f"the plan is for another network: {odd} is not the same in both", code="E022")
    removed: set[int] = set()
    for layer, positions in kept.removed().items():
        for position in positions:
            if channels.layers[layer][position] in channels.rigid:
                raise UsageError(
                    f"filter {position} of {layer} must stay: {channels.reason(layer, position)}", code="E036"
                )
            removed.add(channels.layers[layer][position])
    for layer, positions in kept.layers.items():
        torn = next((position for position in positions if channels.layers[layer][position] in removed), None)
        if torn is not None:
            raise UsageError(
                f"the plan keeps filter {torn} of {layer} and removes what goes with it elsewhere; "
                "ChannelMap.without_filters makes whole plans"
            )
    for item in channels.balances:
        if len({sum(atom in removed for atom in part) for part in item.parts}) > 1:
            raise UsageError(f"the plan removes more from one part of {item.module} than from another")
    return frozenset(removed)


def slice_state(state: Mapping[str, Tensor], channels: ChannelMap, kept: KeptChannels) -> dict[str, Tensor]:
    """A state dict of the original network cut to the plan: any earlier checkpoint, for weight rewinding.

    Tensors that no channel touches come as they are, the others as copies. Raises `UsageError` where a tensor is
    missing or has another shape than the network's.
    """
    removed = removed_atoms(channels, kept)
    bindings = bindings_by_tensor(channels)
    for name in bindings:
        if name not in state:
            raise UsageError(f"the state dict lacks {name!r}; it is of another network", code="E071")
    named = {name: bindings.get(channels.aliases.get(name, name), []) for name in state}
    return {
        name: cut_tensor(value, named[name], removed, name) if named[name] else value
        for name, value in state.items()
    }


def zero_state(
    state: Mapping[str, Tensor], channels: ChannelMap, removed: frozenset[int]
) -> dict[str, Tensor]:
    """A state dict of the original network with everything zero that belongs to a removed channel."""
    result = dict(state)
    bindings = bindings_by_tensor(channels)
    for name in state:
        value = state[name].clone()
        for binding in bindings.get(channels.aliases.get(name, name), []):
            positions = [position for position, atom in enumerate(binding.atoms) if atom in removed]
            if binding.groups == 1:
                value.index_fill_(
                    binding.dim, torch.tensor(positions, dtype=torch.int64, device=value.device), 0
                )
                continue
            inputs, outputs = len(binding.atoms) // binding.groups, value.shape[0] // binding.groups
            for position in positions:
                group, column = divmod(position, inputs)
                value[group * outputs : (group + 1) * outputs, column] = 0
        result[name] = value
    return result


def cut_tensor(value: Tensor, bindings: list[AxisBinding], removed: frozenset[int], name: str) -> Tensor:
    """A copy of a parameter, buffer or optimizer's moment without the slices of removed channels.

    The input axis of a grouped convolution is cut for each group by itself. `UsageError` for another shape.
    """
    for binding in sorted(bindings, key=lambda binding: binding.groups, reverse=True):
        size = len(binding.atoms) // binding.groups
        if value.dim() <= binding.dim or value.shape[binding.dim] != size:
            raise UsageError(
                f"{name} has the shape {tuple(value.shape)}; axis {binding.dim} should be {size}"
            )
        left = [position for position, atom in enumerate(binding.atoms) if atom not in removed]
        if binding.groups == 1:
            index = torch.tensor(left, dtype=torch.int64, device=value.device)
            value = value.index_select(binding.dim, index)
            continue
        parts = [
            part.index_select(
                1, torch.tensor([p % size for p in left if p // size == group], device=value.device)
            )
            for group, part in enumerate(value.chunk(binding.groups))
        ]
        value = torch.cat(parts)
    return value.clone()


def bindings_by_tensor(channels: ChannelMap) -> dict[str, list[AxisBinding]]:
    """Parameter or buffer → its bounds, one an axis."""
    found: dict[str, list[AxisBinding]] = {}
    for binding in channels.bindings:
        found.setdefault(binding.tensor, []).append(binding)
    return found


def _cut_network(network: nn.Module, channels: ChannelMap, removed: frozenset[int]) -> nn.Module:
    """The smaller network, not verified: a deep copy whose tensors are cut on the way."""
    bindings = bindings_by_tensor(channels)
    memo: dict[int, Any] = {}
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name in bindings:
                value = cut_tensor(weight.detach(), bindings[name], removed, name)
                memo[id(weight)] = nn.Parameter(value, requires_grad=weight.requires_grad)
        for name, buffer in network.named_buffers():
            if name in bindings:
                memo[id(buffer)] = cut_tensor(buffer, bindings[name], removed, name)
    try:
        smaller: nn.Module = copy.deepcopy(network, memo)
    except (RuntimeError, TypeError) as error:
        raise ModelError(f"the network cannot be copied: {error_reason(error)}") from error
    smaller.__dict__.pop("built_as", None)  # the zoo did not build this one
    depthwise = {name.removesuffix(".weight") for name in channels.depthwise}
    for path, module in smaller.named_modules():
        resize_module(module, depthwise=path in depthwise)
    for item in channels.resized:
        _resize(smaller, item, removed)
    return smaller


def resize_module(module: nn.Module, *, depthwise: bool) -> None:
    """Set the sizes that a module of torch keeps beside its parameters to those of its parameters."""
    if isinstance(module, CONVOLUTIONS):
        if depthwise:
            module.groups = module.weight.shape[0] // (module.out_channels // module.groups)
        outputs, inputs = module.weight.shape[:2]
        if module.transposed:
            outputs, inputs = inputs, outputs
            module.in_channels, module.out_channels = inputs, outputs * module.groups
        else:
            module.in_channels, module.out_channels = inputs * module.groups, outputs
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, NORMS):
        vector = module.weight if module.weight is not None else module.running_mean
        module.num_features = module.num_features if vector is None else vector.shape[0]
    elif isinstance(module, nn.PReLU):
        module.num_parameters = module.weight.shape[0]


def _resize(network: nn.Module, item: ResizedModule, removed: frozenset[int]) -> None:
    """Give a padding shortcut its numbers of zeros, a shuffle the order of the channels that are left."""
    module = network.get_submodule(item.module)
    if isinstance(module, OptionAShortcut):
        module.before = sum(atom not in removed for atom in item.before)
        module.after = sum(atom not in removed for atom in item.after)
        return
    positions = {
        position: rank
        for rank, position in enumerate(p for p, atom in enumerate(item.inputs) if atom not in removed)
    }
    order = tuple(positions[position] for position in item.order if position in positions)
    if len(order) == len(item.order) or (
        not isinstance(module, ChannelOrder) and _is_unchanged(module, order)
    ):
        return
    device = next((weight.device for weight in network.parameters()), torch.device("cpu"))
    ordered = ChannelOrder(order).to(device)
    for path, part in list(network.named_modules(remove_duplicate=False)):
        if part is module:
            network.set_submodule(path, ordered)


def _is_unchanged(shuffle: nn.Module, order: tuple[int, ...]) -> bool:
    """Whether the shuffle as it is puts the channels that are left in this order."""
    return (
        len(order) % int(getattr(shuffle, "groups", 1)) == 0 and shuffle_order(shuffle, len(order)) == order
    )
