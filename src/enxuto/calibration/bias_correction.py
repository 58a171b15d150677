"""Biases corrected so that quantized layers keep the mean outputs of the original ones.

Errors in weights shift the mean output of a channel, since inputs behind a rectifier are never negative. Later layers
then meet inputs that they were not trained on. Layer by layer, with all earlier layers quantized and corrected, the
difference of the means is added to the biases, shrunk by its uncertainty: a few dozen images determine the shift only
to within its spread over them, which is large in late layers with few positions. (A scale per channel, so that
variances agree too, was tried and did not pay on top of calibrated rounding.)

Source: Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction" (arXiv:1906.04721),
with means measured instead of derived; shrinkage: James & Stein 1961, "Estimation with quadratic loss", in its
empirical Bayes form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from enxuto.calibration.layers import LinearLayer
from enxuto.calibration.moments import group_of
from enxuto.calibration.partial_runs import PartialRuns
from enxuto.calibration.sensitivity import References, model_loss, run_groups
from enxuto.data.samples import Group, Samples
from enxuto.metrics.losses import OutputLoss
from enxuto.onnx_model import Model
from enxuto.progress import ItemProgress, Progress, ProgressCounter

__all__ = [
    "FEW_SAMPLES",
    "channel_means",
    "choose_biases",
    "correct_biases",
    "correcting_samples",
    "shrink_shift",
    "trial_parts",
]

_VALUES = 1 << 24  # numbers in the samples that correct biases, beyond the fewest
_FEWEST_SAMPLES, _MOST_SAMPLES = 16, 64
_VALIDATION_SAMPLES = 16  # at least, that tell whether the correction did any good
_EVERY = 4  # samples, of which one is left out

FEW_SAMPLES = 48
"""Of fewer that correct, some are left out to tell whether that does any good, where no others are there."""

Float64 = npt.NDArray[np.float64]


def channel_means(
    model: Model,
    layers: Sequence[LinearLayer],
    samples: Sequence[Group] | np.ndarray,
    *,
    batch: int = 32,
    threads: int = 0,
    progress: ItemProgress | None = None,
) -> dict[str, Float64]:
    """Return the mean output (N, O) of every layer over positions, for each of N samples, by weight name.

    Args:
        model: the original.
        layers: of the model, in the order of execution.
        samples: groups, which are run together, or images (N, …), which are run `batch` at a time.
        batch: images at a time.
        threads: of ONNX Runtime; 0 is its own default.
        progress: called with (layers run, layers to run), each once for every batch.
    """
    layers = [layer for layer in layers if layer.corrected]
    runs = PartialRuns(model, [layer.output for layer in layers])
    parts: dict[str, list[Float64]] = {layer.weight: [] for layer in layers}
    whole = [group_of(model, samples)] if isinstance(samples, np.ndarray) else None
    batches = [[part] for part in whole[0].parts(batch)] if whole else [list(samples)]
    done = ProgressCounter(len(batches) * len(layers), progress)
    for groups in batches:
        for layer, values in zip(layers, runs.run_groups(groups, {}, threads=threads), strict=False):
            for group, value in zip(groups, values, strict=True):
                parts[layer.weight].append(_means(layer, value, group.count))
            done.add(1)
    return {name: np.concatenate(means) for name, means in parts.items()}


def correcting_samples(samples: Samples) -> int:
    """Return how many samples correct biases: they are all in memory at once."""
    return min(_MOST_SAMPLES, max(_FEWEST_SAMPLES, _VALUES // samples.values))


def choose_biases(
    model: Model,
    layers: Sequence[LinearLayer],
    weights: Mapping[str, np.ndarray],
    means: Mapping[str, Float64],
    samples: Samples,
    references: References,
    losses: Sequence[OutputLoss],
    *,
    threads: int = 0,
    progress: Progress | None = None,
) -> dict[str, np.ndarray]:
    """Return biases that go with quantized weights: corrected ones, or the model's own where those do better.

    The loss on samples that the correction has not seen decides (`trial_parts`); where there are none, biases are
    corrected.

    Args:
        model: the original; its outputs are what is measured.
        layers: of the model, in the order of execution.
        weights: quantized weights by name.
        means: `channel_means` of the original over the first `correcting_samples`.
        samples: that calibrate.
        references: the original's outputs for every group of all samples.
        losses: of the outputs.
        threads: of ONNX Runtime; 0 is its own default.
        progress: called with ("correcting biases", layers done, layers in all), and likewise for a trial.
    """
    count = correcting_samples(samples)
    corrected = correct_biases(
        model,
        layers,
        weights,
        means,
        samples.head(count).groups(),
        threads=threads,
        progress=None if progress is None else partial(progress, "correcting biases"),
    )
    original = {name: model.load(name) for name in corrected}
    parts = trial_parts(samples)
    if parts is None:
        return corrected
    fitted, unseen = (part.groups() for part in parts)
    tried = corrected
    if len(parts[0]) < count:
        trying = None if progress is None else partial(progress, "trying corrected biases")
        own_means = channel_means(model, layers, fitted, threads=threads)
        tried = correct_biases(model, layers, weights, own_means, fitted, threads=threads, progress=trying)
        expected: References = run_groups(model, unseen, threads=threads)
    elif len(references) == 1 and len(unseen) == 1:
        expected = [[found[count : count + unseen[0].count] for found in references[0]]]
    else:
        expected = run_groups(model, unseen, threads=threads)
    better = _is_better(model, weights, tried, original, unseen, expected, losses, threads)
    return corrected if better else original


def trial_parts(samples: Samples) -> tuple[Samples, Samples] | None:
    """Return samples that correct in a trial, and others that tell whether that does any good; None for too few.

    The first are those that correct anyway, where enough are left besides. Else every fourth of them is left out.
    """
    count = correcting_samples(samples)
    few, others = samples.head(count), samples.tail(count).head(count)
    if len(others) >= _VALIDATION_SAMPLES:
        return few, others
    if not _VALIDATION_SAMPLES <= len(few) < FEW_SAMPLES:
        return None
    left_out = np.arange(len(few)) % _EVERY == _EVERY - 1
    return few.take(np.flatnonzero(~left_out)), few.take(np.flatnonzero(left_out))


def _is_better(
    model: Model,
    weights: Mapping[str, np.ndarray],
    corrected: Mapping[str, np.ndarray],
    original: Mapping[str, np.ndarray],
    groups: Sequence[Group],
    expected: References,
    losses: Sequence[OutputLoss],
    threads: int,
) -> bool:
    """Say whether corrected biases do at least as well on samples as the original's own; NaN is never better."""
    found = [
        model_loss(model.replace_weights({**weights, **biases}), groups, expected, losses, threads=threads)
        for biases in (corrected, original)
    ]
    return found[0] <= found[1] or math.isnan(found[1])


def correct_biases(
    model: Model,
    layers: Sequence[LinearLayer],
    weights: Mapping[str, np.ndarray],
    means: Mapping[str, Float64],
    samples: Sequence[Group] | np.ndarray,
    *,
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Return new biases, by name, for a model whose weights are replaced.

    Args:
        model: the original.
        layers: of the model, in the order of execution. Those without a bias of their own keep their shift.
        weights: quantized weights by name.
        means: `channel_means` of the original over the same samples.
        samples: groups, or images (N, …); run all at once.
        threads: of ONNX Runtime; 0 is its own default.
        progress: called with (layers done, layers in all).
    """
    layers = [layer for layer in layers if layer.corrected]
    runs = PartialRuns(model, [layer.output for layer in layers])
    groups = [group_of(model, samples)] if isinstance(samples, np.ndarray) else list(samples)
    current = dict(weights)
    corrected = {}
    for number, (layer, values) in enumerate(
        zip(layers, runs.run_groups(groups, current, threads=threads), strict=False)
    ):
        if layer.bias is not None:
            bias = model.load(layer.bias)
            found = [_means(layer, value, group.count) for group, value in zip(groups, values, strict=True)]
            shift = shrink_shift(means[layer.weight] - np.concatenate(found))
            with np.errstate(over="ignore"):
                moved = (bias.astype(np.float64) + shift.reshape(bias.shape)).astype(bias.dtype)
            if np.isfinite(moved).all():
                corrected[layer.bias] = moved
                # What was just computed is moved in place, so that the next stage starts from corrected values.
                for value in values:
                    value += shift.astype(value.dtype).reshape(_along_channels(layer, value))
        if progress is not None:
            progress(number + 1, len(layers))
    return corrected


def shrink_shift(differences: Float64) -> Float64:
    """Return the shift (O,) of every channel for differences (N, O) of N images: their mean, shrunk towards 0.

    Let v be the variance of a channel's mean. The shifts s of a layer's channels are assumed to have the mean 0 and the
    variance τ² = mean(s²) − mean(v), at least 0. The best estimate is then s·τ²/(τ² + v).
    """
    count = len(differences)
    shift = differences.mean(axis=0)
    if count < 2:
        return np.zeros_like(shift)
    variance = differences.var(axis=0, ddof=1) / count
    spread = max(0.0, float(np.mean(np.square(shift)) - variance.mean()))
    return np.asarray(shift * spread / np.maximum(spread + variance, 1e-300))


def _means(layer: LinearLayer, value: np.ndarray, images: int) -> Float64:
    """Return the means (N, O) over positions; one row for all where a layer's rows are not its images."""
    axis = 1 if layer.kind == "conv" else value.ndim - 1
    if value.ndim < 2 or len(value) != images or axis == 0:
        axes = tuple(other for other in range(value.ndim) if other != axis)
        return np.asarray(value.mean(axis=axes, dtype=np.float64))[None]
    axes = tuple(other for other in range(1, value.ndim) if other != axis)
    return np.asarray(value.mean(axis=axes, dtype=np.float64))


def _along_channels(layer: LinearLayer, value: np.ndarray) -> tuple[int, ...]:
    axis = 1 if layer.kind == "conv" else value.ndim - 1
    return tuple(-1 if other == axis else 1 for other in range(value.ndim))
