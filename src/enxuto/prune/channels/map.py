"""`ChannelMap`: what belongs to each channel of a network, what goes together, what must stay and why.

Atoms are channels that cannot be separated (they meet in a sum, or are the same channel before and after a depthwise
convolution). A `ChannelGroup` is the smallest set of atoms that can be removed: one atom, or several where a grouped
convolution or a chunk must keep its parts equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from enxuto.errors import UsageError, did_you_mean
from enxuto.prune.removal.kept import KeptChannels

__all__ = ["AxisBinding", "BalancedParts", "ChannelGroup", "ChannelMap", "FixedFilters", "ResizedModule"]


@dataclass(frozen=True)
class AxisBinding:
    """A parameter or buffer along one axis: the atom at each position.

    groups: 1, or for the input axis of a grouped convolution their number; the atoms are then those of all the
    input channels, each group's one after another.
    """

    tensor: str
    dim: int
    atoms: tuple[int, ...]
    groups: int = 1


@dataclass(frozen=True)
class ResizedModule:
    """A module without parameters that follows the channels: zeros before and after, or an order of its inputs."""

    module: str
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    inputs: tuple[int, ...] = ()
    order: tuple[int, ...] = ()


@dataclass(frozen=True)
class BalancedParts:
    """Parts of a module's channels that must lose equally many atoms."""

    module: str
    parts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that are removed together.

    filters: layer → the positions of its filters, in the traced network. slices: (parameter or buffer, axis, positions)
    of everything that goes with them.
    """

    number: int
    atoms: tuple[int, ...]
    filters: Mapping[str, tuple[int, ...]] = field(hash=False)
    slices: tuple[tuple[str, int, tuple[int, ...]], ...]


@dataclass(frozen=True)
class FixedFilters:
    """Filters of a layer that cannot be removed, and why."""

    layer: str
    filters: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class ChannelMap:
    """The channels of one network, as `enxuto.prune.trace` finds them.

    layers: for each layer with filters (convolution, linear) the atom of each. rows: which axis of which weight
    those filters are. depthwise: weights of depthwise convolutions, whose number of groups follows. aliases: further
    names of shared parameters → the name that the bounds use. rigid: atoms that no plan can remove; those of `fixed`
    beyond them only have no small enough group. input_shapes: of the example, without batch.
    """

    layers: Mapping[str, tuple[int, ...]] = field(hash=False)
    rows: Mapping[str, tuple[str, int]] = field(hash=False)
    bindings: tuple[AxisBinding, ...]
    balances: tuple[BalancedParts, ...]
    resized: tuple[ResizedModule, ...]
    depthwise: frozenset[str]
    aliases: Mapping[str, str] = field(hash=False)
    rigid: frozenset[int]
    groups: tuple[ChannelGroup, ...]
    fixed: tuple[FixedFilters, ...]
    input_shapes: tuple[tuple[int, ...], ...]

    @property
    def widths(self) -> dict[str, int]:
        """Layer → its number of filters."""
        return {layer: len(atoms) for layer, atoms in self.layers.items()}

    @cached_property
    def group_of(self) -> dict[int, int]:
        """Atom → number of its group; atoms that must stay are missing."""
        return {atom: group.number for group in self.groups for atom in group.atoms}

    def keep_all(self) -> KeptChannels:
        """The plan that removes nothing."""
        return KeptChannels({layer: tuple(range(count)) for layer, count in self.widths.items()}, self.widths)

    def without_groups(self, groups: Iterable[int]) -> KeptChannels:
        """The plan that removes these groups, by their numbers. Raises `UsageError` for a number there is not."""
        chosen = set(groups)
        unknown = sorted(chosen - {group.number for group in self.groups})
        if unknown:
            raise UsageError(
                f"there is no group {unknown[0]}; they go from 0 to {len(self.groups) - 1}", code="E021"
            )
        gone = {atom for group in self.groups if group.number in chosen for atom in group.atoms}
        kept = {
            layer: tuple(position for position, atom in enumerate(atoms) if atom not in gone)
            for layer, atoms in self.layers.items()
        }
        return KeptChannels(kept, self.widths)

    def without_filters(self, filters: Mapping[str, Iterable[int]]) -> KeptChannels:
        """The plan that removes these filters (layer → positions) and all that must go with them.

        Raises `UsageError` where a layer or position does not exist, or a filter must stay, with the reason.
        """
        numbers: set[int] = set()
        for layer, positions in filters.items():
            atoms = self.layers.get(layer)
            if atoms is None:
                hint = did_you_mean(layer, self.layers)
                raise UsageError(
                    f"there is no layer {layer!r} with filters{hint}; ChannelMap.layers lists them",
                    code="E021",
                )
            for position in positions:
                if not 0 <= position < len(atoms):
                    raise UsageError(
                        f"{layer} has no filter {position}; they go from 0 to {len(atoms) - 1}", code="E021"
                    )
                number = self.group_of.get(atoms[position])
                if number is None:
                    raise UsageError(
                        f"filter {position} of {layer} must stay: {self.reason(layer, position)}", code="E036"
                    )
                numbers.add(number)
        return self.without_groups(numbers)

    def reason(self, layer: str, position: int) -> str | None:
        """Why a filter must stay; None where it need not."""
        return next(
            (item.reason for item in self.fixed if item.layer == layer and position in item.filters), None
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe report: groups with what they touch, and what must stay."""
        return {
            "layers": self.widths,
            "groups": [
                {
                    "number": group.number,
                    "filters": {layer: list(positions) for layer, positions in group.filters.items()},
                    "slices": [
                        {"tensor": name, "dim": dim, "places": list(positions)}
                        for name, dim, positions in group.slices
                    ],
                }
                for group in self.groups
            ],
            "fixed": [
                {"layer": item.layer, "filters": list(item.filters), "reason": item.reason}
                for item in self.fixed
            ],
        }

    def report(self) -> str:
        """Text for people: a line a layer with how many filters can go, then what must stay and why."""
        wide = max((len(layer) for layer in self.layers), default=0)
        lines = []
        for layer, atoms in self.layers.items():
            numbers = {self.group_of[atom] for atom in atoms if atom in self.group_of}
            shared = sorted(
                {other for number in numbers for other in self.groups[number].filters if other != layer}
            )
            free = sum(atom in self.group_of for atom in atoms)
            line = f"{layer:<{wide}}  {free:>5} of {len(atoms):>5} can go in {len(numbers)} groups"
            lines.append(line + (f", with {_name_some(shared)}" if shared else ""))
        lines += [
            f"{item.layer}: {len(item.filters)} filters must stay: {item.reason}" for item in self.fixed
        ]
        return "\n".join(lines)


def _name_some(names: list[str]) -> str:
    """Up to three names, then how many more."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
