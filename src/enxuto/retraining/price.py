"""The price of a bit while training: steered so that the file ends at the size, or at the loss, that was asked for.

Off a trellis all steps grow or shrink with the price, as its square root (`calibration.allocation`), a little at a
time. Gradients of the rate alone would take thousands of steps: those of single batches scatter far more than a price
weighs.

A training that comes down from a larger file (`follow_step`) has no such growth: the price alone brings it down, looked
after at every step, as a controller of proportional and integral terms has it. It takes the thousands of steps, and a
size that fell too far would not come back: weights that became zero cost nothing and have no reason to return.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from enxuto.compression.excess import excess_of
from enxuto.compression.judge import Bounds, Judgement

__all__ = ["PriceOfBits"]

_GAIN = 1.4  # of the logarithm of the price, for each factor e that the bytes of levels are off
_MOST = 0.25  # that the logarithm moves at once
_BY_LOSS = 0.45  # that it moves at a check, at most
_MARGIN = 0.985  # of the size: averaged weights are not quite those that are steered
_GLIDE = 0.35  # of the training, in which the size comes down
_MOST_OFF = 0.5  # for each factor e that the levels' bytes are off: more is treated like that
_FAST = 10.0  # of the logarithm of the price, for each factor e that the levels' bytes are off at a step, for this step
_SLOW = 100.0  # likewise, for all that follow: divided by their number
_CHANGING = ("price", "first", "owed", "base")
_AT_ONCE = 0.01  # of a step, that steps grow or shrink between two fits of the rate model: training makes up for that


@dataclass
class PriceOfBits:
    """price: in nats per bit. first: bytes of the file that training starts from.

    With a bound on the size, the size aimed at falls geometrically over the first part of the training. With a bound
    on a loss the price follows every check: up where there is room, down where there is none, less and less far.
    lenient: points of top-1 that may be lost beyond the bound at the start, and fewer and fewer later.
    """

    price: float
    bounds: Bounds
    first: float
    lenient: float = 0.0
    owed: float = field(default=0.0, kw_only=True)
    base: float = field(
        default=0.0, kw_only=True
    )  # the price without what is for one step; 0: not followed step by step yet

    def aim(self, progress: float) -> float | None:
        """Return the bytes aimed at after a share of the training; None where no size is bounded."""
        if self.bounds.max_bytes is None:
            return None
        last = _MARGIN * self.bounds.max_bytes
        share = min(1.0, progress / _GLIDE)
        return self.first * (last / self.first) ** share if self.first > last else last

    def aims_above(self, progress: float) -> bool:
        """Whether the size that is aimed at is still larger than was asked for."""
        most, aim = self.bounds.max_bytes, self.aim(progress)
        return most is not None and aim is not None and aim > most

    def follow_size(self, levels: float, rest: float, progress: float) -> None:
        """Move the price by how far the bytes of levels are from what is aimed at.

        rest: bytes of the file beside the levels.
        """
        aim = self.aim(progress)
        if aim is not None:
            self._move(_clip(_GAIN * _off(levels, aim - rest), _MOST))

    def follow_step(self, levels: float, rest: float, progress: float, steps: int, rate: float) -> None:
        """Move the price by how far the bytes of levels are from what is aimed at, after each of so many steps.

        rate: the learning rate as a share of the highest: where weights hardly move, a price that rises on and on would
        change nothing but the price.
        """
        aim = self.aim(progress)
        if aim is None:
            return
        off = _clip(_off(levels, aim - rest), _MOST_OFF)
        self.base = (self.base or self.price) * math.exp(_SLOW / steps * rate * off)
        self.price = self.base * math.exp(_FAST * off)

    def follow_loss(self, judgement: Judgement, progress: float) -> None:
        """Move the price by how far a judgement is from the bound."""
        if self.bounds.max_bytes is not None:
            return
        if self.lenient and judgement.drop is not None:
            judgement = replace(judgement, drop=judgement.drop - self.lenient * (1 - progress))
        most = _BY_LOSS * (1 - 0.7 * progress)
        self._move(-_clip(excess_of(self.bounds, judgement), 1.0) * most)

    def growth(self, rate: float) -> float:
        """Return the factor by which steps grow now, and owe it no longer.

        rate: the learning rate as a share of the highest: where weights hardly move, they cannot make up for much.
        """
        now = _clip(self.owed, _AT_ONCE * rate)
        self.owed -= now
        return math.exp(now)

    def state(self) -> dict[str, float]:
        """Return all that changes."""
        return {name: getattr(self, name) for name in _CHANGING}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a state; `KeyError` or `ValueError` where it is none."""
        for name in _CHANGING:
            setattr(self, name, float(state[name]))

    def _move(self, by: float) -> None:
        self.price *= math.exp(by)
        self.owed = _clip(self.owed + by / 2, _MOST)


def _off(levels: float, aim: float) -> float:
    """Return the logarithm of how many times too many bytes levels have."""
    return math.log(max(1.0, levels) / max(aim, 0.1 * levels, 1.0))


def _clip(value: float, most: float) -> float:
    return min(most, max(-most, value))
