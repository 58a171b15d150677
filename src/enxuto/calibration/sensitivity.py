"""How much the answers of a model change for an error in each of its layers.

One layer at a time is rounded as it will be, at 2.5 bits a weight (of models of values also at 4, see
`sensitivity_curve`), and the Kullback–Leibler divergence of the softmax of the scores is measured on some images. That
divergence over tr(G E H Eᵀ), which the second moments predict for the same errors, is the layer's sensitivity, in nats.
It puts the losses of all layers on one scale, and with them steps at equal slope. Where gradients are known, half their
Fisher information is an estimate of it. On some networks the estimate is good within a factor of two; on others it
misses what errors at all positions of an image do together (four fifths of the loss of EfficientNet-Lite0's last
convolutions). It is better than a measurement that few images decide. So a layer's sensitivity lies between the two,
the nearer to what was measured the more images agree on it (`blend_sensitivities`). (Random errors instead of those of
rounding measure something else: they hit the mean input, which rounding with feedback spares. On ResNet-20 steps from
them cost 0.1 bits per weight more.)

Source: per-tensor sensitivities as in HAWQ (Dong et al. 2019, arXiv:1905.03696), measured instead of derived.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from enxuto.calibration.allocation import Spacing, price_of_bits
from enxuto.calibration.layers import LinearLayer
from enxuto.calibration.moments import group_of
from enxuto.calibration.partial_runs import PartialRuns
from enxuto.calibration.sensitivity_curve import SensitivityCurve
from enxuto.calibration.sequences import run_sequence, sequence_runner
from enxuto.data.samples import Group
from enxuto.errors import DataError
from enxuto.machine.processors import processors
from enxuto.machine.workers import workers
from enxuto.metrics.losses import OutputLoss
from enxuto.onnx_model import Model
from enxuto.progress import ItemProgress, ProgressCounter
from enxuto.runtime import Runner

__all__ = [
    "BITS",
    "BITS_OF_VALUES",
    "LOSS_BAND",
    "References",
    "blend_sensitivities",
    "losses_of_groups",
    "measure_sensitivities",
    "model_loss",
    "run_groups",
]

BITS = (2.5,)
"""A weight: the size at which layers of classifiers are measured."""

BITS_OF_VALUES = (4.0, 2.5)
"""Likewise of other models, whose layers are less alike at different sizes."""

LOSS_BAND = (
    1e-3,
    0.1,
)  # nats, for the search without gradients: above noise, small enough for a quadratic law
_PARTS = 10  # of the images, left out in turn to see how much is chance
_LEAST = 1e-2  # of the mean: what the other parts may say at least
_TRIALS = 4
_LANES = 4  # layers that are measured at once: each holds what its stage has computed, and a model
_TAIL_BYTES = 1 << 29  # of these models' weights, which each of them holds some three times
_FIRST = 0.5  # root mean square of the first steps of that search, of the weights' own

Float64 = npt.NDArray[np.float64]


References: TypeAlias = Sequence[Sequence[np.ndarray]]
"""What the original gives: for every group of samples its outputs."""


def run_groups(
    model: Model, groups: Sequence[Group], *, batch: int = 8, threads: int = 0
) -> list[list[np.ndarray]]:
    """Return a model's outputs for every group of samples, `batch` of which are run at a time; for all of its steps."""
    runner = Runner(model, threads=threads)
    names = [item.name for item in model.proto.graph.output]
    found = []
    for group in groups:
        if group.feedback:
            found.append(run_sequence(sequence_runner(model, group, threads=threads), group, names))
            continue
        parts = [runner.values(part.feeds, names) for part in group.parts(batch)]
        found.append(
            [_joined(name, pieces) for name, pieces in zip(names, zip(*parts, strict=True), strict=True)]
            if len(parts) > 1
            else [value.copy() for value in parts[0]]  # what a session gives keeps all of its memory
        )
    return found


def _joined(name: str, pieces: Sequence[np.ndarray]) -> np.ndarray:
    """Return an output of all samples from those of a few each; `DataError` where it has no rows that go together."""
    if any(not piece.ndim for piece in pieces) or len({piece.shape[1:] for piece in pieces}) > 1:
        shapes = ", ".join(dict.fromkeys(str(piece.shape) for piece in pieces))
        raise DataError(
            f"output {name!r} has no row for each sample (its shapes are {shapes}); run the samples one at a time",
            code="E044",
        )
    return np.concatenate(pieces)


def model_loss(
    model: Model,
    groups: Sequence[Group],
    references: References,
    losses: Sequence[OutputLoss],
    *,
    batch: int = 8,
    threads: int = 0,
) -> float:
    """Return the mean loss of a model's outputs for groups of samples; NaN where any is no number."""
    found = run_groups(model, groups, batch=batch, threads=threads)
    return float(np.maximum(losses_of_groups(groups, references, found, losses), 0).mean())


def losses_of_groups(
    groups: Sequence[Group], references: References, found: References, losses: Sequence[OutputLoss]
) -> Float64:
    """Return the loss (N,) of every sample, the weighted mean over outputs."""
    total = sum(loss.weight for loss in losses)
    each = []
    for group, before, after in zip(groups, references, found, strict=True):
        parts = [
            loss.each(one, other, group.count) * (loss.weight / total)
            for loss, one, other in zip(losses, before, after, strict=True)
        ]
        each.append(parts[0] if len(parts) == 1 else np.sum(parts, axis=0))
    return np.concatenate(each)


def measure_sensitivities(
    model: Model,
    spacings: Sequence[Spacing],
    samples: Sequence[Group] | np.ndarray,
    reference: References | np.ndarray,
    *,
    losses: Sequence[OutputLoss] | None = None,
    bits: Sequence[float] = BITS,
    threads: int = 0,
    progress: ItemProgress | None = None,
) -> dict[str, SensitivityCurve]:
    """Return, by weight name, the divergence in nats per unit of tr(G E H Eᵀ), at the price of every size.

    Args:
        model: gives logits.
        spacings: of the layers. The sensitivities of their curvatures come from gradients, or are 0 without.
        samples: groups, or images (N, …).
        reference: the outputs of every group, or (N, C), the model's logits for the images.
        losses: of the outputs, by default the divergence of the first.
        bits: a weight: the sizes at which it is measured, the largest first.
        threads: of ONNX Runtime; 0 is its own default.
        progress: called with (work done, work in all): a run from a layer on is as much as there are layers left.

    A layer whose errors are lost in float32's noise keeps the sensitivity from gradients.
    """
    name = model.proto.graph.output[0].name
    groups = [group_of(model, samples)] if isinstance(samples, np.ndarray) else samples
    references = [[reference]] if isinstance(reference, np.ndarray) else reference
    meter = _Meter(model, groups, references, losses or (OutputLoss(name, "classes", name),), threads)
    expected = {one.curvature.layer.weight: one.curvature.sensitivity for one in spacings}
    unknown = [one for one in spacings if not one.curvature.sensitivity]
    done = ProgressCounter(_TRIALS * _work(len(unknown)) + len(bits) * _work(len(spacings)), progress)
    for number, (spacing, scores) in enumerate(meter.each_layer(unknown)):
        expected[spacing.curvature.layer.weight] = meter.search(spacing, scores)
        done.add(_TRIALS * (len(unknown) - number))
    ready = _with(spacings, expected)
    weights = [model.load(one.curvature.layer.weight) for one in ready]
    prices = sorted({price_of_bits(ready, weights, size) for size in bits})
    measured: list[dict[str, Float64]] = [{} for _ in prices]
    for number, (spacing, found) in enumerate(meter.measured_at(ready, prices)):
        name = spacing.curvature.layer.weight
        for of_price, each in zip(measured, found, strict=True):
            if 0 < each.mean() < math.inf and expected[name] > 0:
                of_price[name] = each
        done.add(len(bits) * (len(ready) - number))
    blended = [_blended(model, expected, of_price) for of_price in measured]
    if len(prices) > 1:  # what was measured gives other steps at a price, and so the same size at another one
        sizes = sorted(bits, reverse=True)
        prices = [
            price_of_bits(_with(spacings, one), weights, size)
            for one, size in zip(blended, sizes, strict=True)
        ]
        if prices != sorted(set(prices)):
            prices, blended = prices[-1:], blended[-1:]
    return {
        name: SensitivityCurve(tuple(prices), tuple(of_price[name] for of_price in blended))
        for name in expected
    }


def _with(spacings: Sequence[Spacing], sensitivities: Mapping[str, float]) -> list[Spacing]:
    """Return the spacings with other sensitivities."""
    return [
        Spacing(
            one.curvature.with_sensitivity(sensitivities[one.curvature.layer.weight]), one.rows, one.columns
        )
        for one in spacings
    ]


def _blended(
    model: Model, expected: Mapping[str, float], measured: Mapping[str, Float64]
) -> dict[str, float]:
    """Return what is expected of layers, where it was measured between both."""
    if not measured:
        return dict(expected)
    guesses = np.array([expected[name] for name in measured])
    sizes = np.array([model.info(name).elements for name in measured], np.float64)
    found = blend_sensitivities(guesses, np.stack(list(measured.values())), sizes)
    return {**expected, **dict(zip(measured, found.tolist(), strict=True))}


def _work(layers: int) -> int:
    """Return the layers run where the first needs a run of all, the next of one less, …"""
    return layers * (layers + 1) // 2


def blend_sensitivities(guesses: Float64, measured: Float64, sizes: Float64) -> Float64:
    """Return sensitivities between estimates from gradients and measurements, by how far images agree.

    The mean measurement of a layer differs from its guess by the guess's error and by chance. A jackknife over parts of
    the images estimates chance. The rest of the variance between layers, in logarithms, is the guesses' error; its
    share of the whole variance is the weight of the measurements. What all layers have in common is always taken from
    the measurements.

    Args:
        guesses: (L,), from gradients, by layer, in nats per unit of tr(G E H Eᵀ).
        measured: (L, N), by layer and image, N at least 2; each layer's mean is above 0.
        sizes: (L,), numbers of weights; a layer counts by its own.

    Returns:
        (L,), all above 0.

    Source: James & Stein 1961 as empirical Bayes (Efron & Morris 1973).
    """
    shares = sizes / sizes.sum()
    means = measured.mean(axis=1)
    differences = np.log(means / guesses)
    common = float(shares @ differences)
    spread = float(shares @ (differences - common) ** 2)
    parts = np.array_split(measured, min(measured.shape[1], _PARTS), axis=1)
    totals = measured.sum(axis=1)
    left = [(totals - part.sum(axis=1)) / (measured.shape[1] - part.shape[1]) for part in parts]
    logs = np.log(np.maximum(np.stack(left, axis=1) / means[:, None], _LEAST))  # layers, parts left out
    logs -= shares @ logs
    chance = (len(parts) - 1) * float(shares @ logs.var(axis=1))
    weight_of_measurement = max(0.0, 1 - chance / spread) if spread > 0 else 1.0
    return np.asarray(guesses * np.exp(common + weight_of_measurement * (differences - common)), np.float64)


_Scores: TypeAlias = Callable[[Mapping[str, np.ndarray]], list[list[np.ndarray]]]
"""From weights that replace the model's own to the outputs of every group."""


@dataclass(frozen=True)
class _Meter:
    """Measures how far errors in one layer move the scores from the reference."""

    model: Model
    groups: Sequence[Group]
    references: References
    losses: Sequence[OutputLoss]
    threads: int

    def measured_at(
        self, spacings: Sequence[Spacing], prices: Sequence[float]
    ) -> Iterator[tuple[Spacing, list[Float64]]]:
        """Yield each layer with every sample's divergence per cost (N,) at each price: several layers side by side."""
        threads = self.threads or processors()
        lanes = max(1, min(threads, _LANES, _TAIL_BYTES // max(1, self.model.size_bound())))
        waiting: deque[tuple[Spacing, Future[list[Float64]]]] = deque()
        alone = replace(self, threads=max(1, threads // lanes))
        with workers(lanes) as pool:
            for spacing, scores in alone.each_layer(spacings):
                steps = [spacing.step_off_trellis(price) for price in prices]
                waiting.append((spacing, pool.submit(self._each_at, spacing, steps, scores)))
                if len(waiting) >= lanes:  # each holds the values of a stage
                    done, each = waiting.popleft()
                    yield done, each.result()
            for done, each in waiting:
                yield done, each.result()

    def _each_at(self, spacing: Spacing, steps: Sequence[float], scores: _Scores) -> list[Float64]:
        return [self.divergences_per_cost(spacing, step, scores)[0] for step in steps]

    def each_layer(self, spacings: Sequence[Spacing]) -> Iterator[tuple[Spacing, _Scores]]:
        """Yield each layer in the order of execution, with a function from replaced weights to scores."""
        if spacings:
            runs = PartialRuns(self.model, [spacing.curvature.layer.before for spacing in spacings])
            yield from zip(spacings, runs.tails_of_groups(self.groups, threads=self.threads), strict=True)

    def search(self, spacing: Spacing, scores: _Scores) -> float:
        """Return the sensitivity at steps for which the divergence is above noise and small enough to be quadratic."""
        weight = self.model.load(spacing.curvature.layer.weight)
        scale = _FIRST * math.sqrt(float(np.mean(np.square(weight.astype(np.float64)))))
        best = 0.0
        for _ in range(_TRIALS if scale > 0 else 0):
            each, cost = self.divergences_per_cost(spacing, scale, scores)
            found = float(each.mean()) * cost
            best = max(float(each.mean()), 0.0)
            if LOSS_BAND[0] <= found <= LOSS_BAND[1]:
                break
            scale *= min(4.0, max(0.1, math.sqrt(math.sqrt(LOSS_BAND[0] * LOSS_BAND[1]) / max(found, 1e-12))))
        return best

    def divergences_per_cost(self, spacing: Spacing, step: float, scores: _Scores) -> tuple[Float64, float]:
        """Round at a step; return each image's divergence (N,) per cost, and the cost; zeros where it costs nothing."""
        layer = spacing.curvature.layer
        disturbed, cost = _round_layer(spacing, layer, self.model.load(layer.weight), step)
        if cost <= 0:
            return np.zeros(sum(group.count for group in self.groups)), 0.0
        found = scores({layer.weight: disturbed})
        return losses_of_groups(self.groups, self.references, found, self.losses) / cost, cost


def _round_layer(
    spacing: Spacing, layer: LinearLayer, weight: np.ndarray, step: float
) -> tuple[np.ndarray, float]:
    """Return the weight rounded at a step, and tr(G E H Eᵀ)."""
    matrix = layer.matrix(weight)
    rows, columns = spacing.relative_steps()
    levels = spacing.curvature.round(matrix, rows * step, columns)
    if levels is None:
        return weight, 0.0
    values = np.empty(matrix.shape, weight.dtype)
    # A block at a time: a whole layer is large in double precision.
    for group in range(len(values)):
        for top, bottom in spacing.curvature.output_bounds():
            steps = (rows[group, top:bottom] * step)[:, None] * columns[group]
            values[group, top:bottom] = levels[group, top:bottom] * steps
    return layer.restore(values, weight.shape), spacing.curvature.cost(matrix, values)
