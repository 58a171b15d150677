"""Where training starts: the calibrated levels, off the trellis, in a network that is otherwise the calibrated file."""

from __future__ import annotations

from dataclasses import dataclass

from enxuto.compression.at_price import bias_step_at
from enxuto.compression.retrainer import RetrainingTask
from enxuto.compression.selection import matching_names, quantizable_weights
from enxuto.errors import ModelError
from enxuto.retraining.student import Student

__all__ = ["Start", "start_of"]

_MOST_BITS = 1.5  # a weight: a coarser file is approached from here
_BIAS_STEP = 2.0  # times the one of calibrated files: training makes up for its errors


@dataclass(frozen=True)
class Start:
    """The network in training, the first price of a bit in nats, and the step of biases."""

    student: Student
    price: float
    bias_step: float


def start_of(task: RetrainingTask, *, rounded: bool = True) -> Start:
    """Return the start of a task; `ModelError` where nothing of the model can be trained.

    rounded: False for the control, which starts from the original.
    """
    calibration = task.calibration
    price = task.start.price
    if task.bounds.max_bytes is not None:
        price = min(price, calibration.price_of_bits(_MOST_BITS))
    model = calibration.model
    names = quantizable_weights(model, task.settings.roles, task.settings.keep_exact)
    exact = matching_names(model, task.settings.keep_exact)
    levels = calibration.round_at(price, names, trellis=False)
    step = _BIAS_STEP * bias_step_at(calibration, price)
    decoded = task.start.model.to_model() if rounded else model
    biases = {
        layer.bias: decoded.load(layer.bias)
        for layer in calibration.layers
        if layer.bias is not None and layer.bias not in exact
    }
    weights = {name: model.load(name) for name in levels}
    measured = calibration.judged_outputs.measured(decoded)
    student = Student(measured, weights, levels, biases, step, rounded=rounded)
    if not student.weights:
        raise ModelError("no weight of this model can be retrained", code="E036")
    return Start(student, price, step)
