"""`trace`: which channels of a network belong together, found by following them through the operators that run.

Beside each activation goes an integer tensor that names the channel each element belongs to (`run`). Operators that
move data move the names; others tie or bind them (`moves`, `rules`). No graph is taken from autograd, so option-A
shortcuts, grouped convolutions with shuffles, chunks, reused modules and frozen parameters come out right.

A module's code may hold sizes of its own (a reshape to 400, a split at 16). There a channel is removed for trial, also
from a copy without dead rectifiers. A channel whose removal fails must stay.

Left out: networks whose path depends on the data (the path of the example is followed), inputs that are no tensors.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from enxuto.errors import ModelError, UsageError
from enxuto.prune.channels.balance import balanced_sets
from enxuto.prune.channels.map import (
    AxisBinding,
    BalancedParts,
    ChannelGroup,
    ChannelMap,
    FixedFilters,
    ResizedModule,
)
from enxuto.prune.channels.names import NameBook, Site
from enxuto.prune.channels.run import follow
from enxuto.prune.removal.remove import CONVOLUTIONS, NORMS, remove

__all__ = ["trace"]

_Key = TypeVar("_Key", bound=Hashable)


def trace(network: nn.Module, example: Tensor | Sequence[Tensor]) -> ChannelMap:
    """Find the channels of `network` by one run on `example`, (batch, channels, height, width) or several inputs.

    The network is left as it was. Raises `ModelError` where it does not run on the example, or runs an operator that
    channels cannot be followed through; the message names the operator and the module.
    """
    inputs = [example] if isinstance(example, Tensor) else list(example)
    book = follow(network, inputs)
    _fix_functional_depthwise(network, book)
    shapes = tuple(tuple(item.shape[1:]) for item in inputs)
    aliases = _aliases(network)
    channels = _build_map(book, shapes, aliases)
    failed = _failing_sites(network, channels, book)
    for site in failed:
        reason = f"sizes written in the code of {site.module_path} fix it ({site.operator})"
        book.fix(torch.tensor(sorted(site.names)), reason)
    return _build_map(book, shapes, aliases) if failed else channels


def _failing_sites(network: nn.Module, channels: ChannelMap, book: NameBook) -> list[Site]:
    """The sites that do not follow when a group is removed: all at once first, then each alone."""
    if not book.sites:
        return []
    networks = network, _without_dead_units(network)
    chosen: dict[int, list[Site]] = defaultdict(list)
    for site in dict.fromkeys(book.sites):
        atoms = set(book.roots(torch.tensor(sorted(site.names))).tolist())
        numbers = [channels.group_of[atom] for atom in sorted(atoms) if atom in channels.group_of]
        if numbers:  # a group that tries no other site, if any is left
            chosen[next((number for number in numbers if number not in chosen), numbers[0])].append(site)
    if not chosen or all(_is_removable(one, channels, chosen) for one in networks):
        return []
    failing = []
    for number, sites in chosen.items():
        if not all(_is_removable(one, channels, [number]) for one in networks):
            failing += sites
    return failing


def _without_dead_units(network: nn.Module) -> nn.Module:
    """A copy without dead rectifiers: random positive parameters, norms that change little.

    Behind rectifiers that the network's own weights never open, a channel in a wrong position goes unnoticed. (Where
    these random weights saturate something, the network's own notice it: both are tried.)
    """
    copied = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(0)
    for part in copied.modules():
        if isinstance(part, NORMS):
            part.reset_running_stats()
    with torch.no_grad():
        for weight in copied.parameters():
            if weight.is_floating_point() and weight.numel():
                drawn = 0.5 + torch.rand(weight.shape, generator=generator)
                weight.copy_(drawn / (weight[0].numel() if weight.dim() > 1 else 1))
    return copied


def _is_removable(network: nn.Module, channels: ChannelMap, numbers: Iterable[int]) -> bool:
    """Whether the network runs and is right without these groups; several at once may leave nothing of a layer."""
    try:
        remove(network, channels, channels.without_groups(numbers))
    except (ModelError, UsageError):
        return False
    return True


def _fix_functional_depthwise(network: nn.Module, book: NameBook) -> None:
    """A depthwise convolution that is no module has its number of groups in its code."""
    for weight in book.depthwise:
        path, _, attribute = weight.rpartition(".")
        if attribute != "weight" or not isinstance(network.get_submodule(path), CONVOLUTIONS):
            book.fix(
                book.bindings[weight, 0], f"the number of groups is written in the code that uses {weight}"
            )


def _aliases(network: nn.Module) -> dict[str, str]:
    """Further names of shared parameters and buffers → the first."""
    first: dict[int, str] = {}
    found: dict[str, str] = {}
    for name, tensor in [
        *network.named_parameters(remove_duplicate=False),
        *network.named_buffers(remove_duplicate=False),
    ]:
        if first.setdefault(id(tensor), name) != name:
            found[name] = first[id(tensor)]
    return found


def _build_map(book: NameBook, shapes: tuple[tuple[int, ...], ...], aliases: dict[str, str]) -> ChannelMap:
    """Names settled into atoms, groups and what must stay."""
    bindings = [AxisBinding(name, dim, _atoms(book, names)) for (name, dim), names in book.bindings.items()]
    bindings += [
        AxisBinding(name, 1, _atoms(book, names), groups) for name, (groups, names) in book.grouped.items()
    ]
    rows = {_layer_name(name): position for name, position in book.producers.items()}
    layers = {layer: _atoms(book, book.bindings[position]) for layer, position in rows.items()}
    balances = [
        BalancedParts(item.module_path, tuple(_atoms(book, torch.tensor(part)) for part in item.parts))
        for item in dict.fromkeys(book.balances)
    ]
    resized = [
        ResizedModule(path, _atoms(book, before), _atoms(book, after))
        for path, (before, after) in book.pads.items()
    ]
    resized += [
        ResizedModule(path, inputs=_atoms(book, names), order=order)
        for path, (names, order) in book.shuffles.items()
    ]
    stay = book.fixed_roots()
    rigid = frozenset(stay)
    groups = _groups(layers, bindings, balances, stay)
    return ChannelMap(
        layers=layers,
        rows=rows,
        bindings=tuple(bindings),
        balances=tuple(balances),
        resized=tuple(resized),
        depthwise=frozenset(book.depthwise),
        aliases=aliases,
        rigid=rigid,
        groups=groups,
        fixed=_fixed_filters(book, layers, rows, stay),
        input_shapes=shapes,
    )


def _atoms(book: NameBook, names: Tensor) -> tuple[int, ...]:
    return tuple(book.roots(names).tolist())


def _layer_name(weight: str) -> str:
    """The module that a weight belongs to; a weight by another name is a layer of its own."""
    return weight.removesuffix(".weight")


def _groups(
    layers: dict[str, tuple[int, ...]],
    bindings: list[AxisBinding],
    balances: list[BalancedParts],
    stay: dict[int, str],
) -> tuple[ChannelGroup, ...]:
    """The smallest removable sets, in the order of the layers. Atoms that are in no such set are added to `stay`."""
    makers: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for layer, atoms in layers.items():
        for position, atom in enumerate(atoms):
            makers[atom][layer].append(position)
    touched: dict[int, list[tuple[str, int, int]]] = defaultdict(list)
    for bound in bindings:
        for position, atom in enumerate(bound.atoms):
            touched[atom].append((bound.tensor, bound.dim, position))
    # What no filter makes (padded zeros) goes with its partners or not at all.
    for part in (part for item in balances for parts in item.parts for part in parts):
        if part not in makers:
            stay.setdefault(part, "no filter makes it")
    sets, unbalanced = balanced_sets(
        (atom for atom in makers if atom not in stay), [item.parts for item in balances]
    )
    for atom, number in unbalanced.items():
        stay[atom] = f"the parts of {balances[number].module} must lose equally many channels"
    groups: list[ChannelGroup] = []
    for atoms in sets:
        filters = _merge_positions(
            (layer, position) for atom in atoms for layer in makers[atom] for position in makers[atom][layer]
        )
        emptied = next(
            (layer for layer, chosen in filters.items() if len(chosen) == len(layers[layer])), None
        )
        if emptied is not None:
            stay.update(dict.fromkeys(atoms, f"nothing would be left of {emptied}"))
            continue
        slices = _merge_positions(
            ((name, dim), position) for atom in atoms for name, dim, position in touched[atom]
        )
        groups.append(
            ChannelGroup(
                len(groups), atoms, filters, tuple((*key, positions) for key, positions in slices.items())
            )
        )
    return tuple(groups)


def _merge_positions(pairs: Iterable[tuple[_Key, int]]) -> dict[_Key, tuple[int, ...]]:
    """Collect the positions of each key, ascending."""
    found: dict[_Key, list[int]] = defaultdict(list)
    for key, position in pairs:
        found[key].append(position)
    return {key: tuple(sorted(positions)) for key, positions in found.items()}


def _fixed_filters(
    book: NameBook, layers: dict[str, tuple[int, ...]], rows: dict[str, tuple[str, int]], stay: dict[int, str]
) -> tuple[FixedFilters, ...]:
    """For each layer the filters that must stay, by their reasons."""
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for layer, atoms in layers.items():
        names = book.bindings[rows[layer]].tolist()
        for position, (atom, name) in enumerate(zip(atoms, names, strict=True)):
            if atom in stay:
                reason = book.reason(name) or stay[atom]
                found[layer, reason].append(position)
    return tuple(
        FixedFilters(layer, tuple(positions), reason) for (layer, reason), positions in found.items()
    )
