"""`Refitter`: a round of pruning without training, on images whose labels are not looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from enxuto.prune.refit.moments import ReaderMoments, collect_moments
from enxuto.prune.refit.plan import Measure, choose_by_cost, refit
from enxuto.prune.refit.readers import Reader, find_readers
from enxuto.prune.removal.kept import KeptChannels
from enxuto.prune.rounds import PruningStep, UnprunedNetwork

__all__ = ["COST", "Refitter"]

COST = "cost"
"""The criterion of the loss that is left after refitting, beside those of `criteria.scores.CRITERIA`."""


@dataclass(frozen=True)
class Refitter:
    """What is known of a network before a round: its weights, the layers that read channels, and their moments."""

    unpruned: UnprunedNetwork
    state: Mapping[str, Tensor]
    readers: tuple[Reader, ...]
    moments: Mapping[str, ReaderMoments]

    @classmethod
    def of(
        cls, unpruned: UnprunedNetwork, state: Mapping[str, Tensor], batches: Iterable[Tensor], seed: int = 0
    ) -> Refitter:
        """Run the network with an unpruned `state` (zeros where channels went before) on normalised images."""
        network = _with_state(unpruned, state)
        readers = find_readers(network, unpruned.channels)
        held = {name: value.clone() for name, value in state.items()}
        return cls(unpruned, held, readers, collect_moments(network, readers, batches, seed))

    def choose(self, kept: KeptChannels, share_left: float, measure: Measure, floor: int = 1) -> PruningStep:
        """The plan that leaves a share of the unpruned measure and costs least after refitting.

        kept: the plan so far.
        """
        network, channels = _with_state(self.unpruned, self.state), self.unpruned.channels
        gone = self.unpruned.removed_groups(kept)
        chosen = choose_by_cost(
            network, channels, self.readers, self.moments, measure, share_left, floor=floor, gone=gone
        )
        achieved = measure(chosen) / measure(frozenset())
        return PruningStep(channels.without_groups(chosen), share_left, achieved)

    def apply(self, smaller: nn.Module, kept: KeptChannels) -> None:
        """Refit what `remove` made of the network by the plan `kept`, in place."""
        network = _with_state(self.unpruned, self.state)
        refit(network, smaller, self.unpruned.channels, kept, self.readers, self.moments)


def _with_state(unpruned: UnprunedNetwork, state: Mapping[str, Tensor]) -> nn.Module:
    unpruned.network.load_state_dict(dict(state))
    return unpruned.network
