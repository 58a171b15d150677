"""`Strategy`: how a training gets to the bound: on the trellis, by growing steps, or down from a larger file.

Levels on a trellis are a sixth of a bit cheaper than plain ones. But when steps grow, other paths are nearest, all at
once, and what the path knew of the other weights' errors is lost. So levels stay on the trellis where a file of the
size asked for has lost little, and only gradients change its size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from enxuto.compression.judge import Bounds
from enxuto.enx.file import CompressedModel
from enxuto.enx.table import LevelsRow
from enxuto.quantize.grid import Grid

__all__ = [
    "DOWN",
    "GROWING",
    "MOST_LOSS_ON_TRELLIS",
    "ON_TRELLIS",
    "Strategy",
    "choose_strategy",
    "strategy_named",
]

MOST_LOSS_ON_TRELLIS = 0.2
"""Nats, or shares of the variance, that a file has lost: where it is more, training does better without a trellis."""

_FEWEST_BITS = 1.0  # a weight, likewise
_MOST_OFF_TRELLIS = 0.5  # of the weights, which then do not come to a size


@dataclass(frozen=True)
class Strategy:
    """How a training starts and how it is steered.

    name: for checkpoints and records.
    larger: times the size asked for, at which training starts.
    trellis: whether levels are those of a trellis.
    rate: share of the learning rate.
    margin: share of the size that is aimed at; averaged weights are not quite those that are steered.
    most_loss: in nats, or shares of the variance, that a file it starts from has lost.
    """

    name: str
    larger: float = 1.0
    trellis: bool = False
    rate: float = 1.0
    margin: float = 0.985
    most_loss: float = math.inf

    @property
    def grows(self) -> bool:
        """Whether steps follow the price."""
        return not self.trellis and self.larger == 1


ON_TRELLIS = Strategy("trellis", trellis=True, rate=0.5, margin=0.998, most_loss=0.2)
GROWING = Strategy("growing")
DOWN = Strategy("down", larger=2.0, rate=0.5)


def choose_strategy(bounds: Bounds, calibrated: CompressedModel, loss: float, *, prunes: bool) -> Strategy:
    """Return the strategy to begin with.

    Filters that are zero cannot leave a trellis: levels behind them would stand for other values. With a bound on the
    loss the size has to change as training goes.

    Args:
        bounds: that are asked for.
        calibrated: the file, of that size if one is asked for.
        loss: what it has lost.
        prunes: whether filters are to leave the network.
    """
    if bounds.max_bytes is None or prunes or loss > ON_TRELLIS.most_loss:
        return GROWING
    on_trellis = others = 0
    for payload in calibrated.payloads:
        if isinstance(payload.row, LevelsRow):
            quantizer = payload.quantizer()
            elements = sum(math.prod(entry.shape) for entry in payload.row.tensors)
            if isinstance(quantizer, Grid) and quantizer.trellis:
                on_trellis += elements
            else:
                others += elements
    count = on_trellis + others
    if others > _MOST_OFF_TRELLIS * count or 8 * calibrated.file_bytes < _FEWEST_BITS * count:
        return GROWING
    return ON_TRELLIS


def strategy_named(name: str) -> Strategy:
    """Return the strategy of this name; `ValueError` for any other."""
    for strategy in (ON_TRELLIS, GROWING, DOWN):
        if strategy.name == name:
            return strategy
    raise ValueError(f"there is no strategy {name!r}")
