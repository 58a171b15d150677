"""How many steps a training has, and how far weights move in each: a short rise, then a cosine down to nothing."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from enxuto.retraining.settings import Retraining

__all__ = ["Schedule", "mean_seconds", "planned_schedule"]

_DEFAULT_MINUTES = 10.0
_WARM = 0.03  # of the steps
_TIMED = 0.01  # of the minutes, in which it is measured how long a step takes
_LONGEST_TIMED = 15.0  # seconds
_FEWEST = 20  # steps
_FEWEST_TIMED = 5  # steps that tell how long one takes
_HALVINGS = 4  # at most: down to a sixteenth of the rate that is asked for


@dataclass(frozen=True)
class Schedule:
    """steps: of the training. halved: the steps from which on the rate is half of what it was."""

    steps: int
    halved: tuple[int, ...] = ()

    def progress(self, step: int) -> float:
        """Return the share of the training that is done."""
        return step / self.steps

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, as a share of the highest that is asked for."""
        return 0.5 ** sum(step >= start for start in self.halved) * self.fall(step)

    def fall(self, step: int) -> float:
        """Return the learning rate of a step as a share of the highest, were it halved nowhere."""
        done = (step + 0.5) / self.steps
        return min(1.0, done / _WARM) * 0.5 * (1 + math.cos(math.pi * done))

    def halve_from(self, step: int) -> Schedule:
        """Return the schedule with half of the rate from a step on; itself where that was done four times."""
        return self if len(self.halved) == _HALVINGS else replace(self, halved=(*self.halved, step))

    def is_check(self, step: int, checks: int) -> bool:
        """Say whether a file is made after so many steps."""
        return step * checks // self.steps > (step - 1) * checks // self.steps


def planned_schedule(
    settings: Retraining,
    steps_per_epoch: float,
    other: Callable[[], float],
    seconds_of_step: Callable[[float], float],
) -> Schedule:
    """Return the schedule that was asked for; where minutes were, steps are timed first.

    Args:
        settings: epochs or minutes.
        steps_per_epoch: of the training images.
        other: gives the seconds of the minutes that are gone, or that judging files will take.
        seconds_of_step: takes steps for about so many seconds, and returns how many one takes.
    """
    if settings.epochs is not None:
        return Schedule(max(1, round(settings.epochs * steps_per_epoch)))
    whole = 60 * (settings.minutes or _DEFAULT_MINUTES)
    step = seconds_of_step(min(_LONGEST_TIMED, _TIMED * whole))
    return Schedule(max(_FEWEST, int((whole - other()) / step)))


def mean_seconds(take_step: Callable[[], None], seconds: float) -> float:
    """Return how many seconds a step takes, of as many as fit into `seconds`; the first is not counted."""
    took: list[float] = []
    while len(took) < _FEWEST_TIMED or sum(took) < seconds:
        began = time.monotonic()
        take_step()
        took.append(time.monotonic() - began)
    return statistics.mean(took[1:])
