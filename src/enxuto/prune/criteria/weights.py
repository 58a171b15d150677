"""Scores that look at no data: norms of a filter's weights, and chance as the control.

Source: H. Li et al., "Pruning filters for efficient ConvNets", arXiv:1608.08710: the L1 norm. Biases do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from enxuto.prune.attribution.layers import FilterLayer, filter_layers

__all__ = ["L1", "L2", "Random", "filter_matrix"]


@dataclass(frozen=True)
class L1:
    """Sum of the absolute weights of each filter."""

    def __call__(
        self, model: nn.Module, data: Iterable[tuple[Tensor, Tensor]], progress: Callable[[int], None]
    ) -> dict[str, Tensor]:
        """Score all layers; `data` is not looked at."""
        return {name: filter_matrix(layer).abs().sum(1) for name, layer in filter_layers(model).items()}


@dataclass(frozen=True)
class L2:
    """Root of the sum of squared weights of each filter."""

    def __call__(
        self, model: nn.Module, data: Iterable[tuple[Tensor, Tensor]], progress: Callable[[int], None]
    ) -> dict[str, Tensor]:
        """Score all layers; `data` is not looked at."""
        return {
            name: filter_matrix(layer).square().sum(1).sqrt() for name, layer in filter_layers(model).items()
        }


@dataclass(frozen=True)
class Random:
    """Uniform numbers in 0…1 by `seed`, layer after layer in the order of definition."""

    seed: int = 0

    def __call__(
        self, model: nn.Module, data: Iterable[tuple[Tensor, Tensor]], progress: Callable[[int], None]
    ) -> dict[str, Tensor]:
        """Score all layers; `data` is not looked at, nor torch's global random state."""
        generator = torch.Generator().manual_seed(self.seed)
        return {
            name: torch.rand(len(filter_matrix(layer)), generator=generator, dtype=torch.float64)
            for name, layer in filter_layers(model).items()
        }


def filter_matrix(layer: FilterLayer) -> Tensor:
    """Return a layer's weights as a float64 matrix (filters, weights of each); no gradient passes.

    Transposed convolutions keep theirs as (inputs, filters of a group, …), one group's inputs after the other's.
    """
    weight = layer.weight.detach().double()
    if isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
        weight = weight.reshape(layer.groups, -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1)
    return weight.flatten(1)
