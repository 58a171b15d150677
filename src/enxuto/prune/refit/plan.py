"""Prune without training: choose groups of filters by what they cost after refitting.

Groups go where they cost least per multiplication, in several steps; after each, the matrices are refitted and the
costs counted again, so that of two channels that can stand for one another only one goes. All of it works on moments:
the network runs once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from enxuto.prune.channels.map import ChannelMap
from enxuto.prune.ranking import round_to_multiple
from enxuto.prune.refit.moments import ReaderMoments
from enxuto.prune.refit.readers import Reader
from enxuto.prune.refit.solve import column_costs, matrix_of, refit_matrix
from enxuto.prune.refit.unread import with_unread
from enxuto.prune.targets import SizeMeasure

__all__ = ["Measure", "choose_by_cost"]

_STEPS = 5


Measure = Callable[[frozenset[int]], float]
"""From numbers of removed groups to what is left."""


def choose_by_cost(
    network: nn.Module,
    channels: ChannelMap,
    readers: Sequence[Reader],
    moments: Mapping[str, ReaderMoments],
    measure: Measure,
    share_left: float,
    *,
    floor: int = 1,
    gone: frozenset[int] = frozenset(),
    multiple: int = 1,
    factors: Mapping[str, float] | None = None,
) -> frozenset[int]:
    """The numbers of the groups to remove, so that about `share_left` of the measure is left.

    Args:
        network: whose channels `channels` has.
        channels: its groups.
        readers: its layers that read them.
        moments: by layer.
        measure: what is left of the MACs, say.
        share_left: 0…1, of the measure of the unpruned network.
        floor: filters that each layer keeps at least.
        gone: groups removed before.
        multiple: filters that each layer keeps are a multiple of this, as far as they were.
        factors: by layer, what its costs are multiplied by (`measured_factors`); where a layer is missing, 1.
    """
    earlier, order = gone, list[int]()
    whole, start = measure(frozenset()), measure(gone)
    matrices = {reader.layer: matrix_of(network.get_submodule(reader.layer)) for reader in readers}
    for step in range(1, _STEPS + 1):
        wanted = start * (share_left * whole / start) ** (step / _STEPS)
        costs = with_unread(
            network, channels, _atom_costs(channels, readers, moments, matrices, gone, factors or {}), gone
        )
        saved = _savings(channels, measure, gone)
        prices = {
            group.number: sum(costs.get(atom, 0.0) for atom in group.atoms) / max(1.0, saved[group.number])
            for group in channels.groups
            if group.number not in gone
        }
        last = step == _STEPS
        order += _removal_order(channels, prices, gone, floor)
        count = _count(
            lambda removed: measure(earlier | removed), wanted, channels, order, multiple if last else 1
        )
        gone = earlier | _first(channels, order, count, multiple if last else 1)
        order = order[:count]
    return gone


def _first(channels: ChannelMap, order: Sequence[int], count: int, multiple: int) -> frozenset[int]:
    """The first groups of an order, without those that would leave no multiple."""
    return frozenset(round_to_multiple(channels.groups, order, count, multiple))


def _count(measure: Measure, wanted: float, channels: ChannelMap, order: Sequence[int], multiple: int) -> int:
    """How many groups of an order must go until the measure is as wanted."""
    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        if measure(_first(channels, order, middle, multiple)) <= wanted:
            high = middle
        else:
            low = middle + 1
    return low


def _savings(channels: ChannelMap, measure: Measure, gone: frozenset[int]) -> Mapping[int, float]:
    """What each group that is left would take away of the measure."""
    if isinstance(measure, SizeMeasure):
        return measure.savings(gone)
    now = measure(gone)
    numbers = (group.number for group in channels.groups)
    return {number: now - measure(gone | {number}) for number in numbers if number not in gone}


def _removal_order(
    channels: ChannelMap, prices: Mapping[int, float], gone: frozenset[int], floor: int
) -> list[int]:
    """The groups that may still go, the cheapest first."""
    left = {
        layer: sum(channels.group_of.get(atom) not in gone for atom in atoms)
        for layer, atoms in channels.layers.items()
    }
    order: list[int] = []
    for number in sorted(prices, key=lambda one: (prices[one], one)):
        filters = channels.groups[number].filters
        if all(left[layer] - len(positions) >= floor for layer, positions in filters.items()):
            order.append(number)
            for layer, positions in filters.items():
                left[layer] -= len(positions)
    return order


def _atom_costs(
    channels: ChannelMap,
    readers: Sequence[Reader],
    moments: Mapping[str, ReaderMoments],
    matrices: Mapping[str, Tensor],
    gone: Iterable[int],
    factors: Mapping[str, float],
) -> dict[int, float]:
    """Atom → what losing it costs all that read it, beside what is gone already."""
    removed = frozenset(atom for number in gone for atom in channels.groups[number].atoms)
    costs: dict[int, float] = {}
    for reader in readers:
        if reader.layer not in moments:
            continue
        matrix, seen = matrices[reader.layer], moments[reader.layer]
        stays = reader.kept(removed)
        atoms = torch.from_numpy(reader.columns)[stays]
        if matrix.shape[1] > len(stays):
            stays = torch.cat((stays, torch.tensor([True])))
        size = matrix.shape[1]
        inputs = seen.inputs[:, :size, :size][:, stays][:, :, stays]
        known = replace(seen, inputs=inputs)
        now = matrix if bool(stays.all()) else refit_matrix(matrix, seen, stays, seen.ridge)
        own = [atom for atom in sorted(set(atoms.tolist())) if atom in channels.group_of]
        factor = factors.get(reader.layer, 1.0)
        by_size: dict[int, list[int]] = {}
        places = {atom: torch.nonzero(atoms == atom).flatten() for atom in own}
        for atom in own:
            by_size.setdefault(len(places[atom]), []).append(atom)
        for members in by_size.values():
            found = column_costs(now, known, torch.stack([places[atom] for atom in members]))
            for atom, cost in zip(members, found.tolist(), strict=True):
                costs[atom] = costs.get(atom, 0.0) + factor * max(0.0, cost)
    return costs
