"""Where training starts: calibrated levels, in a network that is otherwise the calibrated file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from enxuto.compression.at_price import bias_step_at
from enxuto.compression.retrainer import RetrainingTask
from enxuto.compression.selection import matching_names, quantizable_weights
from enxuto.errors import ModelError
from enxuto.quantize.tensor import QuantizedTensor
from enxuto.retraining.strategy import Strategy
from enxuto.retraining.student import Student

__all__ = ["Start", "start_of"]

_FEWEST_BITS = 1.0  # a weight, whose steps are those that a control is trained in at most
_TRIES, _NEAR = 6, 0.02  # how often a price is looked for that gives the size, and how near is near enough
_BIAS_STEP = 2.0  # times the one of calibrated files: training makes up for its errors


@dataclass(frozen=True)
class Start:
    """The network in training, the first price of a bit in nats, and the step of biases."""

    student: Student
    price: float
    bias_step: float


def start_of(task: RetrainingTask, strategy: Strategy, *, rounded: bool = True) -> Start:
    """Return the start of a task; `ModelError` where nothing of the model can be trained.

    rounded: False for the control, which starts from the original, on the grids of `strategy`.
    """
    calibration = task.calibration
    model = calibration.model
    decoded = task.start.model.to_model() if rounded else model
    exact = matching_names(model, task.settings.keep_exact)
    biases = {
        layer.bias: decoded.load(layer.bias)
        for layer in calibration.layers
        if layer.bias is not None and layer.bias not in exact
    }
    price, levels = _levels_of(task, biases, strategy, to_size=rounded)
    step = _bias_step(task, price)
    if rounded:
        corrected = calibration.correct_biases(levels)
        biases = {name: corrected.get(name, bias) for name, bias in biases.items()}
    weights = {name: model.load(name) for name in levels}
    measured = calibration.judged_outputs.measured(decoded)
    shape = task.images.shape[1:]
    student = Student(measured, weights, levels, biases, step, rounded=rounded, shape=shape)
    if not student.weights:
        raise ModelError("no weight of this model can be retrained", code="E036")
    return Start(student, price, step)


def _bias_step(task: RetrainingTask, price: float) -> float:
    return _BIAS_STEP * bias_step_at(task.calibration, price)


def _levels_of(
    task: RetrainingTask, biases: Mapping[str, np.ndarray], strategy: Strategy, *, to_size: bool
) -> tuple[float, dict[str, QuantizedTensor]]:
    """Return the price, and the levels, that training starts at.

    With a bound on the size these are calibrated levels of that size, or of a larger one: training that had to come
    down to it would first lose what calibration knows. Else the price is somewhat above the calibrated file's.
    """
    calibration, most = task.calibration, task.bounds.max_bytes
    names = quantizable_weights(calibration.model, task.settings.roles, task.settings.keep_exact)
    if most is None or not to_size:
        price = strategy.coarser * task.start.price
        if not to_size:  # of a file of next to no bits steps are so large that nothing is learned in them
            price = min(price, calibration.price_of_bits(_FEWEST_BITS))
        return price, calibration.round_at(price, names, trellis=strategy.trellis)
    aim, price, known = strategy.larger * most, task.start.price, list[tuple[float, float]]()
    for number in range(_TRIES):
        levels = calibration.round_at(price, names, trellis=strategy.trellis)
        size = task.code(price, levels, biases, _bias_step(task, price)).model.file_bytes
        if -_NEAR < math.log(size / aim) <= 0 or number == _TRIES - 1:
            break
        known.append((math.log(price), math.log(size)))
        price = math.exp(_next_price(known, math.log(aim) - _NEAR / 2))
    return price, levels


def _next_price(known: Sequence[tuple[float, float]], aim: float) -> float:
    """Return the logarithm of a price at which the logarithm of the size should be `aim`, by the last two tries."""
    now, size = known[-1]
    before, first = known[-2] if len(known) > 1 else (now - 1, size + 0.25)
    slope = min(-0.05, (size - first) / (now - before)) if now != before else -0.25
    return now + min(2.0, max(-2.0, (aim - size) / slope))
