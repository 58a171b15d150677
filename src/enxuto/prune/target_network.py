"""Measures of what is left of a network, parameters and MACs, made from the network itself.

A convolution's weight is multiplied once for each position of its output, a linear layer's once for each image (or
token); what batch norm, pools and sums cost is left out, as it is where networks' MACs are published.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from enxuto.prune.attribution.layers import Network, filter_layers, run_detached
from enxuto.prune.targets import SizeLeft, SlicedUnit

__all__ = ["macs_left", "macs_per_weight", "parameters_left"]


def parameters_left(units: Sequence[SlicedUnit], model: nn.Module) -> SizeLeft:
    """Return the measure of a network's parameters, frozen ones too."""
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    return SizeLeft(units, shapes, dict.fromkeys(shapes, 1.0), _groups(model))


def macs_left(units: Sequence[SlicedUnit], model: nn.Module, image: Tensor) -> SizeLeft:
    """Return the measure of a network's MACs for one image, (1, channels, height, width) on its device."""
    factors = macs_per_weight(model, image)
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    return SizeLeft(units, shapes, factors, _groups(model))


def macs_per_weight(model: nn.Module, image: Tensor) -> dict[str, float]:
    """Return for each weight's parameter name the multiplications of each of its elements, for one image.

    image: (1, channels, height, width) on the network's device. Weights that are not used are left out.
    """
    with run_detached(model) as network:
        uses = _Uses(network)
        with uses, torch.no_grad():
            network(image)
        return uses.counts


def _groups(model: nn.Module) -> dict[str, int]:
    """The groups of grouped convolutions whose groups have more than one channel."""
    return {
        f"{name}.weight": layer.groups
        for name, layer in filter_layers(model).items()
        if not isinstance(layer, nn.Linear) and layer.groups > 1 and layer.weight.shape[1] > 1
    }


class _Uses(TorchFunctionMode):
    """Counts the positions of layers' outputs, over all calls."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.layers = filter_layers(network.model)
        self.counts: dict[str, float] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function; count the positions of a layer's output."""
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        name = self.network.layer_of_call(func, args, kwargs)
        if name is not None:
            layer = self.layers[name]
            transposed = isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d))
            # Each input of a transposed convolution meets all weights; elsewhere each output is made of all.
            values, channel = (args[0], layer.in_channels) if transposed else (output, layer.weight.shape[0])
            key = f"{name}.weight"
            self.counts[key] = self.counts.get(key, 0.0) + values.numel() / channel
        return output
