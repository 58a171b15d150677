"""Search for the finest steps whose file has a given size, by powers: log2 of what scales the steps.

While all files tried are too large, or all fit, the caller's law says how far to go. Between one that is too large and
one that fits, sizes are interpolated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["SizeSearch"]

_TOLERANCE = 0.002  # of the size; files this little smaller are as good as equal


@dataclass
class SizeSearch:
    """What is known of a search; sizes are in one unit, whichever.

    Attributes:
        most: the largest size that fits.
        law: power, size beyond `aim`, and number of a try → the next power, while only one side of `most` is known.
        margin: the share of an interval by which an interpolated power stays away from its ends.
        closest: powers that differ by less are as good as equal.
        tries: how many sizes were taken in.
        too_large, fits: power and size of the coarsest try that is too large, and of the finest one that fits.
    """

    most: float
    law: Callable[[float, float, int], float | None]
    margin: float
    closest: float
    tries: int = 0
    too_large: tuple[float, float] | None = None
    fits: tuple[float, float] | None = None

    @property
    def aim(self) -> float:
        """The size to aim at: the middle of those that are good enough."""
        return self.most * (1 - _TOLERANCE / 2)

    def next_power(self, power: float, size: float) -> float | None:
        """Take in the size that a power gave; return the power to try next, None where nothing better will come."""
        self.tries += 1
        if size <= self.most:
            self.fits = power, size
            if size >= self.most * (1 - _TOLERANCE):
                return None
        else:
            self.too_large = power, size
        if self.fits is None or self.too_large is None:
            return self.law(power, size - self.aim, self.tries)
        (fine, large), (coarse, small) = self.too_large, self.fits
        if abs(coarse - fine) < self.closest:
            return None
        share = (large - self.aim) / (large - small)
        return fine + (coarse - fine) * min(1 - self.margin, max(self.margin, share))
