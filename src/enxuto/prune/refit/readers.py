"""The layers that read channels through a matrix: convolutions of one group and linear layers.

Grouped, depthwise and transposed convolutions, convolutions of one or three axes, and very wide layers are left as
they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from enxuto.prune.channels.map import ChannelMap

__all__ = ["MOST_COLUMNS", "Reader", "find_readers", "is_costly", "sample_inputs"]

MOST_COLUMNS = 6000
"""Layers that read more are not refitted: their second moments would take gigabytes."""

_MANY = 4.5e11
"""Columns cubed, of all layers: between those of ResNet-50 and of VGG-16."""


@dataclass(frozen=True)
class Reader:
    """A layer and the atom that each column of its matrix reads: in a convolution one for each kernel position."""

    layer: str
    columns: np.ndarray

    def kept(self, removed: frozenset[int]) -> Tensor:
        """Whether each column stays when these atoms are removed."""
        return torch.from_numpy(~np.isin(self.columns, list(removed)))


def find_readers(network: nn.Module, channels: ChannelMap) -> tuple[Reader, ...]:
    """All readers of channels that may go, in the order of the network's layers; those whose weight is used once."""
    free = set(channels.group_of)
    shared = set(channels.aliases.values())
    found = []
    for binding in channels.bindings:
        layer, _, attribute = binding.tensor.rpartition(".")
        if attribute != "weight" or binding.dim != 1 or binding.groups != 1 or binding.tensor in shared:
            continue
        module = network.get_submodule(layer)
        plain = isinstance(module, nn.Linear) or (
            isinstance(module, nn.Conv2d) and module.groups == 1 and module.padding_mode == "zeros"
        )
        width = module.weight[0, 0].numel() if plain else 0  # type: ignore[index]
        wide = width * len(binding.atoms) > MOST_COLUMNS
        if plain and not wide and free.intersection(binding.atoms):
            found.append(Reader(layer, np.repeat(np.array(binding.atoms), width)))
    return tuple(found)


def sample_inputs(module: nn.Module, x: Tensor, positions: Sequence[int] | None) -> Tensor:
    """What the columns read at some positions of the output, (batch, positions, columns); None: at all."""
    if isinstance(module, nn.Linear):
        return x.reshape(len(x), -1, x.shape[-1])
    assert isinstance(module, nn.Conv2d)
    padding = module.padding
    if isinstance(padding, str):
        x, padding = _pad_same(module, x) if padding == "same" else x, (0, 0)
    if positions is not None:
        return _patches_at(module, x, padding, positions)
    patches = F.unfold(x, module.kernel_size, module.dilation, padding, module.stride)
    return patches.transpose(1, 2)


def _patches_at(module: nn.Conv2d, x: Tensor, padding: Sequence[int], positions: Sequence[int]) -> Tensor:
    """The rows of `F.unfold` at some positions, without making the others."""
    padded = F.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    reach = [step * (size - 1) + 1 for step, size in zip(module.dilation, module.kernel_size, strict=True)]
    across = (padded.shape[3] - reach[1]) // module.stride[1] + 1
    places = torch.tensor(list(positions))
    rows = (places // across * module.stride[0])[:, None] + torch.arange(0, reach[0], module.dilation[0])
    columns = (places % across * module.stride[1])[:, None] + torch.arange(0, reach[1], module.dilation[1])
    found = padded[:, :, rows[:, :, None], columns[:, None, :]]
    return found.permute(0, 2, 1, 3, 4).flatten(2)


def _pad_same(module: nn.Conv2d, x: Tensor) -> Tensor:
    return F.pad(x, module._reversed_padding_repeated_twice)


def is_costly(network: nn.Module) -> bool:
    """Whether costs of filters take long: for each layer, matrices as wide as its inputs are inverted several times."""
    layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    widths = [layer.weight[0].numel() for layer in layers]
    return sum(width**3 for width in widths if width <= MOST_COLUMNS) > _MANY
