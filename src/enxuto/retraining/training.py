"""`retrain`: train towards a bound; make, judge and keep files on the way, and end with the best of them."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch

from enxuto.compression.at_price import PricedModel
from enxuto.compression.retrainer import Retrained, RetrainingCheck, RetrainingControl, RetrainingTask
from enxuto.machine.processors import processors
from enxuto.machine.signals import Terminated
from enxuto.retraining.checkpoint import RetrainingCheckpoint
from enxuto.retraining.control import train_control
from enxuto.retraining.descent import Descent
from enxuto.retraining.features import features_of
from enxuto.retraining.images import TrainingImages
from enxuto.retraining.labels import labels_of
from enxuto.retraining.levels import LevelsTooLargeError
from enxuto.retraining.placement import placement_of
from enxuto.retraining.price import PriceOfBits
from enxuto.retraining.removal import without_dead_filters
from enxuto.retraining.schedule import Schedule, planned_schedule
from enxuto.retraining.settings import Retraining
from enxuto.retraining.start import start_of
from enxuto.retraining.strategy import (
    AGAIN,
    GROWING,
    Strategy,
    choose_strategy,
    strategy_named,
    strategy_of_long_training,
)
from enxuto.retraining.student import teacher_of
from enxuto.train.placement import Placement

__all__ = ["retrain"]

_REFRESHES = 100  # of the rate model, in a training
_FEWEST_BETWEEN = 20  # steps
_SECONDS_BETWEEN = 60.0  # checkpoints
_WORSE, _RECOVERS = 1.05, 0.97  # of the loss at the start; of the last file's: below, it is on its way back
_DOWN = 0.6  # of the training, after which averages no longer lag behind
_TRIMS, _NEARLY = 5, 1.1  # how often the last file's steps grow a little where it is slightly too large


def retrain(task: RetrainingTask, settings: Retraining) -> Retrained:
    """Return the best file that training finds, at worst the one it starts from."""
    placement = placement_of(settings)
    with placement.torch_settings(task.settings.threads or processors()):
        run = _Run(task, settings, placement)
        ended = run.train()
        control = run.control() if settings.control and not ended else None
        if not ended:
            run.checkpoint.remove()
        return without_dead_filters(task.without_luck(run.result(ended, control)), task)


class _Run:
    """One training: the descent, the price, and the best file so far."""

    def __init__(self, task: RetrainingTask, settings: Retraining, placement: Placement) -> None:
        self.task, self.settings = task, settings
        self.began = time.monotonic()
        self.first = self.found = task.check(task.start, 0, 0.0)
        self.outcome = task.start
        self.teacher = teacher_of(task.calibration.logits_model, task.images.shape[1:])
        labels = labels_of(task, self.teacher, settings.label_weight)
        self.images = TrainingImages(
            task.images, settings.batch, task.settings.seed, task.pictures, settings.mix, labels
        )
        self.checks: list[RetrainingCheck] = []
        self.level = self.last = math.inf  # losses of what training starts from, and of the last file
        self.beside = 0.0  # bytes of the file beside what the rate model says of its levels
        self.best: list[torch.Tensor] | None = None  # averages that `outcome` was made of; None: the start
        self.best_coarser = 1.0  # of the strategy that they are of
        self.checkpoint = RetrainingCheckpoint(task, settings, self.first.judgement.data_hash)
        self.seconds = 0.0  # of earlier runs
        self.begun: list[float] = []  # how coarse it was where it might have begun once more
        self.calibrated_price = task.start.price
        saved = self.checkpoint.read()
        if saved is None or not self._resume(saved, placement):
            begins = self._begin_near(placement)
            self.calibrated_price = self.start.price
            self.schedule = self._plan()
            longer = strategy_of_long_training(
                task.bounds, begins.loss, self.schedule.steps, by_labels=self.images.labels is not None
            )
            if longer is not None:
                begins = self._begin(longer, self.descent.placement)
                self.schedule = self._plan()
            self.level = self.last = self._level_of(begins)
            self.price.first = float(max(begins.bytes, task.start.model.file_bytes))
            self._count_rest(begins.bytes)
            if self.strategy.comes_down and task.settings.on_check is not None:
                task.settings.on_check(replace(begins, coming_down=True))
        self.saved_at = self.began

    def _set_out(self, strategy: Strategy, placement: Placement) -> None:
        """Be where a strategy starts."""
        task, self.strategy = self.task, strategy
        self.start = start_of(task, strategy)
        if self.settings.also_prune:
            self.start.student.price_filters()
        losses = task.calibration.judged_outputs.losses
        rate = self.settings.rate * strategy.rate
        features = features_of(task.read, self.start.student.network, self.teacher)
        self.descent = Descent(
            self.start.student, self.teacher, self.images, losses, rate, placement, coarsens=strategy.comes_down,
            features=(features, self.settings.features),
        )  # fmt: skip
        self.price = PriceOfBits(
            self.start.price, task.bounds, float(task.start.model.file_bytes), strategy.lenient
        )

    def _begin_near(self, placement: Placement) -> RetrainingCheck:
        """Set out from levels of the size asked for, and return how the file of these does."""
        task, prunes = self.task, self.settings.also_prune
        strategy = choose_strategy(task.bounds, task.start.model, self.first, prunes=prunes)
        begins = self._begin(strategy, placement)
        if begins.loss > strategy.most_loss:  # as the calibrated file may not have fitted
            begins = self._begin(GROWING, self.descent.placement)
        return begins

    def _begin(self, strategy: Strategy, placement: Placement) -> RetrainingCheck:
        """Set out, and return how the file does that training starts from."""
        began = time.monotonic()
        self._set_out(strategy, placement)
        self.start_seconds = time.monotonic() - began
        found = self.task.check(self._file_of(self.descent.averages.values, self.coding_price), 0, 0.0)
        self.check_seconds = time.monotonic() - began - self.start_seconds
        return found

    def _plan(self) -> Schedule:
        """Return the schedule of as many steps as were asked for, or as fit into the minutes that are left."""
        again = self.start_seconds * self.strategy.most_restarts(self.task.bounds)
        return planned_schedule(
            self.settings,
            self.images.steps_per_epoch,
            lambda: time.monotonic() - self.began + self.settings.checks * self.check_seconds + again,
            lambda seconds: self.descent.seconds_of_step(self.price.price, seconds),
        )

    def train(self) -> str:
        """Train to the end; return why it ended early, "" where it did not."""
        progress = self.task.settings.progress
        try:
            while self.descent.step < self.schedule.steps:
                if not self.descent.learn(self.schedule, self.price.price):
                    return "the loss became NaN or infinite"
                if self.strategy.comes_down:
                    self._follow_step()
                self._look_around()
                if progress is not None:
                    progress("retraining", self.descent.step, self.schedule.steps)
        except Terminated:
            raise
        except (KeyboardInterrupt, LevelsTooLargeError) as error:
            return str(error) or "interrupted"
        return ""

    def _follow_step(self) -> None:
        step, steps = self.descent.step, self.schedule.steps
        levels = self.descent.student.bits_of_levels() / 8
        self.price.follow_step(levels, self.beside, step / steps, steps, self.schedule.rate(step))

    @property
    def coding_price(self) -> float:
        """The price of all that is not learned: the calibrated one, where the other moves for gradients alone."""
        return self.price.price if self.strategy.grows else self.calibrated_price

    def _look_around(self) -> None:
        """From time to time fit the rate model again, move the price, and make and judge a file."""
        step, steps = self.descent.step, self.schedule.steps
        student, last = self.descent.student, step == steps
        if step % max(_FEWEST_BETWEEN, steps // _REFRESHES) and not last:
            return
        bits = student.refresh_rates()
        if not last and not self.strategy.comes_down:
            self.price.follow_size(bits / 8, self.beside, step / steps)
            # Where the rate was halved a size is still to be reached: by growth that halving does not slow.
            if self.strategy.grows:
                self.descent.grow_steps(self.price.growth(self.schedule.fall(step)))
                student.refresh_rates()
        if last or len(self.checks) < int(step / steps * self.settings.checks):
            self._check()
            if len(self.begun) < len(AGAIN) and AGAIN[len(self.begun)] * steps <= step < steps:
                self._begin_again()
        if not last and time.monotonic() - self.saved_at > _SECONDS_BETWEEN:
            self._save()

    def _begin_again(self) -> None:
        """Begin once more where training now promises to reach the bound, unless it goes on well."""
        self.begun.append(self.strategy.coarser)
        step = self.descent.step
        again = self.strategy.again(self.task.bounds, self.checks[-1].judgement, step / self.schedule.steps)
        if again is not None:
            begins = self._begin(again, self.descent.placement)
            self.descent.step = step
            self.level = self.last = self._level_of(begins)
            self.calibrated_price = self.start.price
            self._count_rest(begins.bytes)

    def _check(self) -> None:
        """Make a file of the averages, judge it, keep it if it is the best, and move the price.

        Where training made the network worse than it began, and it does not recover, it goes on more gently: deep and
        narrow networks bear less than the rate that others need to change at all. A training that comes down is meant
        to lose.
        """
        outcome = self._file_of(self.descent.averages.values, self.coding_price)
        most = self.task.bounds.max_bytes
        for _ in range(_TRIMS if most is not None and self.descent.step == self.schedule.steps else 0):
            size = outcome.model.file_bytes
            if most is None or not most < size < _NEARLY * most:
                break
            levels = max(1.0, most - self.beside)
            self.descent.grow_steps(min(1.2, 1 + (size - most) / levels))
            outcome = self._file_of(self.descent.averages.values, self.coding_price)
        found = self.task.check(
            outcome, self.descent.step * self.settings.batch, self.seconds + time.monotonic() - self.began
        )
        is_above = self.price.aims_above(self.descent.step / self.schedule.steps)
        found = replace(found, coming_down=self.strategy.comes_down and is_above)
        self._count_rest(found.bytes)
        self.checks.append(found)
        if self.task.better(found, self.found):
            self.outcome, self.found = outcome, found
            self.best = [value.clone() for value in self.descent.averages.values]
            self.best_coarser = self.strategy.coarser
        self.price.follow_loss(found.judgement, self.descent.step / self.schedule.steps)
        level = self._level_of(found)
        if not self.strategy.comes_down and level > max(_WORSE * self.level, _RECOVERS * self.last):
            self.schedule = self.schedule.halve_from(self.descent.step)
        self.last = level
        self.descent.student.refresh_rates()
        if self.task.settings.on_check is not None:
            self.task.settings.on_check(found)

    def _level_of(self, check: RetrainingCheck) -> float:
        """Return what training is to bring down: the loss, or wrong answers where labels are learned from."""
        top1 = check.judgement.top1
        return check.loss if self.images.labels is None or top1 is None else 1 - top1 / 100

    def _count_rest(self, size: int) -> None:
        """Take in how many bytes a file of the averages has beside what the rate model says.

        Averages have fewer bits than what they are of, which wavers. A training that came down looks at the latter at
        every step, and would end so much too small.
        """
        student = self.descent.student
        is_down = self.strategy.comes_down and self.descent.step > _DOWN * self.schedule.steps
        with nullcontext() if is_down else self.descent.averages.applied():
            self.beside = size - student.refresh_rates() / 8
        student.refresh_rates()

    def _file_of(self, values: list[torch.Tensor], price: float) -> PricedModel:
        """Return the file that parameters give."""
        student = self.descent.student
        with self.descent.averages.applied(values):
            tensors = {name: weight.quantized() for name, weight in student.weights.items()}
            biases = student.file_biases()
        return self.task.code(price, tensors, biases, self.start.bias_step)

    def _save(self) -> None:
        self.saved_at = time.monotonic()
        checks = [self.first, *self.checks]
        self.checkpoint.write({
            **self.descent.state(),
            "steps": self.schedule.steps,
            "halved": list(self.schedule.halved),
            "level": self.level,
            "last": self.last,
            **self.price.state(),
            "strategy": self.strategy.name,
            "coarser": self.strategy.coarser,
            "begun": self.begun,
            "calibrated_price": self.calibrated_price,
            "beside": self.beside,
            "best": self.best,
            "best_coarser": self.best_coarser,
            "best_number": checks.index(self.found),
            "checks": json.dumps([one.to_dict() for one in checks]),
            "seconds": self.seconds + time.monotonic() - self.began,
        })  # fmt: skip

    def _resume(self, saved: Mapping[str, Any], placement: Placement) -> bool:
        """Go on from a checkpoint; False, with a warning, where it does not fit."""
        try:
            checks = [RetrainingCheck.from_dict(row) for row in json.loads(saved["checks"])]
            strategy, self.begun = strategy_named(saved["strategy"]), list(map(float, saved["begun"]))
            self.best, self.best_coarser = saved["best"], float(saved["best_coarser"])
            self.found, self.calibrated_price = checks[saved["best_number"]], float(saved["calibrated_price"])
            coarser = float(saved["coarser"])
            for one in dict.fromkeys((coarser if self.best is None else self.best_coarser, coarser)):
                self._set_out(replace(strategy, coarser=one), placement)
                if self.best is not None and one == self.best_coarser:
                    self.outcome = self._file_of(self.best, self.found.price)
            self.descent.restore(saved)
            self.schedule = Schedule(int(saved["steps"]), tuple(map(int, saved["halved"])))
            self.level, self.last = float(saved["level"]), float(saved["last"])
            self.price.restore(saved)
            self.beside, self.seconds = float(saved["beside"]), float(saved["seconds"])
        except (ValueError, KeyError, TypeError, IndexError) as error:
            warnings.warn(f"retraining starts anew: the checkpoint does not fit ({error})", stacklevel=2)
            return False
        self.first, *self.checks = checks
        return True

    def control(self) -> RetrainingControl | None:
        """Train as long without rounding, and judge that; None, with a warning, where that is interrupted."""
        self._save()  # the training is done, and stays so if this one is killed
        try:
            return train_control(
                self.task, self.settings, self.schedule, self.teacher, self.images, self.descent.placement,
                self.strategy,
            )  # fmt: skip
        except Terminated:
            raise
        except KeyboardInterrupt:
            warnings.warn("interrupted: the file is finished, and no control is told of", stacklevel=2)
            return None

    def result(self, ended: str, control: RetrainingControl | None) -> Retrained:
        """Return what was found."""
        per_epoch = self.images.steps_per_epoch
        return Retrained(
            outcome=self.outcome,
            best=self.found,
            start=self.first,
            checks=tuple(self.checks),
            images=self.descent.step * self.settings.batch,
            epochs=self.descent.step / per_epoch,
            planned_epochs=self.schedule.steps / per_epoch,
            halvings=len(self.schedule.halved),
            strategy=self.strategy.name,
            label_weight=0.0 if self.images.labels is None else self.images.labels.share,
            seconds=self.seconds + time.monotonic() - self.began,
            ended=ended,
            control=control,
        )
