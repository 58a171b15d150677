"""How much the answers of a model change for an error in each of its layers.

One layer at a time is rounded as it will be, at some two and a half bits a weight, and the Kullback–Leibler
divergence of the softmax of the scores is measured on some images. Divided by what the second moments say of the same
errors, tr(G E H Eᵀ), that is one number per layer, in nats: it puts the layers' losses on one scale, and with them
steps at equal slope. Where gradients are known, half their Fisher information is a guess at that number, good within a
factor of two on some networks; on others it misses what errors at all positions of an image do together: four fifths
of the loss of EfficientNet-Lite0's last convolutions. Where few images decide what is measured, it is better than that.
So layers lie between the two, the nearer to what was measured the more images agree on it (`weighed`). (Random errors
instead of those of rounding measure something else: they hit the mean input, which rounding with feedback spares. On
ResNet-20 steps from them cost 0.1 bits per weight more.)

Source: per-tensor sensitivities as in HAWQ (Dong et al. 2019, arXiv:1905.03696), measured instead of derived.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from enxuto.calibration.allocation import Spacing, price_of_bits
from enxuto.calibration.layers import Layer
from enxuto.calibration.partial_runs import Stages
from enxuto.metrics.divergence import divergence, divergences, log_probabilities
from enxuto.onnx_model import Model
from enxuto.runtime import Runner

__all__ = ["measured_sensitivities", "model_divergence", "weighed"]

_BITS = 2.5  # a weight: where layers are measured
_BAND = (1e-3, 0.1)  # nats, for the search without gradients: above noise, small enough for a quadratic law
_PARTS = 10  # of the images, left out in turn to see how much is chance
_LEAST = 1e-2  # of the mean: what the other parts may say at least
_TRIALS = 4
_FIRST = 0.5  # root mean square of the first steps of that search, of the weights' own

Float64 = npt.NDArray[np.float64]


def model_divergence(
    model: Model, images: np.ndarray, reference: np.ndarray, *, batch: int = 8, threads: int = 0
) -> float:
    """Return the mean divergence in nats of a model's logits for images (N, …) from `reference` (N, C), logits too."""
    runner = Runner(model, threads=threads)
    scores = [runner.scores(images[i : i + batch]) for i in range(0, len(images), batch)]
    return divergence(reference, np.concatenate([part.reshape(len(part), -1) for part in scores]))


def measured_sensitivities(
    model: Model,
    spacings: Sequence[Spacing],
    images: np.ndarray,
    reference: np.ndarray,
    *,
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Return, by weight name, the divergence in nats per unit of tr(G E H Eᵀ).

    spacings: of the layers, with curvatures whose sensitivity comes from gradients, or is 0 where there are none.
    images (N, …) preprocessed, reference (N, C) the scores of the undisturbed model; scores of both are logits. Where
    all that a layer's errors do is lost in float32's noise it keeps what gradients say.
    """
    meter = _Meter(model, images, reference, threads)
    expected = {one.curvature.layer.weight: one.curvature.sensitivity for one in spacings}
    unknown = [one for one in spacings if not one.curvature.sensitivity]
    for spacing, scores in meter.disturbed(unknown):
        expected[spacing.curvature.layer.weight] = meter.searched(spacing, scores)
    ready = [
        Spacing(one.curvature.with_sensitivity(expected[one.curvature.layer.weight]), one.rows, one.columns)
        for one in spacings
    ]
    price = price_of_bits(ready, [model.load(one.curvature.layer.weight) for one in ready], _BITS)
    told: dict[str, Float64] = {}
    for done, (spacing, scores) in enumerate(meter.disturbed(ready), 1):
        each = meter.each(spacing, spacing.plain_step(price), scores)[0]
        if each.mean() > 0 and expected[spacing.curvature.layer.weight] > 0:
            told[spacing.curvature.layer.weight] = each
        if progress is not None:
            progress(done, len(ready))
    if told:
        guesses = np.array([expected[name] for name in told])
        sizes = np.array([model.info(name).elements for name in told], np.float64)
        expected.update(
            zip(told, weighed(guesses, np.stack(list(told.values())), sizes).tolist(), strict=True)
        )
    return expected


def weighed(guesses: Float64, told: Float64, sizes: Float64) -> Float64:
    """Return sensitivities (L,) > 0 between guesses (L,) and what images say, told (L, N), as far as images agree.

    All in nats per unit of tr(G E H Eᵀ); N at least 2, and of each layer the mean over images above 0. That mean is off
    the guess by the guess's own error and by chance. Chance is what a jackknife over parts of the images finds; the
    rest of the variance between layers, in logarithms, is the guess's error, and so much of each layer's difference
    is believed. sizes (L,): a layer counts by its weights. What all layers have in common is taken from the images.

    Source: James & Stein 1961 as empirical Bayes (Efron & Morris 1973).
    """
    shares = sizes / sizes.sum()
    means = told.mean(axis=1)
    off = np.log(means / guesses)
    common = float(shares @ off)
    spread = float(shares @ (off - common) ** 2)
    parts = np.array_split(told, min(told.shape[1], _PARTS), axis=1)
    totals = told.sum(axis=1)
    left = [(totals - part.sum(axis=1)) / (told.shape[1] - part.shape[1]) for part in parts]
    logs = np.log(np.maximum(np.stack(left, axis=1) / means[:, None], _LEAST))  # layers, parts left out
    logs -= shares @ logs
    chance = (len(parts) - 1) * float(shares @ logs.var(axis=1))
    believed = max(0.0, 1 - chance / spread) if spread > 0 else 1.0
    return np.asarray(guesses * np.exp(common + believed * (off - common)), np.float64)


_Scores: TypeAlias = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""From weights in place of the model's to scores."""


@dataclass(frozen=True)
class _Meter:
    """Measures what errors in one layer do to the answers."""

    model: Model
    images: np.ndarray
    reference: np.ndarray
    threads: int

    def disturbed(self, spacings: Sequence[Spacing]) -> Iterator[tuple[Spacing, _Scores]]:
        """Yield every layer, in the order of execution, with what gives the scores once its weight is replaced."""
        if spacings:
            stages = Stages(self.model, [spacing.curvature.layer.input for spacing in spacings])
            yield from zip(spacings, stages.tails(self.images, threads=self.threads), strict=True)

    def searched(self, spacing: Spacing, scores: _Scores) -> float:
        """Return a sensitivity at steps made finer or coarser until the divergence is measurable and small."""
        weight = self.model.load(spacing.curvature.layer.weight)
        scale = _FIRST * math.sqrt(float(np.mean(np.square(weight.astype(np.float64)))))
        best = 0.0
        for _ in range(_TRIALS if scale > 0 else 0):
            each, cost = self.each(spacing, scale, scores)
            found = float(each.mean()) * cost
            best = max(float(each.mean()), 0.0)
            if _BAND[0] <= found <= _BAND[1]:
                break
            scale *= min(4.0, max(0.1, math.sqrt(math.sqrt(_BAND[0] * _BAND[1]) / max(found, 1e-12))))
        return best

    def each(self, spacing: Spacing, step: float, scores: _Scores) -> tuple[Float64, float]:
        """Return every image's divergence (N,) per cost of rounding at a step, and the cost; zeros where none."""
        layer = spacing.curvature.layer
        disturbed, cost = _rounded(spacing, layer, self.model.load(layer.weight), step)
        if cost <= 0:
            return np.zeros(len(self.images)), 0.0
        found = log_probabilities(scores({layer.weight: disturbed}))
        return divergences(log_probabilities(self.reference), found) / cost, cost


def _rounded(spacing: Spacing, layer: Layer, weight: np.ndarray, step: float) -> tuple[np.ndarray, float]:
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
