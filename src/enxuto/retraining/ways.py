"""`Way`: how a training gets to the bound: on the trellis at its size, by growing steps, or down from a larger file.

Levels on a trellis are a sixth of a bit cheaper than plain ones, and training can start at the calibrated file itself.
But when steps grow, other paths are nearest, all at once, and what the path knew of the other weights' errors is lost.
So levels stay on the trellis where a file of the size asked for has lost little, and only gradients change its size.
"""

from __future__ import annotations

from dataclasses import dataclass

from enxuto.compression.judge import Bounds

__all__ = ["DOWN", "GROWING", "ON_TRELLIS", "Way", "first_way", "way_called"]

_LITTLE = (
    0.2  # nats, or shares of the variance, that a calibrated file has lost: up to there the trellis is kept
)


@dataclass(frozen=True)
class Way:
    """name: for checkpoints. larger: times the size asked for, at which training starts. trellis: whether levels are
    those of a trellis. rate: share of the learning rate. margin: of the size, at which it is aimed.
    """

    name: str
    larger: float = 1.0
    trellis: bool = False
    rate: float = 1.0
    margin: float = 0.985  # averaged weights are not quite those that are steered

    @property
    def grows(self) -> bool:
        """Whether steps follow the price."""
        return not self.trellis and self.larger == 1


ON_TRELLIS = Way("trellis", trellis=True, rate=0.5, margin=0.998)
GROWING = Way("growing")
DOWN = Way("down", larger=2.0, rate=0.5)


def first_way(bounds: Bounds, loss: float, *, prunes: bool) -> Way:
    """Return the way to try first, from what the calibrated file has lost; prunes: whether filters are to leave it.

    Filters that are zero cannot leave a trellis: levels behind them would stand for other values. With a bound on the
    loss the size has to change as training goes.
    """
    return ON_TRELLIS if bounds.max_bytes is not None and loss <= _LITTLE and not prunes else GROWING


def way_called(name: str) -> Way:
    """Return the way of this name; `ValueError` for any other."""
    for way in (ON_TRELLIS, GROWING, DOWN):
        if way.name == name:
            return way
    raise ValueError(f"there is no way {name!r}")
