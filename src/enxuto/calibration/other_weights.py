"""Weights that no calibrated layer holds: how much the loss rises with their steps, measured one weight at a time.

These are embeddings, matrices that several operators read, factors of an Einsum, weights inside of If and Loop, and
parts of features: positions, class tokens, vectors of layer norms, biases that are added behind a MatMul. Nothing is
known of their inputs, so that they are rounded without feedback. But their steps follow the same price as those of
layers. A step that is f times the default's loses c·f² and saves log2 f bits a weight; at a price of λ nats a bit the
least of the sum is at f² = λn/(2 c ln 2).

c is the loss at default steps, measured where it is above noise and small enough to be quadratic. Where the samples
tell nothing of a weight (it is in the branch that none of them takes), or there are too many to measure, it gets the
mean factor of those that are known, layers too. Vectors are many and small: they are disturbed and measured together,
and share a factor.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from enxuto.calibration.allocation import Spacing
from enxuto.calibration.sensitivity import LOSS_BAND, References, model_loss
from enxuto.data.samples import Group
from enxuto.metrics.losses import OutputLoss
from enxuto.onnx_model import Model, Role, is_vector, parts_of_features
from enxuto.progress import Progress
from enxuto.quantize.scalar import Quantizer
from enxuto.quantize.schemes import BalancedSteps, NetworkStats, TensorStats, is_representable, statistics
from enxuto.rounding.data_free import round_weight

__all__ = ["measure_others", "other_weights", "quantizers_at"]

_ROLES = frozenset({Role.KERNEL, Role.DEPTHWISE, Role.MATRIX})
_FEWEST = 32  # elements; smaller tensors are not quantized
_SCHEME = BalancedSteps(scale=0.045)  # the steps that factors are of
_FIRST, _FINEST, _COARSEST = 6.0, 2.0**-10, 2.0**7  # factors on them
_TRIALS = 4
_MOST = 96  # weights that are measured, largest first


def other_weights(model: Model, layers: Collection[str]) -> list[str]:
    """Return the names of kernels, matrices and parts of features, none of `layers`', that can be quantized.

    The largest come first.
    """
    parts = set(parts_of_features(model))
    outputs = {item.name for item in model.proto.graph.output}
    # All of these hold floats.
    found = [
        info
        for info in model.infos()
        if (info.role in _ROLES or info.name in parts)
        and info.elements >= _FEWEST
        and info.name not in layers
        and info.name not in outputs
        and not (info.operand and np.isinf(model.load(info.name)).any())
        and is_representable(info.dtype, float(np.abs(model.load(info.name)).max(initial=0)))
    ]
    return [info.name for info in sorted(found, key=lambda info: -info.elements)]


def measure_others(
    model: Model,
    layers: Collection[str],
    groups: Sequence[Group],
    references: References,
    losses: Sequence[OutputLoss],
    *,
    threads: int = 0,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Return, by the name of every other weight, the loss at default steps; 0 where nothing depends on it.

    Args:
        model: as it is run; its outputs are what is measured.
        layers: weights of calibrated layers.
        groups: samples that measure.
        references: the model's outputs for them.
        losses: of the outputs.
        threads: of ONNX Runtime; 0 is its own default.
        progress: called with ("measuring other weights", done, in all).
    """
    names = other_weights(model, layers)
    tensors, network = statistics(model, [*names, *(name for name in layers if name in model)])
    found = dict.fromkeys(names, 0.0)
    measured = _together(model, names)[:_MOST]
    for done, together in enumerate(measured, 1):
        shares = {name: tensors[name].info.elements for name in together}
        factor = _FIRST
        for _ in range(_TRIALS):
            runs = model.replace_weights(
                {name: _disturbed(model, tensors[name], network, factor) for name in together}
            )
            lost = model_loss(runs, groups, references, losses, threads=threads)
            if math.isfinite(lost):
                whole = max(0.0, lost) / factor**2 / sum(shares.values())
                found |= {name: whole * count for name, count in shares.items()}
            if LOSS_BAND[0] <= lost <= LOSS_BAND[1] or lost == 0 or factor in (_FINEST, _COARSEST):
                break
            aim = math.sqrt(LOSS_BAND[0] * LOSS_BAND[1])
            change = 0.1 if not math.isfinite(lost) else math.sqrt(aim / max(lost, 1e-12))
            factor = min(_COARSEST, max(_FINEST, factor * min(4.0, max(0.1, change))))
        if progress is not None:
            progress("measuring other weights", done, len(measured))
    return found


def _together(model: Model, names: Sequence[str]) -> list[list[str]]:
    """Return which weights are measured at once: all vectors, and each other one by itself."""
    vectors = [name for name in names if is_vector(model.info(name))]
    alone = [[name] for name in names if name not in set(vectors)]
    return [vectors, *alone] if vectors else alone


def _disturbed(model: Model, tensor: TensorStats, network: NetworkStats, factor: float) -> np.ndarray:
    """Return a weight as it is with steps that are so many times the default's."""
    name = tensor.info.name
    quantizer, levels = round_weight(
        np.asarray(model.load(name), np.float32), _scaled(tensor, network, factor), "trellis"
    )
    return quantizer.reconstruct(levels).astype(model.info(name).dtype)


def quantizers_at(
    model: Model, others: Mapping[str, float], spacings: Mapping[str, Spacing], price: float
) -> dict[str, Quantizer]:
    """Return quantizers of other weights at a price in nats per bit.

    Args:
        model: holds the weights.
        others: by name the loss at default steps, 0 where it is not known.
        spacings: of the layers, whose steps tell how coarse those of unknown weights may be.
        price: in nats per bit.
    """
    tensors, network = statistics(model, [*others, *spacings])
    factors, sizes = {}, {}
    for name, lost in others.items():
        if lost > 0:
            count = tensors[name].info.elements
            factors[name] = math.sqrt(price * count / (2 * math.log(2) * lost))
            sizes[name] = count
    known = [
        (
            math.log(spacing.step_off_trellis(price) * math.sqrt(spacing.mean_square()) / step),
            tensor.info.elements,
        )
        for name, spacing in spacings.items()
        if (step := _mean_step(tensor := tensors[name], network)) > 0
    ]
    known += [(math.log(factor), sizes[name]) for name, factor in factors.items()]
    total = sum(size for _, size in known)
    mean = math.exp(sum(one * size for one, size in known) / total) if total else 1.0
    return {
        name: _scaled(tensors[name], network, min(_COARSEST, max(_FINEST, factors.get(name, mean))))
        for name in others
    }


def _scaled(tensor: TensorStats, network: NetworkStats, factor: float) -> Quantizer:
    return _SCHEME.scale_steps(factor).quantizer(tensor, network)


def _mean_step(tensor: TensorStats, network: NetworkStats) -> float:
    """Return the root mean square of a tensor's default steps."""
    steps = np.asarray(getattr(_scaled(tensor, network, 1.0), "step", 0.0), np.float64)
    return float(np.sqrt(np.mean(np.square(steps))))
