"""How samples are run through a model that is calibrated: together or one by one, in batches that watch its layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from enxuto.calibration.answers import require_free_batch
from enxuto.calibration.layers import LinearLayer
from enxuto.calibration.moments import FOLDS, Moments, layer_moments
from enxuto.calibration.outputs import JudgedOutputs, run_together
from enxuto.calibration.partial_runs import input_type
from enxuto.calibration.sensitivity import run_groups
from enxuto.data.samples import Samples
from enxuto.errors import EnxutoError, UsageError
from enxuto.metrics.losses import OutputLoss
from enxuto.onnx_model import Model, fixed_batch, free_batch
from enxuto.progress import Progress

__all__ = ["run_freely", "samples_of", "watch_layers"]

_BATCH_VALUES = 3 << 18  # numbers in a batch of images: five 224×224 ones; values and gradients take 1 GB


def samples_of(model: Model, data: Samples | npt.NDArray[Any]) -> Samples:
    """Return data as samples; images (N, …) are those of a model's first input."""
    if isinstance(data, Samples):
        return data
    inputs = [item for item in model.proto.graph.input if item.name not in model]
    return Samples({inputs[0].name: data.astype(input_type(model), copy=False)}, "images")


def run_freely(
    measured: Model, model: Model, samples: Samples, judged_outputs: JudgedOutputs, threads: int
) -> tuple[Model, Samples]:
    """Return the model that is run, with a free batch size, and the samples; one by one where it cannot be free."""
    if judged_outputs.answers is not None:
        (images,) = samples.groups()[0].feeds.values()
        return require_free_batch(
            measured, images[: 2 * max(1, fixed_batch(model))], threads=threads
        ), samples
    fixed = fixed_batch(measured)
    if not samples.stacked and fixed > 1 and not samples.feedback:
        return _run_in_batches(measured, samples, fixed, threads)
    if not samples.stacked or not fixed:
        return measured, run_together(measured, samples, threads=threads) if samples.stacked else samples
    freed, few = free_batch(measured), samples.head(max(2, fixed))
    try:
        if run_together(freed, samples, threads=threads).stacked and _alike(measured, freed, few, threads):
            return freed, samples
    except EnxutoError:  # its size is in the graph too
        pass
    if fixed > 1:
        raise UsageError(
            f"the model takes exactly {fixed} samples at a time, and not only its input says so; export it with a free "
            "batch size to calibrate it, or compress it without data",
            code="E032",
        )
    return measured, replace(samples, stacked=False)


def _run_in_batches(measured: Model, samples: Samples, fixed: int, threads: int) -> tuple[Model, Samples]:
    """Return what `run_freely` does where inputs take exactly `fixed` rows, and samples are not known to be rows."""
    few = samples.head(2)
    if any(len(array) != 1 for array in few.sample(0).values() if array.ndim):
        return measured, samples  # each is a batch by itself
    for freed, together in ((free_batch(measured, shapes_too=False), False), (free_batch(measured), True)):
        try:
            if _alike(measured, freed, few, threads):  # its parts run on other numbers of rows
                return (freed if together else measured), replace(samples, stacked=together)
        except EnxutoError:
            continue
    return measured, samples.in_batches(fixed)


def _alike(one: Model, other: Model, samples: Samples, threads: int) -> bool:
    found = [run_groups(model, samples.groups(), threads=threads) for model in (one, other)]
    pairs = ((a, b) for outputs in zip(*found, strict=True) for a, b in zip(*outputs, strict=True))
    return all(a.shape == b.shape and np.allclose(a, b, rtol=1e-3, atol=1e-3) for a, b in pairs)


def watch_layers(
    model: Model,
    layers: list[LinearLayer],
    samples: Samples,
    losses: Sequence[OutputLoss],
    seed: int,
    threads: int,
    report: Progress,
) -> tuple[dict[str, Moments], list[list[np.ndarray]], str | None]:
    """Return what `layer_moments` does for all samples, in batches of a few, and the outputs by group."""
    # All folds get samples, whatever the batch.
    size = min(max(2, _BATCH_VALUES // samples.values), max(1, len(samples) // FOLDS))
    seen = 0

    def report_images(count: int) -> None:
        nonlocal seen
        seen += count
        report("watching layers", seen, len(samples))

    groups = samples.groups()
    parts = [list(group.parts(size)) for group in groups]
    moments, outputs, reason = layer_moments(
        model, layers, (part for several in parts for part in several), losses=losses, images=len(samples),
        seed=seed, threads=threads, progress=report_images,
    )  # fmt: skip
    left = iter(outputs)
    found = [[next(left) for _ in several] for several in parts]
    return moments, [_joined(several) for several in found], reason


def _joined(parts: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Return the outputs of a group from those of its parts, as float32."""
    return [
        np.concatenate(pieces).astype(np.float32, copy=False)
        if len(pieces) > 1
        else pieces[0].astype(np.float32, copy=False)
        for pieces in zip(*parts, strict=True)
    ]
