"""What a choice of filters leaves: filters, parameters, multiply-accumulates. Measures for `ranking.choose`.

A parameter's size is the product of what is left of its axes, so that what two neighbouring layers lose together is
counted once, exactly. MACs are a weight's size times the positions where it is used. A measured latency is any function
of the caller's that prunes, times, and returns seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

__all__ = ["FiltersLeft", "SizeLeft", "SlicedUnit"]


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
        gone: dict[tuple[str, int], set[int]] = {}
        for number in removed:
            for tensor, axis, positions in self.units[number].slices:
                gone.setdefault((tensor, axis), set()).update(positions)
        total = 0.0
        for name, factor in self.factors.items():
            lost = [len(gone.get((name, axis), ())) for axis in range(len(self.shapes[name]))]
            if name in self.groups:
                lost[1] //= self.groups[name]
            total += factor * math.prod(
                size - less for size, less in zip(self.shapes[name], lost, strict=True)
            )
        return total
