"""Costs of channels that no refitted layer reads: those before grouped, transposed and very wide layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from enxuto.prune.channels.map import ChannelMap

__all__ = ["with_unread"]


def with_unread(
    network: nn.Module, channels: ChannelMap, costs: Mapping[int, float], gone: Iterable[int]
) -> dict[int, float]:
    """Costs by atom, also of those atoms that only layers without moments read.

    Such a layer is not refitted, and what it loses is not known in nats. The squared weights that read an atom stand
    for it, scaled so that the mean is that of the costs that are known.
    """
    removed = {atom for number in gone for atom in channels.groups[number].atoms}
    powers = _powers(network, channels)
    unread = {
        atom: power
        for atom, power in powers.items()
        if atom in channels.group_of and atom not in costs and atom not in removed
    }
    if not unread:
        return dict(costs)
    known = sum(costs.values()) / len(costs) if costs else 1.0
    mean = sum(unread.values()) / len(unread)
    return {**costs, **{atom: known * power / mean if mean else known for atom, power in unread.items()}}


def _powers(network: nn.Module, channels: ChannelMap) -> dict[int, float]:
    """Atom → sum of the squared weights that read it."""
    found: dict[int, float] = {}
    shared = set(channels.aliases.values())
    for binding in channels.bindings:
        layer, _, attribute = binding.tensor.rpartition(".")
        if attribute != "weight" or binding.tensor in shared or layer not in channels.layers:
            continue
        weight = network.get_submodule(layer).weight
        assert isinstance(weight, torch.Tensor)
        axis = 1 - channels.rows[layer][1]
        if binding.dim != axis or weight.dim() < 2:
            continue
        squares = weight.detach().double().square()
        parts = squares.chunk(binding.groups, 0) if axis == 1 else (squares,)
        values = torch.cat([part.transpose(0, axis).flatten(1).sum(1) for part in parts])
        if len(values) != len(binding.atoms):
            continue
        for atom, power in zip(binding.atoms, values.tolist(), strict=True):
            found[atom] = found.get(atom, 0.0) + power
    return found
