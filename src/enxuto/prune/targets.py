"""What a choice of filters leaves: filters, parameters, multiply-accumulates. Measures for `ranking.choose`.

A parameter's size is the product of what is left of its axes, so that what two neighbouring layers lose together is
counted once, exactly. MACs are a weight's size times the positions where it is used. A measured latency is any function
of the caller's that prunes, times, and returns seconds.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

__all__ = ["FiltersLeft", "SizeLeft", "SizeMeasure", "SlicedUnit"]


class SlicedUnit(Protocol):
    """A unit that also says which slices of parameters and buffers go with it."""

    @property
    def filters(self) -> Mapping[str, tuple[int, ...]]:
        """Filters of each layer that the unit holds."""

    @property
    def slices(self) -> tuple[tuple[str, int, tuple[int, ...]], ...]:
        """(parameter or buffer, axis, positions along it) of everything that goes with them."""


@dataclass(frozen=True)
class FiltersLeft:
    """Filters left in the layers that have scores, those in no unit too."""

    units: Sequence[SlicedUnit]
    scores: Mapping[str, np.ndarray]

    def __call__(self, removed: Sequence[int]) -> float:
        """Count them."""
        gone = sum(
            len(positions)
            for number in removed
            for layer, positions in self.units[number].filters.items()
            if layer in self.scores
        )
        return float(sum(map(len, self.scores.values())) - gone)


_Positions = dict[tuple[str, int], set[int]]
"""(parameter, axis) → positions along it."""


@dataclass(frozen=True)
class SizeLeft:
    """Σ factor × size of each parameter: with factors 1 the parameters, with the positions of its use the MACs.

    shapes: parameter → its shape before. factors: parameter → its factor; others do not count. groups: parameter →
    the number of groups of a grouped convolution. Its second axis holds the channels of one group, while positions
    along it count those of all groups; each group loses its part.
    """

    units: Sequence[SlicedUnit]
    shapes: Mapping[str, tuple[int, ...]]
    factors: Mapping[str, float]
    groups: Mapping[str, int] = field(default_factory=dict)

    def __call__(self, removed: Sequence[int]) -> float:
        """Add up what is left."""
        gone = self._gone(removed)
        return sum(self._left(name, gone) for name in self.factors)

    def savings(self, removed: Sequence[int]) -> dict[int, float]:
        """What each further unit alone takes away, beside what is removed."""
        gone = self._gone(removed)
        left = {name: self._left(name, gone) for name in self.factors}
        found = {}
        for number in sorted(set(range(len(self.units))) - set(removed)):
            own: _Positions = {}
            for tensor, axis, positions in self.units[number].slices:
                if tensor in self.factors:
                    own[tensor, axis] = own.get((tensor, axis), gone.get((tensor, axis), set())) | set(
                        positions
                    )
            found[number] = sum(
                left[name] - self._left(name, ChainMap(own, gone)) for name in {key[0] for key in own}
            )
        return found

    def _gone(self, removed: Sequence[int]) -> _Positions:
        gone: _Positions = {}
        for number in removed:
            for tensor, axis, positions in self.units[number].slices:
                gone.setdefault((tensor, axis), set()).update(positions)
        return gone

    def _left(self, name: str, gone: Mapping[tuple[str, int], set[int]]) -> float:
        lost = [len(gone.get((name, axis), ())) for axis in range(len(self.shapes[name]))]
        if name in self.groups:
            lost[1] //= self.groups[name]
        sizes = zip(self.shapes[name], lost, strict=True)
        return self.factors[name] * math.prod(size - less for size, less in sizes)


@dataclass(frozen=True)
class SizeMeasure:
    """`SizeLeft` as a measure of sets of units."""

    size: SizeLeft

    def __call__(self, removed: frozenset[int]) -> float:
        """Add up what is left."""
        return self.size(sorted(removed))

    def savings(self, removed: frozenset[int]) -> dict[int, float]:
        """What each further unit alone takes away."""
        return self.size.savings(sorted(removed))
