"""The control of a retraining: the original trained as long in the same way, without rounding and without a price.

What it changes is the training's own doing, not that of fewer bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from enxuto.compression.retrainer import RetrainingControl, RetrainingTask
from enxuto.importing.network import OnnxNetwork
from enxuto.onnx_model import Model
from enxuto.retraining.descent import Descent
from enxuto.retraining.features import features_of
from enxuto.retraining.images import TrainingImages
from enxuto.retraining.schedule import Schedule
from enxuto.retraining.settings import Retraining
from enxuto.retraining.start import start_of
from enxuto.retraining.strategy import Strategy
from enxuto.train.placement import Placement

__all__ = ["train_control"]


@dataclass(frozen=True)
class _Unrounded:
    """A model where a compressed one is expected."""

    model: Model

    def to_model(self) -> Model:
        """Return the model."""
        return self.model


def train_control(
    task: RetrainingTask,
    settings: Retraining,
    schedule: Schedule,
    teacher: OnnxNetwork,
    images: TrainingImages,
    placement: Placement,
    strategy: Strategy,
) -> RetrainingControl:
    """Train the original as `schedule` and `strategy` say, and judge the averages of what it learned."""
    student = start_of(task, strategy, rounded=False).student
    rate = strategy.rate * settings.rate
    losses = task.calibration.judged_outputs.losses
    features = features_of(task.read, student.network, teacher)
    descent = Descent(
        student, teacher, images, losses, rate, placement, features=(features, settings.features)
    )
    while descent.step < schedule.steps and descent.learn(schedule, 0.0):
        if task.settings.progress is not None:
            task.settings.progress("training the control", descent.step, schedule.steps)
    with descent.averages.applied():
        values = student.values()
    judged = task.judge(cast(Any, _Unrounded(task.calibration.model.replace_weights(values))))
    return RetrainingControl(judged.agreement, judged.kl, judged.top1)
