"""`SensitivityCurve`: how sensitive a model is to errors in a layer, by how coarsely all layers are rounded.

Errors that are small add up as squares; large ones do not: what a layer before has ruined, a layer behind cannot ruin
again, and squashing functions hold what is far off. So what is measured at 2.5 bits a weight misleads a file of 4 bits,
and the reverse (`docs/decisions/sensitivities-by-size.md`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

__all__ = ["SensitivityCurve"]

_STEEPEST = 0.9  # of the logarithm of the price: at 1 a higher price would no longer give a coarser step


@dataclass(frozen=True)
class SensitivityCurve:
    """Sensitivities at prices.

    prices: in nats per bit, ascending, at least one. values: in nats per unit of tr(G E H Eᵀ), as many.
    """

    prices: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        """Raise `ValueError` where the numbers are no curve."""
        good = all(0 < price < math.inf for price in self.prices) and all(
            0 <= value < math.inf for value in self.values
        )
        if (
            not good
            or not self.prices
            or len(self.prices) != len(self.values)
            or list(self.prices) != sorted(set(self.prices))
        ):
            raise ValueError(f"no curve: {self.prices} {self.values}")

    def at(self, price: float) -> float:
        """Return the sensitivity at a price: between two that were measured on a line of logarithms, else the nearest.

        A line is no steeper than the step at equal slope bears, which a higher price is to make coarser.
        """
        if price <= self.prices[0] or min(self.values) <= 0:
            return self.values[0] if price <= self.prices[0] else self.values[-1]
        found = self.values[0]
        for (low, high), (first, last) in zip(pairwise(self.prices), pairwise(self.values), strict=True):
            slope = min(math.log(last / first) / math.log(high / low), _STEEPEST)
            found *= (min(price, high) / low) ** slope
            if price <= high:
                break
        return found

    def at_least(self, lowest: Sequence[float]) -> SensitivityCurve:
        """Return the curve with no value below that for its price."""
        return replace(self, values=tuple(map(max, self.values, lowest)))
