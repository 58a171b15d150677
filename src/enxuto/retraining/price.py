"""The price of a bit while training: steered so that the file ends at the size, or at the loss, that was asked for.

A size is steered by how far it is off, and by how that changes, since weights take hundreds of steps to follow a price.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from enxuto.compression.excess import excess_of
from enxuto.compression.judge import Bounds, Judgement

__all__ = ["PriceOfBits"]

_GAIN = 0.5  # of the logarithm of the price, for each factor e that the bytes of levels are off
_DAMPING = 8.0  # of it, for each factor e by which that changed since the last time
_MOST = 0.25  # that the logarithm moves at once
_BY_LOSS = 0.45  # that it moves at a check, at most
_MARGIN = 0.985  # of the size: averaged weights are not quite those that are steered
_GLIDE = 0.35  # of the training, in which the size comes down
_BEHIND = 0.08  # of the training, that averages are behind: two of their horizons


@dataclass
class PriceOfBits:
    """price: in nats per bit. first: bytes of the file that training starts from. error: the logarithm of how far the
    bytes of levels were off last.

    With a bound on the size, the size aimed at falls geometrically over the first part of the training. With a bound
    on a loss the price follows every check: up where there is room, down where there is none, less and less far.
    """

    price: float
    bounds: Bounds
    first: float
    error: float = 0.0

    def aim(self, progress: float) -> float | None:
        """Return the bytes aimed at after a share of the training; None where no size is bounded."""
        if self.bounds.max_bytes is None:
            return None
        last = _MARGIN * self.bounds.max_bytes
        share = min(1.0, progress / _GLIDE)
        return self.first * (last / self.first) ** share if self.first > last else last

    def is_down(self, progress: float) -> bool:
        """Say whether the size aimed at has been the last one for so long that averages are of it too."""
        return self.bounds.max_bytes is not None and progress > _GLIDE + _BEHIND

    def follow_size(self, levels: float, rest: float, progress: float) -> None:
        """Move the price by how far the bytes of levels are from what is aimed at.

        rest: bytes of the file beside the levels.
        """
        aim = self.aim(progress)
        if aim is None:
            return
        left = max(aim - rest, 0.1 * levels, 1.0)
        before, self.error = self.error, math.log(max(1.0, levels) / left)
        self._move(_clip(_GAIN * self.error + _DAMPING * (self.error - before), _MOST))

    def follow_loss(self, judgement: Judgement, progress: float) -> None:
        """Move the price by how far a judgement is from the bound."""
        if self.bounds.max_bytes is not None:
            return
        most = _BY_LOSS * (1 - 0.7 * progress)
        self._move(-_clip(excess_of(self.bounds, judgement), 1.0) * most)

    def _move(self, by: float) -> None:
        self.price *= math.exp(by)


def _clip(value: float, most: float) -> float:
    return min(most, max(-most, value))
