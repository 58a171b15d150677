"""`Refitter`: a round of pruning without training, on images whose labels are not looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from enxuto.progress import Progress, ProgressCounter
from enxuto.prune.refit.factors import measured_factors
from enxuto.prune.refit.in_order import refit_in_order
from enxuto.prune.refit.moments import ReaderMoments, collect_moments
from enxuto.prune.refit.plan import Measure, choose_by_cost
from enxuto.prune.refit.readers import Reader, find_readers
from enxuto.prune.refit.solve import best_ridge, column_groups, matrix_of
from enxuto.prune.removal.kept import KeptChannels
from enxuto.prune.rounds import PruningStep, UnprunedNetwork

__all__ = ["COST", "Refitter"]

COST = "cost"
"""The criterion of the loss that is left after refitting, beside those of `criteria.scores.CRITERIA`."""

_BATCH = 64
_MEASURED_SHARES = (0.65, 0.8, 0.9, 0.95)  # of what is left; the first that tells
_ROUNDING = 1e-9  # of a share, in float64


@dataclass(frozen=True)
class Refitter:
    """What is known of a network before a round: its weights, and images, (N, …), as it takes them.

    progress: told how far the work has come.
    """

    unpruned: UnprunedNetwork
    state: Mapping[str, Tensor]
    images: Tensor = field(hash=False)
    seed: int = 0
    progress: Progress | None = field(default=None, hash=False, compare=False)
    _factors: dict[frozenset[int], Mapping[str, float]] = field(
        default_factory=dict, hash=False, compare=False
    )

    @classmethod
    def of(
        cls,
        unpruned: UnprunedNetwork,
        state: Mapping[str, Tensor],
        batches: Iterable[Tensor],
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Refitter:
        """Keep an unpruned `state` (zeros where channels went before) and normalised images."""
        held = {name: value.clone() for name, value in state.items()}
        return cls(unpruned, held, torch.cat(list(batches)), seed, progress)

    @cached_property
    def readers(self) -> tuple[Reader, ...]:
        """The layers that read channels."""
        return find_readers(self._network(), self.unpruned.channels)

    @cached_property
    def moments(self) -> dict[str, ReaderMoments]:
        """What the readers read, and how much the answers depend on what they write."""
        network = self._network()
        seen_images = self._counter("watching filters", len(self.images))
        found = collect_moments(
            network, self.readers, torch.split(self.images, _BATCH), self.seed, on_images=seen_images.add
        )
        work = {reader.layer: len(reader.columns) ** 3 for reader in self.readers if reader.layer in found}
        done = self._counter("comparing filters", sum(work.values()))
        for reader in self.readers:
            if (seen := found.get(reader.layer)) is not None:
                matrix, groups = matrix_of(network.get_submodule(reader.layer)), column_groups(reader.columns)
                found[reader.layer] = replace(seen, ridge=best_ridge(matrix, seen, groups))
                done.add(work[reader.layer])
        return found

    def _counter(self, stage: str, total: int) -> ProgressCounter:
        return ProgressCounter(total, None if self.progress is None else partial(self.progress, stage))

    def choose(
        self, kept: KeptChannels, share_left: float, measure: Measure, floor: int = 1, multiple: int = 1
    ) -> PruningStep:
        """The plan that leaves a share of the unpruned measure and costs least after refitting.

        kept: the plan so far. floor, multiple: of the filters that a layer keeps.
        """
        gone = self.unpruned.removed_groups(kept)
        if gone not in self._factors:
            now = measure(gone) / measure(frozenset())
            trials = (self._plan(share * now, measure, floor, 1, gone, {}) for share in _MEASURED_SHARES)
            self._factors[gone] = measured_factors(
                self._network(), self.unpruned.channels, self.readers, self.moments, trials, self.images,
                self._counter("measuring filters", len(self.readers)).add,
            )  # fmt: skip
        chosen = self._plan(share_left, measure, floor, multiple, gone, self._factors[gone])
        achieved = measure(chosen) / measure(frozenset())
        exhausted = achieved > share_left * (1 + _ROUNDING)  # never more is left where more can go
        return PruningStep(self.unpruned.channels.without_groups(chosen), share_left, achieved, exhausted)

    def _plan(
        self,
        share: float,
        measure: Measure,
        floor: int,
        multiple: int,
        gone: frozenset[int],
        factors: Mapping[str, float],
    ) -> frozenset[int]:
        return choose_by_cost(
            self._network(), self.unpruned.channels, self.readers, self.moments, measure, share,
            floor=floor, gone=gone, multiple=multiple, factors=factors,
        )  # fmt: skip

    def apply(self, smaller: nn.Module, kept: KeptChannels) -> None:
        """Refit what `remove` made of the network by the plan `kept`, in place."""
        report = None if self.progress is None else partial(self.progress, "refitting")
        refit_in_order(self._network(), smaller, kept, self.images, seed=self.seed, progress=report)

    def _network(self) -> nn.Module:
        self.unpruned.network.load_state_dict(dict(self.state))
        return self.unpruned.network
