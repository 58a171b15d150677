"""Structured pruning: filters that are really removed.

    channels = trace(network, torch.zeros(1, 3, 32, 32))    # which channels go together, which must stay and why
    kept = channels.without([0, 5, 7])                      # a plan: three of `channels.groups` are to go
    smaller = remove(network, channels, kept)               # a new network, compared with the zeroed original
    optimizer = remove_from_optimizer(optimizer, network, smaller, channels, kept)
    rewound = slice_state(torch.load("epoch-002.pt", weights_only=True)["model"], channels, kept)
    save_pruned("small.pt", smaller, Architecture("vgg16-cifar", (3, 32, 32)), kept)
    smaller = load_pruned("small.pt").network

Plans hold original places. Rounds go on from the original network and a smaller plan; or trace the pruned network and
join the plans: `kept.then(later)`. Names are imported when first used. All of it needs the extra `[train]`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enxuto.prune.channel_map import ChannelMap, Fixed, Group
    from enxuto.prune.channels import trace
    from enxuto.prune.kept import Architecture, KeptChannels
    from enxuto.prune.optimizer import remove_from_optimizer
    from enxuto.prune.rebuild import Pruned, load_pruned, save_pruned
    from enxuto.prune.removal import remove, slice_state

__all__ = [
    "Architecture",
    "ChannelMap",
    "Fixed",
    "Group",
    "KeptChannels",
    "Pruned",
    "load_pruned",
    "remove",
    "remove_from_optimizer",
    "save_pruned",
    "slice_state",
    "trace",
]

_HOMES = {
    "channel_map": ("ChannelMap", "Fixed", "Group"),
    "channels": ("trace",),
    "kept": ("Architecture", "KeptChannels"),
    "optimizer": ("remove_from_optimizer",),
    "rebuild": ("Pruned", "load_pruned", "save_pruned"),
    "removal": ("remove", "slice_state"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"enxuto.prune.{home}"), name)
    raise AttributeError(f"module 'enxuto.prune' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
