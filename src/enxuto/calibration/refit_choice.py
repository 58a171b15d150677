"""Whether layers are refitted (`calibration.refit`), tried on other samples where few correct.

A layer that is nearer to what it gave is not always a better one: where a maximum over places follows, what counts is
at few places, and of few samples too little is seen of these. So the whole model is rounded both ways, and judged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from enxuto.calibration.allocation import Spacing
from enxuto.calibration.bias_correction import (
    FEW_SAMPLES,
    channel_means,
    correct_biases,
    correcting_samples,
    trial_parts,
)
from enxuto.calibration.layer_rounding import round_in_order, round_layers
from enxuto.calibration.layers import LinearLayer
from enxuto.calibration.sensitivity import model_loss, run_groups
from enxuto.data.samples import Samples
from enxuto.metrics.losses import OutputLoss
from enxuto.onnx_model import Model
from enxuto.progress import Progress
from enxuto.quantize.tensor import QuantizedTensor

__all__ = ["refitting_pays"]


def refitting_pays(
    model: Model,
    layers: Sequence[LinearLayer],
    spacings: Mapping[str, Spacing],
    price: float,
    samples: Samples,
    losses: Sequence[OutputLoss],
    *,
    paths: int,
    threads: int,
    progress: Progress | None = None,
) -> bool:
    """Say whether a model that is rounded layer by layer, each refitted, loses less than one rounded at once.

    Args:
        model: as it is run; its outputs are what is measured.
        layers: of the model, in the order of execution.
        spacings: by weight name.
        price: in nats per bit, at which both are made.
        samples: that calibrate; those that correct biases are what layers are refitted on.
        losses: of the outputs.
        paths: that are followed along a row.
        threads: that round and run.
        progress: called with ("trying refits", weights rounded, and how many in both ways).
    """
    parts = trial_parts(samples)
    if parts is None or min(len(samples), correcting_samples(samples)) >= FEW_SAMPLES:
        return True  # by as many it paid wherever it was measured
    fitted = parts[0]
    groups = parts[1].groups()
    references = run_groups(model, groups, threads=threads)
    means = channel_means(model, layers, fitted.groups(), threads=threads)

    def loss(tensors: Mapping[str, QuantizedTensor]) -> float:
        """Of a model with these weights, with its own biases or corrected ones, whichever do better."""
        weights = {name: one.reconstruct().astype(model.info(name).dtype) for name, one in tensors.items()}
        biases = correct_biases(model, layers, weights, means, fitted.groups(), threads=threads)
        tried = [
            model_loss(model.replace_weights(one), groups, references, losses, threads=threads)
            for one in (weights, {**weights, **biases})
        ]
        return min((one for one in tried if math.isfinite(one)), default=math.inf)

    def half(number: int) -> Progress | None:
        """Of two, each of which rounds all weights."""
        if progress is None:
            return None
        return lambda _, done, total: progress("trying refits", number * total + done, 2 * total)

    how: dict[str, Any] = {"paths": paths, "threads": threads}
    at_once = loss(round_layers(model, layers, spacings, price, **how, progress=half(0)))
    in_order = loss(round_in_order(model, layers, spacings, price, fitted, **how, progress=half(1)))
    return in_order < at_once
