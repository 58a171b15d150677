"""`FilterPenalty`: what filters cost besides their bits, so that whole filters become zero while training.

A group penalty (Yuan & Lin 2006; of filters: Wen et al. 2016, "Learning structured sparsity in deep neural networks",
arXiv:1608.03665): the root mean square of a filter's latent numbers, times its share of the network's multiplications.
It is priced in bits: all filters together, at one step each, cost as much as the levels that training starts from. A
square root has a slope at zero too, so that a filter that is not worth its cost is drawn in whole, not only to where
its levels round to zero.

A filter whose levels are all zero has no bias either. What it gives is then zero behind every rectifier, and it can
leave the network (`retraining.removal`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from enxuto.importing.network import OnnxNetwork
from enxuto.retraining.levels import LearnedLevels
from enxuto.retraining.removal import channels_of, macs_by_layer, removable_groups

__all__ = ["FilterPenalty", "rms_of_filters"]

_SMALLEST = 1e-6  # of a mean square, where the root would have no slope


def rms_of_filters(latent: Tensor) -> Tensor:
    """Return the root mean square of each filter's numbers (filters,), and no less than a thousandth."""
    return torch.sqrt(latent.flatten(1).square().mean(1) + _SMALLEST)


@dataclass(frozen=True)
class FilterPenalty:
    """costs: by a weight's initializer, the bits that each of its filters costs at a root mean square of one step.

    biases: the bias of each such weight that has one.
    """

    costs: dict[str, Tensor]
    biases: dict[str, str]

    @classmethod
    def of(cls, network: OnnxNetwork, weights: dict[str, LearnedLevels], bits: float) -> FilterPenalty:
        """Return the penalty of a network's filters that can be removed.

        Args:
            network: the one in training.
            weights: what is learned, by initializer.
            bits: what all filters cost together.

        Raises:
            ModelError: the channels of the network cannot be followed.
        """
        channels, macs = channels_of(network), macs_by_layer(network)
        free = {atom for atoms in removable_groups(channels).values() for atom in atoms}
        costs: dict[str, Tensor] = {}
        biases: dict[str, str] = {}
        for path, atoms in channels.layers.items():
            name = network.initializers.get(f"{path}.weight", "")
            if path not in macs or name not in weights or channels.rows[path][1] != 0:
                continue
            costs[name] = torch.tensor([macs[path] * (atom in free) for atom in atoms])
            if (bias := network.initializers.get(f"{path}.bias")) is not None:
                biases[name] = bias
        total = sum(float(one.sum()) for one in costs.values())
        return cls({name: one * (bits / total) for name, one in costs.items() if float(one.sum())}, biases)

    def on(self, device: torch.device) -> FilterPenalty:
        """Return the penalty of weights that are on a device."""
        return replace(self, costs={name: costs.to(device) for name, costs in self.costs.items()})

    def bits(self, weights: dict[str, LearnedLevels]) -> Tensor:
        """Return what all filters cost, with gradients."""
        total = torch.zeros(())
        for name, costs in self.costs.items():
            total = total + (costs * rms_of_filters(weights[name].numbers())).sum()
        return total

    def alive(self, weights: dict[str, LearnedLevels]) -> dict[str, Tensor]:
        """Return, by the bias, 0 for filters that can go and whose levels are all zero, and 1 for others."""
        found = {}
        for name, costs in self.costs.items():
            if name in self.biases:
                levels = weights[name].levels().flatten(1)
                found[self.biases[name]] = ((levels != 0).any(1) | (costs == 0)).to(torch.float32)
        return found
