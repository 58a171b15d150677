"""Rounds of pruning: which filters go next, and the smaller network, by plans in positions of the unpruned network.

The network is traced once, unpruned, and every round's plan is made from that map. So rounds say in original positions
what they removed, and any state of the network, pruned or not, can be cut to any later plan. A round removes so much
that a share of the *unpruned* filters, parameters, MACs or latency is left: what a round misses by whole filters, the
next makes up for.

Source of the rates: G. Magalhães et al., structured lottery tickets: 20 % of what is left, round after round. Left out:
scores (`scores`), the order of removal (`ranking`) and training (`retrain`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from enxuto.errors import ModelError, UsageError
from enxuto.prune.attribution.layers import output_layers
from enxuto.prune.channels.map import ChannelMap
from enxuto.prune.channels.tracing import trace
from enxuto.prune.ranking import choose_units
from enxuto.prune.removal.kept import Architecture, KeptChannels
from enxuto.prune.removal.remove import remove, slice_state
from enxuto.prune.selection import Layers, Selection, Target
from enxuto.prune.target_network import macs_left, parameters_left
from enxuto.prune.targets import FiltersLeft, SizeMeasure
from enxuto.summary.torch_module import summarize_module

__all__ = [
    "LayerCollapseError",
    "NetworkSize",
    "PruningStep",
    "UnprunedNetwork",
    "shares_left",
]

Timer = Callable[[KeptChannels], float]
"""The latency of the network that a plan leaves, relative to the unpruned one's."""


def shares_left(amount: float, rounds: int) -> tuple[float, ...]:
    """The share that is left after each round that takes `amount` (0…1) of what there is: 0.8, 0.64, 0.512, …

    Raises `UsageError` for an amount that leaves all or nothing, or fewer than one round.
    """
    if not 0 < amount < 1 or rounds < 1:
        raise UsageError(
            f"a round takes more than 0 % and less than 100 %, in one round or more, not {amount:.4g} in {rounds}"
        )
    return tuple((1 - amount) ** count for count in range(1, rounds + 1))


@dataclass(frozen=True)
class NetworkSize:
    """filters: of all layers but the outputs. parameters: all, frozen ones too. macs: for one image."""

    filters: int
    parameters: int
    macs: int

    def shares_of(self, whole: NetworkSize) -> dict[str, float]:
        """This size divided by the other's, 0…1, for each of the three."""
        return {
            "filters": self.filters / whole.filters,
            "parameters": self.parameters / whole.parameters,
            "macs": self.macs / whole.macs,
        }


@dataclass(frozen=True)
class PruningStep:
    """What one round chose.

    kept: the plan after it. requested, achieved: shares of the unpruned target to be left, and left. exhausted: more is
    left than requested, and nothing more may go.
    """

    kept: KeptChannels
    requested: float
    achieved: float
    exhausted: bool = False


class LayerCollapseError(UsageError):
    """A round that would leave layers without a filter.

    layers: their names. groups: all that would be removed. requested, achieved: as in `PruningStep`.
    """

    def __init__(
        self, layers: Sequence[str], groups: frozenset[int], requested: float, achieved: float
    ) -> None:
        super().__init__(f"nothing would be left of {layers[0]}; keep at least one filter of each layer")
        self.layers, self.groups, self.requested, self.achieved = tuple(layers), groups, requested, achieved


@dataclass(frozen=True)
class UnprunedNetwork:
    """The network that all rounds refer to.

    network: unpruned, on the CPU; its weights mean nothing and may be overwritten. hidden_layers: layers whose filters
    are not classes. size: of the whole network.
    """

    architecture: Architecture
    network: nn.Module = field(hash=False)
    channels: ChannelMap = field(hash=False)
    hidden_layers: tuple[str, ...]
    size: NetworkSize

    @classmethod
    def from_architecture(cls, architecture: Architecture) -> UnprunedNetwork:
        """Build the network and follow its channels; raises what `trace` raises."""
        network = architecture.build().eval()
        example = torch.zeros(1, *architecture.input_shape)
        channels = trace(network, example)
        outputs = output_layers(network, example)
        hidden_layers = tuple(layer for layer in channels.layers if layer not in outputs)
        if not channels.groups:
            raise ModelError(
                f"nothing of {architecture.name} can be removed: {_fixed_reasons(channels)}", code="E036"
            )
        size = _measure_size(
            network, architecture.input_shape, sum(channels.widths[layer] for layer in hidden_layers)
        )
        return cls(architecture, network, channels, hidden_layers, size)

    def size_of(self, smaller: nn.Module, kept: KeptChannels) -> NetworkSize:
        """The size of the network that a plan leaves, counted on the network itself."""
        filters = sum(len(kept.layers[layer]) for layer in self.hidden_layers)
        return _measure_size(smaller, self.architecture.input_shape, filters)

    def prune(self, state: Mapping[str, Tensor], kept: KeptChannels, *, verify: bool = True) -> nn.Module:
        """The network of an unpruned `state`, cut to the plan, its removal verified; in evaluation mode."""
        self.network.load_state_dict(dict(state))
        return remove(self.network, self.channels, kept, verify=verify)

    def expand_state(self, state: Mapping[str, Tensor], kept: KeptChannels) -> dict[str, Tensor]:
        """The inverse of `slice_state`: a state of the unpruned network with zeros where the plan removed.

        state: of the network that `kept` leaves. Raises `UsageError` where it is of another.
        """
        positions = {
            name: torch.arange(value.numel()).reshape(value.shape)
            for name, value in self.network.state_dict().items()
        }
        found = {}
        for name, chosen in slice_state(positions, self.channels, kept).items():
            if name not in state or state[name].shape != chosen.shape:
                raise UsageError(f"{name} is not of the network that this plan leaves", code="E071")
            value = state[name].detach().cpu()
            whole = torch.zeros(positions[name].numel(), dtype=value.dtype)
            whole[chosen.reshape(-1)] = value.reshape(-1)
            found[name] = whole.reshape(positions[name].shape)
        return found

    def plan_round(
        self,
        kept: KeptChannels,
        scores: Mapping[str, np.ndarray],
        share_left: float,
        selection: Selection,
        *,
        timer: Timer | None = None,
    ) -> PruningStep:
        """Choose what goes next.

        Args:
            kept: the plan so far.
            scores: layer → a score for each filter of the network that the plan leaves. Layers without scores
                (auxiliary heads) stay.
            share_left: the share of the unpruned target to be left, 0…1, as nearly as whole filters allow.
            selection: how filters are chosen.
            timer: needed for the target `latency`.

        Raises:
            UsageError: as `choose_units` does.
            LayerCollapseError: the floor is 0, and a layer would lose all of its filters.
        """
        if selection.layers != "all":
            chosen_layers = self.layers_of(selection.layers)
            scores = {layer: values for layer, values in scores.items() if layer in chosen_layers}
        removed_groups = self.removed_groups(kept)
        groups = [
            group
            for group in self.channels.groups
            if group.number not in removed_groups and any(layer in scores for layer in group.filters)
        ]
        ranks = {
            layer: {position: rank for rank, position in enumerate(kept.layers[layer])}
            for layer in kept.layers
        }
        units = [
            _Unit(
                {
                    layer: tuple(ranks[layer][p] for p in positions)
                    for layer, positions in group.filters.items()
                }
            )
            for group in groups
        ]
        total = self.target_measure(selection.target, timer, selection.layers)

        def after(chosen: Iterable[int]) -> frozenset[int]:
            return removed_groups | {groups[number].number for number in chosen}

        now, whole = total(removed_groups), total(frozenset())
        choice = choose_units(
            units, scores, max(0.0, 1 - share_left * whole / now), lambda chosen: total(after(chosen)),
            scope=selection.scope, normalise=selection.normalise, floor=selection.floor, multiple=selection.multiple,
            at_most=selection.at_most,
        )  # fmt: skip
        removed = after(choice.removed)
        if selection.floor < 1:
            self._refuse_collapse(removed, share_left, total(removed) / whole)
        kept = self.channels.without_groups(removed)
        return PruningStep(kept, share_left, total(removed) / whole, choice.exhausted)

    def _refuse_collapse(self, removed: frozenset[int], requested: float, achieved: float) -> None:
        gone = self.atoms_of(removed)
        empty = [layer for layer, atoms in self.channels.layers.items() if gone.issuperset(atoms)]
        if empty:
            raise LayerCollapseError(empty, removed, requested, achieved)

    def atoms_of(self, groups: frozenset[int]) -> frozenset[int]:
        """The channels of groups, by their numbers in the channel map."""
        return frozenset(
            atom for group in self.channels.groups if group.number in groups for atom in group.atoms
        )

    def plan_alike(self, kept: KeptChannels, like: KeptChannels, seed: int) -> KeptChannels:
        """Remove filters by chance until each layer has as many left as in another plan: a control of that plan.

        Args:
            kept: the plan so far; its layers have at least as many filters left.
            like: the plan whose numbers are to be left.
            seed: of the draw.

        Raises:
            UsageError: a layer has fewer filters left than the other plan.
        """
        families: dict[tuple[tuple[str, int], ...], list[int]] = {}
        for group in self.channels.groups:
            alike = tuple(sorted((layer, len(positions)) for layer, positions in group.filters.items()))
            families.setdefault(alike, []).append(group.number)
        removed, wanted = set(self.removed_groups(kept)), self.removed_groups(like)
        generator = np.random.default_rng(seed)
        for alike, numbers in families.items():
            there = [number for number in numbers if number not in removed]
            missing = len(wanted.intersection(numbers)) - (len(numbers) - len(there))
            if missing < 0:
                raise UsageError(
                    f"{', '.join(layer for layer, _ in alike)}: fewer filters are left than are to be",
                    code="E023",
                )
            removed.update(generator.choice(there, missing, replace=False).tolist())
        return self.channels.without_groups(frozenset(removed))

    def removed_groups(self, kept: KeptChannels) -> frozenset[int]:
        """Numbers of the groups that a plan removed."""
        there = {layer: set(positions) for layer, positions in kept.layers.items()}
        return frozenset(
            group.number
            for group in self.channels.groups
            if any(positions[0] not in there[layer] for layer, positions in group.filters.items())
        )

    def layers_of(self, layers: Layers) -> tuple[str, ...]:
        """Names of the hidden layers that a selection is about."""
        if layers == "all":
            return self.hidden_layers
        weights = {layer: self.network.get_submodule(layer).weight for layer in self.hidden_layers}
        return tuple(
            layer for layer, weight in weights.items() if isinstance(weight, Tensor) and weight.dim() > 2
        )

    def target_measure(
        self, target: Target, timer: Timer | None, layers: Layers = "all"
    ) -> Callable[[frozenset[int]], float]:
        """From numbers of removed groups to what is left of the target; filters are those of the layers."""
        groups = self.channels.groups
        match target:
            case "filters":
                widths = {layer: np.empty(self.channels.widths[layer]) for layer in self.layers_of(layers)}
                filters = FiltersLeft(groups, widths)
                return lambda removed_groups: filters(sorted(removed_groups))
            case "parameters":
                trained = [name for name, value in self.network.named_parameters() if value.requires_grad]
                size = replace(parameters_left(groups, self.network), factors=dict.fromkeys(trained, 1.0))
                return SizeMeasure(size)
            case "macs":
                image = torch.zeros(1, *self.architecture.input_shape)
                return SizeMeasure(macs_left(groups, self.network, image))
            case "latency":
                if timer is None:
                    raise UsageError("the target latency needs a timer that measures it", code="E023")
                known: dict[frozenset[int], float] = {frozenset(): 1.0}

                def measure_latency(removed_groups: frozenset[int]) -> float:
                    # Asked twice, a measurement differs; the choice must not.
                    if removed_groups not in known:
                        known[removed_groups] = timer(self.channels.without_groups(removed_groups))
                    return known[removed_groups]

                return measure_latency


@dataclass(frozen=True)
class _Unit:
    """A group's filters by their positions in the network as it is now."""

    filters: Mapping[str, tuple[int, ...]]


def _measure_size(network: nn.Module, shape: tuple[int, ...], filters: int) -> NetworkSize:
    parameters = sum(value.numel() for value in network.parameters())
    return NetworkSize(filters, parameters, summarize_module(network, shape).macs)


def _fixed_reasons(channels: ChannelMap) -> str:
    return "; ".join(dict.fromkeys(item.reason for item in channels.fixed)) or "it has no hidden layers"
