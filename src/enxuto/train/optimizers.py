"""The nine optimizers of the source documents, all from `torch.optim`, by the names of `TrainConfig`.

Weight decay is L2 on every parameter (added to the gradient), not the decoupled kind. Coefficients that
`TrainConfig` does not name are torch's defaults.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn, optim

from enxuto.train.config import TrainConfig

__all__ = ["change_momentum", "make_optimizer", "set_rate"]


def make_optimizer(config: TrainConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer that a configuration names, over these parameters, at the rate `config.lr`."""
    weights, lr, decay = list(parameters), config.lr, config.weight_decay
    match config.optimizer:
        case "sgd":
            return optim.SGD(weights, lr, weight_decay=decay)
        case "momentum":
            return optim.SGD(weights, lr, momentum=config.momentum, weight_decay=decay)
        case "nesterov":
            return optim.SGD(weights, lr, momentum=config.momentum, nesterov=True, weight_decay=decay)
        case "adagrad":
            return optim.Adagrad(weights, lr, weight_decay=decay)
        case "adadelta":
            return optim.Adadelta(weights, lr, weight_decay=decay)
        case "rmsprop":
            return optim.RMSprop(weights, lr, weight_decay=decay)
        case "adam":
            return optim.Adam(weights, lr, weight_decay=decay)
        case "adamax":
            return optim.Adamax(weights, lr, weight_decay=decay)
        case "nadam":
            return optim.NAdam(weights, lr, weight_decay=decay)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use this learning rate from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def change_momentum(optimizer: torch.optim.Optimizer, delta: float) -> None:
    """Use the momentum the optimizer was made with plus `delta` from the next step on.

    That is `momentum` or, of Adam, AdaMax and NAdam, the first beta. An optimizer made without stays without.
    """
    made_with = optimizer.defaults
    for group in optimizer.param_groups:
        if "betas" in made_with:
            group["betas"] = (made_with["betas"][0] + delta, *group["betas"][1:])
        elif made_with.get("momentum"):
            group["momentum"] = made_with["momentum"] + delta
