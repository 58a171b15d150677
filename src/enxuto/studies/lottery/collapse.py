"""A round that leaves a layer without any filter: nothing passes there any more, and the arm ends with that result.

Only a study with a floor of 0 comes to this. Such a network cannot be built or trained; its accuracy is that of the
unpruned network in which all that was removed is zero. Later rounds of the arm, and its controls, repeat the result.

Source: G. Magalhães et al., chapter 5, where networks pruned by magnitude collapse before those pruned by DeepLIFT.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from enxuto.metrics import wilson_interval
from enxuto.prune.removal.kept import KeptChannels
from enxuto.prune.removal.remove import zero_state
from enxuto.prune.rounds import LayerCollapseError, UnprunedNetwork
from enxuto.studies.images import Images
from enxuto.study.point import Task
from enxuto.train.validation import score

__all__ = ["earlier_collapse", "measure_collapsed"]

_SIZES = ("filters", "parameters", "macs")


def earlier_collapse(task: Task) -> dict[str, Any] | None:
    """The values of a round before, or of the arm that this is a control of, where a layer was empty already."""
    found = (one.values for one in reversed(task.predecessors) if one.values.get("collapsed"))
    return next((dict(values) for values in found), None)


def measure_collapsed(
    unpruned: UnprunedNetwork, whole: Mapping[str, Tensor], kept: KeptChannels, collapse: LayerCollapseError,
    images: Images,
) -> dict[str, Any]:  # fmt: skip
    """What `round.prune_round` records of other networks, as far as there is something to measure.

    whole: the state of the unpruned network that the round began with, and kept its plan.
    """
    channels, network = unpruned.channels, unpruned.network
    gone = unpruned.atoms_of(collapse.groups)
    network.load_state_dict(zero_state(whole, channels, gone))
    found = score(network.eval(), images.test)
    removed = {
        layer: [place for place, atom in enumerate(atoms) if atom in gone]
        for layer, atoms in channels.layers.items()
    }
    measures = {size: unpruned.target_measure(size, None) for size in _SIZES}  # type: ignore[arg-type]
    return {
        "collapsed": list(collapse.layers),
        "top1": found.top1,
        "top1_interval": list(wilson_interval(round(found.top1 * found.samples), found.samples)),
        "top1_before_retraining": found.top1,
        "loss": found.loss,
        "samples": found.samples,
        "size": {size: round(measure(collapse.groups)) for size, measure in measures.items()},
        "left": {size: measure(collapse.groups) / measure(frozenset()) for size, measure in measures.items()},
        "widths": {layer: channels.widths[layer] - len(removed[layer]) for layer in unpruned.hidden_layers},
        "removed": {layer: places for layer, places in removed.items() if places},
        "removed_now": {
            layer: now
            for layer, places in removed.items()
            if (now := sorted(set(places).intersection(kept.layers[layer])))
        },
        "losses": [],
        "training_seconds": 0.0,
        "file_bytes": 0,
        "asked": collapse.requested,
        "reached": collapse.achieved,
    }
