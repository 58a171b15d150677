"""`Strategy`: how a training gets to the bound: on the trellis, by growing steps, or down from a larger file.

Levels on a trellis are a sixth of a bit cheaper than plain ones. But when steps grow, other paths are nearest, all at
once, and what the path knew of the other weights' errors is lost. So levels stay on the trellis where the calibrated
file has lost little, and its size hardly changes. Where a loss is bounded, training starts a little coarser, and once
more when it has shown how much it makes up for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from enxuto.compression.excess import room_below
from enxuto.compression.judge import Bounds, Judgement
from enxuto.compression.retrainer import RetrainingCheck
from enxuto.enx.file import CompressedModel
from enxuto.enx.table import LevelsRow
from enxuto.quantize.grid import Grid

__all__ = [
    "BY_LABELS",
    "DOWN",
    "GROWING",
    "MOST_LOSS_ON_TRELLIS",
    "ON_TRELLIS",
    "Strategy",
    "choose_strategy",
    "comes_down_instead",
    "strategy_named",
    "strategy_of_long_training",
]

MOST_LOSS_ON_TRELLIS = 0.2
"""Nats, or shares of the variance, that a file has lost: where it is more, training does better without a trellis."""

AGAIN = (0.2, 0.6)
"""Shares of the training after which it may begin once more."""

_ROOM, _MOST_ROOM = (
    0.04,
    0.12,
)  # doublings of the price below the bound, where it then begins, and where it goes on
_FEWEST_BITS = 1.0  # a weight, likewise
_DOWN_FROM = (  # steps, from which on a start that has lost so many nats (or shares of the variance) is not taken
    (1_000, 0.7),
    (3_000, 0.3),
)
_FAR = 1.5  # times the points that training still gives back: a start that has lost more was too coarse
_LABELS_FROM = 1_000  # steps
_LABELS_FROM_LOSS = 0.2  # nats
_MOST_COARSER = 8.0  # times the price at which training begins otherwise
_MOST_OFF_TRELLIS = 0.5  # of the weights, which then do not come to a size


@dataclass(frozen=True)
class Strategy:
    """How a training starts and how it is steered.

    name: for checkpoints and records.
    larger: times the size asked for, at which training starts.
    coarser: times the price of the calibrated file, at which it starts where a loss is bounded: it makes up for that.
    trellis: whether levels are those of a trellis.
    rate: share of the learning rate.
    most_loss: in nats, or shares of the variance, that a file it starts from has lost.
    lenient: points of top-1 that may be lost on the way beyond the bound: training gives them back.
    """

    name: str
    larger: float = 1.0
    coarser: float = 2.0
    trellis: bool = False
    rate: float = 1.0
    most_loss: float = math.inf
    lenient: float = 0.0

    @property
    def comes_down(self) -> bool:
        """Whether it starts at a larger file than was asked for."""
        return self.larger > 1

    @property
    def grows(self) -> bool:
        """Whether steps follow the price."""
        return not self.trellis and not self.comes_down

    def most_restarts(self, bounds: Bounds) -> int:
        """Return how often a training may begin once more."""
        return len(AGAIN) if (self.trellis or self.lenient) and bounds.max_bytes is None else 0

    def again(self, bounds: Bounds, judgement: Judgement, progress: float = 0.0) -> Strategy | None:
        """Return the strategy of a training that begins once more, as a file on the way is judged so; None: it goes on.

        On a trellis the size hardly changes. So where a loss is bounded, training begins once more as coarse as it has
        shown to make up for, or less so where it has not. Where labels teach, it begins a fourth as coarse if points of
        top-1 that were lost do not come back: of an original that has learned these labels already they do not.

        progress: share of the training that is done.
        """
        if self.lenient and judgement.drop is not None and bounds.max_drop is not None:
            most = bounds.max_drop + _FAR * self.lenient * (1 - progress)
            if judgement.drop <= most or self.coarser <= GROWING.coarser:
                return None
            return replace(self, coarser=max(GROWING.coarser, self.coarser / 4))
        room = room_below(bounds, judgement)
        if not self.trellis or room is None or 0 <= room <= _MOST_ROOM:
            return None
        return replace(self, coarser=self.coarser * 2 ** (max(-1.0, min(room, 1.0)) - _ROOM))


ON_TRELLIS = Strategy("trellis", coarser=1.2, trellis=True, rate=0.5, most_loss=0.2)
GROWING = Strategy("growing")
DOWN = Strategy("down", larger=2.0, rate=0.5)
BY_LABELS = Strategy("by labels", lenient=4.0)


def choose_strategy(
    bounds: Bounds, calibrated: CompressedModel, check: RetrainingCheck, *, prunes: bool
) -> Strategy:
    """Return the strategy to begin with.

    Filters that are zero cannot leave a trellis: levels behind them would stand for other values. Where points of top-1
    or a caller's score are bounded, nothing tells which size training may lead to, and it has to change on the way.

    Args:
        bounds: that are asked for.
        calibrated: the file that keeps them.
        check: how it does.
        prunes: whether filters are to leave the network.
    """
    follows = bounds.max_bytes is not None or room_below(bounds, check.judgement) is not None
    if not follows or prunes or check.loss > ON_TRELLIS.most_loss:
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


def comes_down_instead(loss: float, steps: int) -> bool:
    """Say whether a training of so many steps, whose start at the size asked for has lost so much, comes down to it.

    From a ruined start training does not come back at the same size. A long one has the time to come down also where
    a short one does better at the size itself (docs/decisions/steps-follow-the-price.md).
    """
    return any(steps >= fewest and loss > most for fewest, most in _DOWN_FROM)


def strategy_of_long_training(bounds: Bounds, loss: float, steps: int, *, by_labels: bool) -> Strategy | None:
    """Return how a training of so many steps, whose start has lost so much, begins once more; None: it goes on.

    Labels give back points of top-1 that rounding lost, and more, and steps that grow a little after every file do not
    get far. So where points are bounded, and labels learned from, it begins at a file that has lost many: at about
    `_LABELS_FROM_LOSS`, which grows with the price.
    """
    if bounds.max_bytes is not None:
        return DOWN if comes_down_instead(loss, steps) else None
    if not by_labels or bounds.max_drop is None or steps < _LABELS_FROM or loss >= _LABELS_FROM_LOSS:
        return None
    more = min(_MOST_COARSER, _LABELS_FROM_LOSS / max(loss, 1e-9))
    return replace(BY_LABELS, coarser=more * GROWING.coarser)


def strategy_named(name: str) -> Strategy:
    """Return the strategy of this name; `ValueError` for any other."""
    for strategy in (ON_TRELLIS, GROWING, DOWN, BY_LABELS):
        if strategy.name == name:
            return strategy
    raise ValueError(f"there is no strategy {name!r}")
