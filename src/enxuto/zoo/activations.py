"""Activations by name, put in place of those that a network was built with.

Sources: Leaky ReLU, A. L. Maas et al. 2013, "Rectifier nonlinearities improve neural network acoustic models"; PReLU,
K. He et al., arXiv:1502.01852, with one slope for each layer (its channel-shared form), which begins at 0.25;
Displaced ReLU, D. Macêdo et al., arXiv:1709.08301, whose identity goes on to −δ, δ = 0.05; ELU, D.-A. Clevert et al.,
arXiv:1511.07289. Not here: the randomised ReLU, which computes something else in training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from enxuto.zoo import checks
from enxuto.zoo.options import ACTIVATIONS

__all__ = ["MODULES", "DisplacedReLU", "replace_activations"]


class DisplacedReLU(nn.Module):
    """`max(x, −shift)`: the identity down to −shift, where batch-normalised values still lie (Macêdo 2017)."""

    def __init__(self, shift: float = 0.05) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of x."""
        return torch.clamp(x, min=-self.shift)

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        return f"shift={self.shift}"


MODULES: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {
        "relu": nn.ReLU,
        "relu6": nn.ReLU6,
        "leaky_relu": nn.LeakyReLU,
        "prelu": nn.PReLU,
        "displaced_relu": DisplacedReLU,
        "elu": nn.ELU,
        "tanh": nn.Tanh,
        "sigmoid": nn.Sigmoid,
    }
)
_REPLACED = (nn.ReLU, nn.ReLU6, nn.Tanh)


def replace_activations(network: nn.Module, name: str, activation: object) -> None:
    """Put the activation in the place of every ReLU, ReLU6 and tanh; no other weight changes, none is drawn.

    name: of the network, for the message. Raises `UsageError` where there is no such activation.
    """
    checks.one_of(name, "activation", activation, ACTIVATIONS)
    make = MODULES[str(activation)]
    for path, part in list(network.named_modules()):
        if isinstance(part, _REPLACED):
            network.set_submodule(path, make())
