"""Structured pruning: filters that are really removed.

    channels = trace(network, torch.zeros(1, 3, 32, 32))    # which channels go together, which must stay and why
    kept = channels.without([0, 5, 7])                      # a plan: three of `channels.groups` are to go
    smaller = remove(network, channels, kept)               # a new network, compared with the zeroed original
    optimizer = remove_from_optimizer(optimizer, network, smaller, channels, kept)
    rewound = slice_state(torch.load("epoch-002.pt", weights_only=True)["model"], channels, kept)
    save_pruned("small.pt", smaller, Architecture("vgg16-cifar", (3, 32, 32)), kept)
    smaller = load_pruned("small.pt").network

By scores, in rounds (`scores` of `enxuto.prune.criteria.scores`), here without training between:

    unpruned = UnprunedNetwork.from_architecture(Architecture("vgg16-cifar", (3, 32, 32)))
    state, kept = network.state_dict(), unpruned.channels.keep_all()
    for left in shares_left(0.2, rounds=8):                 # 0.8, 0.64, … of the unpruned filters
        kept = unpruned.plan_round(kept, scores(network, batches, "l1"), left, Selection()).kept
        network = unpruned.prune(state, kept)               # a trained one's: unpruned.expand_state(its state, kept)

Plans hold filters' positions in the original network. Rounds start from the original network and a smaller plan; or
trace the pruned network and compose the plans: `kept.compose(later)`. Whole studies are `enxuto.studies.lottery`. Names
are imported when first used. All of it needs the extra `[train]`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enxuto.prune.attribution.deeplift import Attribution, deeplift
    from enxuto.prune.channels.map import ChannelGroup, ChannelMap, FixedFilters
    from enxuto.prune.channels.tracing import trace
    from enxuto.prune.criteria.scores import CRITERIA, Criterion
    from enxuto.prune.removal.kept import Architecture, KeptChannels
    from enxuto.prune.removal.optimizer import remove_from_optimizer
    from enxuto.prune.removal.rebuild import PrunedNetwork, load_pruned, save_pruned
    from enxuto.prune.removal.remove import remove, slice_state
    from enxuto.prune.retrain import MODES, build_unpruned, reinitialise, retraining_config
    from enxuto.prune.rounds import NetworkSize, PruningStep, UnprunedNetwork, shares_left
    from enxuto.prune.selection import TARGETS, Selection
    from enxuto.prune.speed import latencies, relative_latency
    from enxuto.prune.tickets import Claim, SeedAccuracies, compare_with_controls

__all__ = [
    "CRITERIA",
    "MODES",
    "TARGETS",
    "Architecture",
    "Attribution",
    "ChannelGroup",
    "ChannelMap",
    "Claim",
    "Criterion",
    "FixedFilters",
    "KeptChannels",
    "NetworkSize",
    "PrunedNetwork",
    "PruningStep",
    "SeedAccuracies",
    "Selection",
    "UnprunedNetwork",
    "build_unpruned",
    "compare_with_controls",
    "deeplift",
    "latencies",
    "load_pruned",
    "reinitialise",
    "relative_latency",
    "remove",
    "remove_from_optimizer",
    "retraining_config",
    "save_pruned",
    "shares_left",
    "slice_state",
    "trace",
]

_HOMES = {
    "attribution.deeplift": ("Attribution", "deeplift"),
    "channels.map": ("ChannelMap", "FixedFilters", "ChannelGroup"),
    "channels.tracing": ("trace",),
    "removal.kept": ("Architecture", "KeptChannels"),
    "removal.optimizer": ("remove_from_optimizer",),
    "removal.rebuild": ("PrunedNetwork", "load_pruned", "save_pruned"),
    "removal.remove": ("remove", "slice_state"),
    "retrain": ("MODES", "build_unpruned", "reinitialise", "retraining_config"),
    "selection": ("TARGETS", "Selection"),
    "rounds": ("NetworkSize", "PruningStep", "UnprunedNetwork", "shares_left"),
    "criteria.scores": ("CRITERIA", "Criterion"),
    "speed": ("latencies", "relative_latency"),
    "tickets": ("Claim", "SeedAccuracies", "compare_with_controls"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"enxuto.prune.{home}"), name)
    raise AttributeError(f"module 'enxuto.prune' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
