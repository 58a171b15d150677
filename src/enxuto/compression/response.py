"""What synthetic inputs say of a network: how far its outputs move, and with it how long its steps may be.

The promise of the default is a signal-to-noise ratio of 40 dB, or 99 % of the answers. Answers are counted too coarsely
by a few samples, so that their divergence stands for them. Weights are moved at random by as much as their steps would
move them, some tensors at a time, and all of them at once. The first tells which steps may be longer than others, at
equal slope; the second by how much all of them are to be scaled. Losses grow with the square of the steps. All factors
are powers of 2^¼, so that other processors, whose runs differ in the last digits, choose the same ones.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from enxuto.calibration.outputs import run_together
from enxuto.calibration.straight_model import straighten
from enxuto.calibration.synthetic_inputs import synthetic_inputs
from enxuto.calibration.untaken import untaken_weights
from enxuto.compression.judge import Judgement
from enxuto.compression.output_judge import OutputJudge
from enxuto.data import Preprocess
from enxuto.data.samples import Samples
from enxuto.errors import DataError, EnxutoError
from enxuto.onnx_model import Model, Role
from enxuto.onnx_model.scopes import scopes
from enxuto.opening import onnx_metadata, preprocess_of
from enxuto.quantize.scalar import DeadZone
from enxuto.quantize.schemes import BalancedSteps, MeasuredSteps, NetworkStats, Scheme, TensorStats

__all__ = ["NoiseMeter", "Response", "find_response", "loss_of", "measure_steps", "spread_steps"]

_ALLOWED_DIVERGENCE = (
    5e-4  # nats: one answer in a hundred changes at about that (docs/decisions/measured-steps.md)
)
_ALLOWED_ERROR = 0.8e-4  # of outputs' variance: 41 dB
_FEW_SCORES = 10  # rows of fewer scores without a softmax may be values as well
_GROUPS = 12  # of tensors, that are moved apart from the others
_FACTOR = 4.0  # on steps, where one group is moved: what it does stands out from rounding of float32
_DRAWS = 2
_TRIALS = 5
_RUINED = 100.0  # 0.05 nats, or 21 dB
_MOST_ROUNDS = 1024  # of a Loop in a model that is run
_LARGEST = 1 << 30  # bytes of a model that is run some thirty times
_FINEST, _COARSEST = -24, 4  # quarter octaves on all steps
_MOST = 6  # quarter octaves of a group against the others
_TRUST = 0.7  # how far one draw's ratio of losses is followed


class Response:
    """A model's outputs on synthetic inputs, and what other weights make of them.

    inputs: what is fed, in words. samples: how many. untaken: which weights these do not reach, in words, or "". Raises
    `UsageError` or `ModelError` where the model runs on nothing tried or has no output that can be judged.
    """

    def __init__(
        self, model: Model, preprocess: Preprocess | None = None, *, threads: int = 0, many: bool = False
    ) -> None:
        """many: as in `synthetic_inputs`."""
        self._judge: OutputJudge
        self._model, self._threads = model, threads
        found = synthetic_inputs(model, preprocess, threads=threads, many=many, accept=self._can_judge)
        self.inputs = found.description
        samples = self._judge.samples
        self.samples = len(samples)
        self.untaken = untaken_weights(model, straighten(model, samples.groups(), threads=threads)) or ""

    def _can_judge(self, samples: Samples) -> bool:
        """Keep a judge on these samples; say whether all that it measures of the original is finite."""
        model, threads = self._model, self._threads
        try:
            try:
                judge = OutputJudge(model, samples, threads=threads)
            except DataError:  # outputs that are picked have no row for each sample
                samples = run_together(model, samples, threads=threads)
                judge = OutputJudge(model, samples, threads=threads)
        except DataError as error:
            if error.code == "E035":  # NaN or infinity, of what is judged in an output's place
                return False
            raise
        judged = judge.judged_outputs
        few = judged.answers is not None and judged.answers.classes < _FEW_SCORES
        if few and judged.answers is not None and not judged.answers.operator:
            choices = {judged.losses[0].name: ("values", 1.0)}
            judge = OutputJudge(model, samples, choices, threads=threads)
        self._judge = judge
        return judge.is_finite()

    def judge(self, model: Model) -> Judgement:
        """Return how the outputs of a model compare with the original's."""
        return self._judge.compare(self._judge.judged_outputs.measured(model))

    def uncertainties(self) -> tuple[float, ...]:
        """Return how unsure the original's answers are, for each output."""
        return self._judge.uncertainties()

    def doubt(self, judged: Judgement, kept: str) -> str | None:
        """Return what to say of a file whose outputs are far from the original's; None where they are near.

        kept: what its outputs keep, in words (`Promise.describe`).
        """
        if loss_of(judged) <= _RUINED:
            return None
        figures = kept if judged.snr_db is None else f"SNR {kept}"  # which then begins with decibels
        figures += "" if judged.agreement is None else f", KL {judged.kl:.3g} nats"
        return (
            f"this size may ruin the model: on synthetic inputs ({self.inputs}) its outputs keep {figures}; "
            "give inputs of the model's own kind to calibrate by (calibration= or data=), or more bits"
        )


def find_response(
    model: Model, metadata: Mapping[str, Any], *, threads: int = 0, many: bool = False
) -> tuple[Response | None, str]:
    """Return a model's response, and None with the reason where it has none.

    metadata: of the file to be made; its preprocessing, or what the model carries, makes inputs of images.
    many: as in `synthetic_inputs`.
    """
    if model.size_bound() > _LARGEST:
        return None, "it is too large to be run for this"
    if any(_may_not_end(model, node) for scope in scopes(model.proto) for node in scope.body.node):
        return None, "it has a Loop, which may run without end"
    preprocess = preprocess_of(dict(metadata)) or preprocess_of(onnx_metadata(model))
    try:
        return Response(model, preprocess, threads=threads, many=many), ""
    except MemoryError:
        return None, "there is not enough memory to run it"
    except EnxutoError as error:
        return None, str(error)


def _may_not_end(model: Model, node: NodeProto) -> bool:
    """Say whether a node is a Loop whose rounds are not bounded by a small constant of the main graph."""
    if node.op_type != "Loop":
        return False
    name = node.input[0] if node.input else ""
    if name in model and model.info(name).elements == 1:
        return int(model.load(name).reshape(-1)[0]) > _MOST_ROUNDS
    return True


def loss_of(judgement: Judgement) -> float:
    """Return a judgement's loss in units of what the default may lose; infinite for outputs that are no numbers."""
    parts = []
    if judgement.agreement is not None:
        parts.append(judgement.kl / _ALLOWED_DIVERGENCE)
    if judgement.values_loss is not None:
        parts.append(judgement.values_loss / _ALLOWED_ERROR)
    return math.inf if any(math.isnan(part) for part in parts) else max(parts)


@dataclass
class NoiseMeter:
    """Moves weights at random, as far as steps of a scheme would, and measures what outputs make of it."""

    model: Model
    response: Response
    tensors: Mapping[str, TensorStats]
    network: NetworkStats

    def loss(self, scheme: Scheme, names: Sequence[str], draw: int = 0) -> float:
        """Return the loss with these tensors moved."""
        return loss_of(self._judged(scheme, names, draw))

    def mean_loss(self, scheme: Scheme, draws: int) -> float:
        """Return the mean loss over several draws of noise, with all tensors moved."""
        return float(np.mean([loss_of(judged) for judged in self.judgements(scheme, draws)]))

    def judgements(self, scheme: Scheme, draws: int) -> list[Judgement]:
        """Return how outputs compare for several draws of noise, with all tensors moved."""
        return [self._judged(scheme, list(self.tensors), draw) for draw in range(draws)]

    def _judged(self, scheme: Scheme, names: Sequence[str], draw: int) -> Judgement:
        moved = {name: self._moved(scheme, name, draw) for name in names}
        return self.response.judge(self.model.replace_weights(moved))

    def _moved(self, scheme: Scheme, name: str, draw: int) -> NDArray[np.generic]:
        quantizer = scheme.quantizer(self.tensors[name], self.network)
        assert isinstance(quantizer, DeadZone), "balanced steps are those of a dead-zone quantizer"
        weight = self.model.load(name)
        steps = np.asarray(quantizer.step, np.float32)
        if steps.ndim:
            steps = steps.reshape([-1 if axis == quantizer.axis else 1 for axis in range(weight.ndim)])
        generator = np.random.default_rng([draw, zlib.crc32(name.encode())])
        noise = (generator.random(weight.shape, np.float32) - np.float32(0.5)) * steps
        return np.asarray(weight + noise.astype(weight.dtype), weight.dtype)


def measure_steps(
    meter: NoiseMeter, base: BalancedSteps, progress: Callable[[int, int], None] | None = None
) -> MeasuredSteps:
    """Return balanced steps with a factor for each tensor, with which the response just keeps the promise.

    Args:
        meter: of the model's response.
        base: the steps that factors are taken of.
        progress: called with runs done and of how many.
    """
    tell = progress or (lambda done, of: None)
    groups = len(_groups(meter.tensors))
    total = groups + _DRAWS * _TRIALS
    spread = spread_steps(meter, base, lambda done, of: tell(done, total))
    power, tried = 0, dict[int, float]()
    for trial in range(_TRIALS):
        tell(groups + _DRAWS * trial, total)
        tried[power] = meter.mean_loss(spread.scale_steps(2.0 ** (power / 4)), _DRAWS)
        power = _next_power(tried, power)
        if power in tried:
            break
    fits = [power for power, loss in tried.items() if loss <= 1]
    best = max(fits) if fits else min(tried)
    tell(total, total)
    return spread.scale_steps(2.0 ** (best / 4))


def spread_steps(
    meter: NoiseMeter, base: BalancedSteps, progress: Callable[[int, int], None] | None = None
) -> MeasuredSteps:
    """Return balanced steps with a factor for each tensor, at which further bits gain as much in all of them.

    The arguments are those of `measure_steps`.
    """
    groups = _groups(meter.tensors)
    losses = []
    for number, names in enumerate(groups):
        if progress is not None:
            progress(number, len(groups))
        losses.append(meter.loss(base.scale_steps(_FACTOR), names))
    return MeasuredSteps(base, _exponents(groups, losses, meter.tensors))


def _next_power(tried: Mapping[int, float], power: int) -> int:
    """Return the power to try after this one: where the loss is 1 if it grows with the square, between known ones."""
    loss = tried[power]
    step = -2 * math.log2(loss) if 0 < loss < math.inf else (8 if loss == 0 else -8)
    wanted = power + (math.floor(step) if loss <= 1 else min(-1, math.floor(step)))
    wanted = min(_COARSEST, max(_FINEST, wanted))
    worse = [other for other, lost in tried.items() if lost > 1]
    return min(wanted, min(worse) - 1) if loss <= 1 and worse else wanted


def _groups(tensors: Mapping[str, TensorStats]) -> list[list[str]]:
    """Return the tensors by themselves, or neighbours of the same role together where there are many.

    Biases are left out: they are too small for other factors to save much.
    """
    tensors = {name: tensor for name, tensor in tensors.items() if tensor.info.role is not Role.BIAS}
    if len(tensors) <= _GROUPS:
        return [[name] for name in tensors]
    alike: dict[tuple[str, bool], list[str]] = {}
    for name, tensor in tensors.items():
        shape = tensor.info.shape
        alike.setdefault((str(tensor.info.role), math.prod(shape[2:]) > 1), []).append(name)
    found = []
    for several in alike.values():
        parts = max(1, round(_GROUPS * len(several) / len(tensors)))
        found += [list(part) for part in np.array_split(np.array(several, object), parts)]
    return found


def _exponents(
    groups: Sequence[Sequence[str]], losses: Sequence[float], tensors: Mapping[str, TensorStats]
) -> dict[str, int]:
    """Return quarter octaves by name: at equal slope a group's loss is as its number of weights."""
    sizes = np.array([sum(tensors[name].info.elements for name in names) for names in groups], float)
    each = np.asarray(losses, float)
    usable = np.isfinite(each) & (each > 0)
    if usable.sum() < 2:
        return {}
    logs = np.log2(sizes[usable] / each[usable]) * 2 * _TRUST  # 4 · log2 √
    middle = float(np.average(logs, weights=sizes[usable]))
    rounded = np.clip(np.rint(logs - middle), -_MOST, _MOST).astype(int)
    known = iter(rounded.tolist())
    return {
        name: exponent
        for names, exponent in zip(groups, [next(known) if one else 0 for one in usable], strict=True)
        for name in names
        if exponent
    }
