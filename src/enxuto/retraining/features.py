"""What layers read, held near to what it was: a pull on every layer of the network in training, beside its answers.

The answers' gradient has passed through all layers when it reaches the first ones, and rounding stands in every one of
them. What a layer reads tells those before it at once what is wrong (Romero et al. 2015, "FitNets: hints for thin deep
nets", arXiv:1412.6550). The error of each is the share of its power that is off; layers count the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from enxuto.importing.network import OnnxNetwork, needed_steps

__all__ = ["features_of", "give_features", "share_off"]

_LEAST = 1e-12  # squares of a feature


def features_of(read: Sequence[str], *networks: OnnxNetwork) -> tuple[str, ...]:
    """Return the values that layers read and that steps of all networks make, each once, in the order of `read`."""
    made = [{name for step in network.steps for name in step.outputs} for network in networks]
    return tuple(name for name in dict.fromkeys(read) if all(name in names for names in made))


def give_features(network: OnnxNetwork, measured: int, features: Sequence[str]) -> None:
    """Let a network return these values behind its first `measured` outputs, in place of any others."""
    outputs = (*network.signature.outputs[:measured], *features)
    network.steps = needed_steps(network.steps, outputs, [*network.operands])
    network.signature = replace(network.signature, outputs=outputs)


def share_off(reference: Sequence[Tensor], found: Sequence[Tensor]) -> Tensor:
    """Return the squared error of features as a share of their squares, averaged over features; 0 without any.

    A feature that is zero has no share, and counts as right. Sums are float32 whatever features are.
    """
    total = torch.zeros(())
    for one, other in zip(reference, found, strict=True):
        power = one.float().square().sum()
        share = (other - one).float().square().sum() / power.clamp_min(_LEAST)
        total = total + torch.where(power > _LEAST, share, torch.zeros_like(share))
    return total / max(1, len(reference))
