"""Search for the coarsest steps that keep a bound on the loss, by powers: log2 of the price of a bit.

Where the loss says how much room it leaves below its bound, in powers, a few tries find the bound: at first by the law
that a doubled price doubles the loss, then between what keeps the bound and what does not. Where it says no more than
yes or no, the interval is halved.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from enxuto.compression.excess import MOST_ROOM

__all__ = ["LossSearch"]

_AIM = 0.02  # of room: aimed at, so that most tries end inside the bound
_NEAR = 0.045  # of room: 3 % of the loss, some half a percent of a file
_STEP = 2.0  # powers, where nothing is known of the room
_MOST = 3.0  # powers at once: no law holds farther
_LEAST_SLOPE = 0.4  # of room by power: where losses hardly move with the price, it says little
_FAR = 0.25  # powers: a tenth of a bit a weight
_ENOUGH = 4  # tries that say where the bound is
_MARGIN = 0.1  # of an interval, that a try stays away from its ends


@dataclass
class LossSearch:
    """What is known of a search.

    Attributes:
        closest: powers that differ by less are as good as equal.
        smooth: whether the loss has no stairs, so that a try near below the bound ends the search.
        keeps, breaks: power and room of the coarsest try that keeps the bound, and of the finest one that breaks it.
        last: power and room of the last try.
        one_sided: how many tries in a row fell on the same side: of those that keep the bound if `kept`.
        bounds: where the bound is by each try alone: its power and its room.
        beyond: how many tries were coarser than one that broke the bound.
        widths: of the intervals that tries were in; one that two tries have not halved is halved.
    """

    closest: float
    smooth: bool
    keeps: tuple[float, float | None] | None = None
    breaks: tuple[float, float | None] | None = None
    last: tuple[float, float | None] | None = None
    one_sided: int = 0
    kept: bool | None = None
    bounds: list[float] = field(default_factory=list)
    beyond: int = 0
    widths: list[float] = field(default_factory=list)

    def next_power(self, power: float, room: float | None, fits: bool) -> float | None:
        """Take in what a power gave; return the power to try next, None where nothing better will come.

        room: powers that are left below the bound, negative beyond it; None where that is not known.
        """
        if room is not None and fits != (room >= 0):
            room = None  # another bound decides
        self.one_sided = self.one_sided + 1 if fits == self.kept else 1
        self.kept = fits
        before, self.last = self.last, (power, room)
        if room is not None and abs(room) < MOST_ROOM:
            self.bounds.append(power + room)
        if self.beyond:  # whatever came of it: more of the like would be luck
            return None
        if fits and self.smooth and room is not None and room <= _NEAR:
            return None
        if fits:
            self.keeps = self.last
        else:
            self.breaks = self.last
        if self.keeps is None or self.breaks is None:
            return power + self._outwards(power, room, fits, before)
        return self._between(self.keeps, self.breaks)

    def _outwards(
        self, power: float, room: float | None, fits: bool, before: tuple[float, float | None] | None
    ) -> float:
        """Return how far to go while all tries keep the bound, or all break it."""
        if room is None:
            return _STEP if fits else -_STEP
        slope = 1.0
        if before is not None and before[1] is not None and before[0] != power:
            slope = max(_LEAST_SLOPE, (before[1] - room) / (power - before[0]))
        least = self.closest * 2.0 ** (self.one_sided - 1)
        far = min(_MOST, max(least, abs(room - _AIM) / slope))
        return far if fits else -far

    def _between(self, keeps: tuple[float, float | None], breaks: tuple[float, float | None]) -> float | None:
        """Return the power between one that keeps the bound and one that does not."""
        (fine, room), (coarse, lack) = keeps, breaks
        if coarse - fine < self.closest:
            return self._past(coarse)
        share, slow = 0.5, len(self.widths) > 1 and coarse - fine > self.widths[-2] / 2
        self.widths.append(coarse - fine)
        if room is not None and lack is not None and not slow:
            share = min(1 - _MARGIN, max(_MARGIN, (room - _AIM) / (room - lack)))
        return fine + (coarse - fine) * share

    def _past(self, coarse: float) -> float | None:
        """Return a power beyond one that broke the bound, where it broke it by chance: on few samples losses scatter.

        By most tries the bound is farther away then. None where it is not.
        """
        if len(self.bounds) < _ENOUGH:
            return None
        usual = min(coarse + _MOST, median(self.bounds) - _AIM)
        if usual - coarse < _FAR:
            return None
        self.beyond += 1
        return usual
