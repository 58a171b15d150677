"""Whether layers are refitted (`calibration.refit`), tried on samples left out where there are few.

A layer that is nearer to what it gave is not always a better one: where a maximum over places follows, what counts is
at few places, and of few samples too little is seen of these. So the whole model is rounded both ways, and judged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from enxuto.calibration.allocation import Spacing
from enxuto.calibration.bias_correction import FEW_SAMPLES, correct_biases, left_out
from enxuto.calibration.layer_rounding import round_in_order, round_layers
from enxuto.calibration.layers import LinearLayer
from enxuto.calibration.refit import FEWEST_SAMPLES
from enxuto.calibration.sensitivity import model_loss, run_groups
from enxuto.data.samples import Samples
from enxuto.metrics.losses import OutputLoss
from enxuto.onnx_model import Model
from enxuto.quantize.tensor import QuantizedTensor

__all__ = ["refitting_pays"]


def refitting_pays(
    model: Model,
    layers: Sequence[LinearLayer],
    spacings: Mapping[str, Spacing],
    price: float,
    samples: Samples,
    means: Mapping[str, np.ndarray],
    losses: Sequence[OutputLoss],
    *,
    paths: int,
    threads: int,
) -> bool:
    """Say whether a model that is rounded layer by layer, each refitted, loses less than one rounded at once.

    Args:
        model: as it is run; its outputs are what is measured.
        layers: of the model, in the order of execution.
        spacings: by weight name.
        price: in nats per bit, at which both are made.
        samples: that layers are refitted on.
        means: by weight name, of the original's layers for each of these samples (`channel_means`).
        losses: of the outputs.
        paths: that are followed along a row.
        threads: that round and run.
    """
    count = len(samples)
    if count >= FEW_SAMPLES:  # wherever it was measured with as many, refitting paid
        return True
    apart = left_out(count)
    fitted, unseen = (samples.take(np.flatnonzero(part)) for part in (~apart, apart))
    if len(fitted) < FEWEST_SAMPLES:
        return False
    groups = unseen.groups()
    references = run_groups(model, groups, threads=threads)
    own_means = {name: rows[~apart] for name, rows in means.items()}

    def loss(tensors: Mapping[str, QuantizedTensor]) -> float:
        """Of a model with these weights, with its own biases or corrected ones, whichever do better."""
        weights = {name: one.reconstruct().astype(model.info(name).dtype) for name, one in tensors.items()}
        biases = correct_biases(model, layers, weights, own_means, fitted.groups(), threads=threads)
        tried = [
            model_loss(model.replace_weights(one), groups, references, losses, threads=threads)
            for one in (weights, {**weights, **biases})
        ]
        return min((one for one in tried if math.isfinite(one)), default=math.inf)

    at_once = loss(round_layers(model, layers, spacings, price, paths=paths, threads=threads))
    in_order = loss(round_in_order(model, layers, spacings, price, fitted, paths=paths, threads=threads))
    return in_order < at_once
