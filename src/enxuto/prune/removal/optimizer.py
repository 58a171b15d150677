"""The optimizer's state follows the channels: moments and averages are cut as the parameters are.

After surgery the old optimizer would still step the old parameters. `remove_from_optimizer` makes a new one of the
same kind over the new parameters, with the same settings, step counts and cut moments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from enxuto.errors import UsageError
from enxuto.prune.channels.map import ChannelMap
from enxuto.prune.removal.kept import KeptChannels
from enxuto.prune.removal.remove import bindings_by_tensor, cut_tensor, removed_atoms

__all__ = ["remove_from_optimizer"]


def remove_from_optimizer(
    optimizer: Optimizer, network: nn.Module, smaller: nn.Module, channels: ChannelMap, kept: KeptChannels
) -> Optimizer:
    """A new optimizer for `smaller`, which `remove` made of `network` by `kept`; the old one stays as it was.

    State in the shape of a parameter is cut like the parameter; numbers and step counts are copied. Parameter groups
    keep their settings, so a schedule continues.

    Raises:
        UsageError: the optimizer holds parameters of another network, or a state of another shape (low-rank moments).
    """
    removed = removed_atoms(channels, kept)
    bindings = bindings_by_tensor(channels)
    names = {id(weight): name for name, weight in network.named_parameters()}
    fresh = dict(smaller.named_parameters())
    groups: list[dict[str, Any]] = []
    states: list[tuple[nn.Parameter, dict[str, Any]]] = []
    for group in optimizer.param_groups:
        members = []
        for weight in group["params"]:
            if id(weight) not in names:
                raise UsageError("the optimizer holds a parameter that is not the network's; make a new one")
            name = names[id(weight)]
            members.append(fresh[name])
            held = {
                key: _state(
                    key,
                    value,
                    weight,
                    lambda item, name=name: cut_tensor(item, bindings.get(name, []), removed, name),
                )
                for key, value in optimizer.state.get(weight, {}).items()
            }
            if held:
                states.append((fresh[name], held))
        groups.append({**group, "params": members})
    made = type(optimizer)(groups, **_settings(optimizer))
    for weight, held in states:
        made.state[weight] = held
    return made


def _settings(optimizer: Optimizer) -> Mapping[str, Any]:
    """What the constructor needs before the groups, which carry everything, are read."""
    return {"lr": optimizer.defaults["lr"]} if "lr" in optimizer.defaults else {}


def _state(key: str, value: Any, weight: Tensor, cut_like_parameter: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    if value.shape == weight.shape:
        return cut_like_parameter(value)
    if value.numel() == 1:
        return value.clone()
    raise UsageError(
        f"the optimizer's {key} has the shape {tuple(value.shape)} for a parameter of {tuple(weight.shape)}; "
        "start a new optimizer"
    )
