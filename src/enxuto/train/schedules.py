"""Learning-rate schedules: the factor of the initial learning rate, step by step, and when to stop.

Two kinds. A *curve* is a pure function of how far the run is. A *rule* looks at the loss of each finished epoch and
remembers. All are one class, `Schedule`: `factor(position)` and `momentum_change(position)` before a step,
`observe(...)` after an epoch, and a `state_dict()` of plain numbers. Not here: warm restarts.

Sources: the rule of Souza 2020, section 4.2; reduction on a plateau as in torch; cosine, Loshchilov & Hutter,
arXiv:1608.03983, without restarts; one cycle, Smith & Topin, arXiv:1708.07120, with cosine flanks as in torch.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from typing import Protocol

from enxuto.train.config import TrainConfig

__all__ = ["Constant", "Cosine", "Milestones", "OneCycle", "Plateau", "Schedule", "Souza", "make_schedule"]

State = dict[str, float | int | None]

_BETTER = 1e-4  # plateau: a loss counts as better when it is lower by this share, torch's default
_ONE_CYCLE_START = 1 / 25  # rate at the start and …
_ONE_CYCLE_END = 1e-4 / 25  # … at the end, both of the highest; torch's defaults


class Schedule(Protocol):
    """What the loop asks of a schedule."""

    def factor(self, position: float) -> float:
        """The factor of the initial rate, `position` epochs after the start (2.5: in the middle of the third)."""

    def momentum_change(self, position: float) -> float:
        """What is added to the momentum at that position."""

    def observe(self, loss: float, validation_loss: float | None) -> bool:
        """Take note of the losses of a finished epoch. Returns whether the run shall stop."""

    def state_dict(self) -> State:
        """Plain numbers, which `load_state_dict` resumes from."""

    def load_state_dict(self, state: Mapping[str, float | int | None]) -> None:
        """Resume where the schedule was that returned `state`."""


class _SteadyMomentum:
    """What all but one cycle share."""

    def momentum_change(self, position: float) -> float:
        """Always 0."""
        return 0.0


class _Curve(_SteadyMomentum):
    """What all curves share: they remember nothing and never stop a run."""

    def observe(self, loss: float, validation_loss: float | None) -> bool:
        """Never stops."""
        return False

    def state_dict(self) -> State:
        """Nothing: a curve depends on the position alone."""
        return {}

    def load_state_dict(self, state: Mapping[str, float | int | None]) -> None:
        """Nothing to resume from."""


class Constant(_Curve):
    """The same rate always."""

    def factor(self, position: float) -> float:
        """Always 1."""
        return 1.0


class Milestones(_Curve):
    """Times `lr_factor` at the start of each epoch in `milestones` (ascending, counted from 0)."""

    def __init__(self, milestones: tuple[int, ...], lr_factor: float) -> None:
        self._milestones, self._lr_factor = milestones, lr_factor

    def factor(self, position: float) -> float:
        """`lr_factor` to the power of the milestones reached."""
        return self._lr_factor ** bisect.bisect_right(self._milestones, position)


class Cosine(_Curve):
    """From 1 to 0 along half a cosine over `epochs`."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs

    def factor(self, position: float) -> float:
        """(1 + cos(π·position/epochs)) / 2."""
        return _cosine_between(1.0, 0.0, position / self._epochs)


class OneCycle(_Curve):
    """Up from 1/25 to 1 in the share `warmup` of the epochs, then down to 1/250,000, both along half a cosine.

    The momentum goes the other way: `momentum_swing` above its own at both ends, as much below it at the top.
    """

    def __init__(self, epochs: int, warmup: float, momentum_swing: float) -> None:
        self._epochs, self._warmup, self._momentum_swing = epochs, warmup, momentum_swing

    def factor(self, position: float) -> float:
        """The curve at `position`; its top is at `warmup·epochs`."""
        return self._cycle_value(position, _ONE_CYCLE_START, 1.0, _ONE_CYCLE_END)

    def momentum_change(self, position: float) -> float:
        """From `momentum_swing` to its negative and back."""
        return self._cycle_value(position, self._momentum_swing, -self._momentum_swing, self._momentum_swing)

    def _cycle_value(self, position: float, start: float, top: float, end: float) -> float:
        done = position / self._epochs
        if done < self._warmup:
            return _cosine_between(start, top, done / self._warmup)
        return _cosine_between(top, end, (done - self._warmup) / (1 - self._warmup))


class Plateau(_SteadyMomentum):
    """Times `lr_factor` after `patience` epochs in a row without a better loss; never stops a run.

    The loss is validation's where there is one, else training's; better means lower by more than 0.01 %. After
    a reduction counting starts again. torch's rule reduces one epoch later: its patience is this one less 1.
    """

    def __init__(self, lr_factor: float, patience: int) -> None:
        self._lr_factor, self._patience = lr_factor, patience
        self._best = math.inf
        self._waited = 0
        self._reductions = 0

    def factor(self, position: float) -> float:
        """`lr_factor` to the power of the reductions so far."""
        return self._lr_factor**self._reductions

    def observe(self, loss: float, validation_loss: float | None) -> bool:
        """Count; reduce when the patience is used up."""
        watched = loss if validation_loss is None else validation_loss
        if watched < self._best * (1 - _BETTER):
            self._best, self._waited = watched, 0
        else:
            self._waited += 1
        if self._waited >= self._patience:
            self._reductions, self._waited = self._reductions + 1, 0
        return False

    def state_dict(self) -> State:
        """Best loss, epochs waited, reductions."""
        return {"best": self._best, "waited": self._waited, "reductions": self._reductions}

    def load_state_dict(self, state: Mapping[str, float | int | None]) -> None:
        """Take up from `state_dict`'s output."""
        self._best = float(state["best"] or 0.0)
        self._waited, self._reductions = int(state["waited"] or 0), int(state["reductions"] or 0)


class Souza(_SteadyMomentum):
    """Souza's rule: the epoch's training loss is stable when it differs by less than `stable_change` from that of
    the epoch before; `patience` stable epochs in a row are a stabilisation; each multiplies the rate by
    `lr_factor`, and the last of `stabilisations` ends the run instead.

    Patience 1 is the text. The author's own program waits for 10 such epochs in a row, and subtracts the losses without
    taking the absolute value, so that an epoch whose loss rises is stable: `rise_is_stable`.
    """

    def __init__(
        self,
        lr_factor: float,
        stable_change: float,
        patience: int,
        stabilisations: int,
        rise_is_stable: bool = False,
    ) -> None:
        self._lr_factor, self._stable_change, self._rise_is_stable = lr_factor, stable_change, rise_is_stable
        self._patience, self._stabilisations = patience, stabilisations
        self._previous: float | None = None
        self._stable = 0
        self._reached = 0

    def factor(self, position: float) -> float:
        """`lr_factor` to the power of the stabilisations so far."""
        return self._lr_factor**self._reached

    def observe(self, loss: float, validation_loss: float | None) -> bool:
        """Compare with the epoch before; True at the last stabilisation."""
        fall = math.inf if self._previous is None else self._previous - loss
        stable = (fall if self._rise_is_stable else abs(fall)) < self._stable_change
        self._previous = loss
        self._stable = self._stable + 1 if stable else 0
        if self._stable >= self._patience:
            self._reached, self._stable = self._reached + 1, 0
        return self._reached >= self._stabilisations

    def state_dict(self) -> State:
        """The last loss, stable epochs in a row, stabilisations."""
        return {"previous": self._previous, "stable": self._stable, "reached": self._reached}

    def load_state_dict(self, state: Mapping[str, float | int | None]) -> None:
        """Take up from `state_dict`'s output."""
        previous = state["previous"]
        self._previous = None if previous is None else float(previous)
        self._stable, self._reached = int(state["stable"] or 0), int(state["reached"] or 0)


def make_schedule(config: TrainConfig) -> Schedule:
    """The schedule that a configuration names, at its start."""
    match config.schedule:
        case "constant":
            return Constant()
        case "milestones":
            return Milestones(config.milestones, config.lr_factor)
        case "plateau":
            return Plateau(config.lr_factor, config.patience)
        case "souza":
            return Souza(
                config.lr_factor,
                config.stable_change,
                config.patience,
                config.stabilisations,
                config.rise_is_stable,
            )
        case "cosine":
            return Cosine(config.epochs)
        case "onecycle":
            return OneCycle(config.epochs, config.warmup, config.momentum_swing)


def _cosine_between(start: float, end: float, done: float) -> float:
    """Half a cosine from `start` (done = 0) to `end` (done = 1)."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2
