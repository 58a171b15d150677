"""Derivatives of normalisations, with constant statistics or with those of the value itself.

With x̂ = (x − mean) / deviation over some axes, the derivative of x̂ is (g − mean(g) − x̂·mean(g·x̂)) / deviation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from onnx import NodeProto

from enxuto.calibration.gradients.graph import Contributions, GraphMaker, Rule, UnsupportedError
from enxuto.onnx_model import float_attribute, int_attribute, ints_attribute

__all__ = ["NORMALIZATION_RULES", "normalize", "through_normalization", "through_root_mean_square"]

_LEAST_VARIANCE = 1e-18  # the square of what MeanVarianceNormalization adds to a deviation
_SCALE_BY_CHANNEL = 21  # the version of ONNX's operators from which a group norm has a scale for each channel


def _batch_norm(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    if int_attribute(node, "training_mode") or any(node.output[1:]):
        raise UnsupportedError("no gradient is known here for a batch norm that trains")
    if not all(maker.is_constant(name) for name in node.input[1:]):
        raise UnsupportedError("no gradient is known here for a batch norm whose parameters are computed")
    scale, variance = (maker.load(node.input[i]).astype(np.float64) for i in (1, 4))
    factor = scale / np.sqrt(variance + float_attribute(node, "epsilon", 1e-5))
    # Before opset 9, spatial = 0 gives every position its own parameters (C, …).
    spatial = int_attribute(node, "spatial", 1) or factor.ndim == 1
    broad = (-1, *([1] * (len(maker.shape(node.input[0])) - 2))) if spatial else (1, *factor.shape)
    return [(node.input[0], maker.op("Mul", gradient, maker.constant(factor.reshape(broad))))]


def _layer_norm(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """Over the axes from `axis` on; scale and bias may be computed, too."""
    x, rank = node.input[0], len(maker.shape(node.input[0]))
    axes = list(range(int_attribute(node, "axis", -1) % rank, rank))
    _check_axes(maker, node, axes)
    normal, deviation = normalize(maker, maker.value(x), axes, float_attribute(node, "epsilon", 1e-5))
    found = []
    if x in carries:
        scaled = maker.op("Mul", gradient, maker.value(node.input[1]))
        found.append((x, through_normalization(maker, scaled, normal, deviation, axes)))
    if node.input[1] in carries:
        own = maker.op("Mul", gradient, normal)
        found.append((node.input[1], maker.sum_to(own, node.input[1], node.output[0])))
    if len(node.input) > 2 and node.input[2] in carries:
        found.append((node.input[2], maker.sum_to(gradient, node.input[2], node.output[0])))
    return found


def _root_mean_square_norm(
    maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]
) -> Contributions:
    """RMSNormalization: y = scale·x̂ with x̂ = x / √(mean(x²) + ε)."""
    x, rank = node.input[0], len(maker.shape(node.input[0]))
    axes = list(range(int_attribute(node, "axis", -1) % rank, rank))
    _check_axes(maker, node, axes)
    scaled = maker.op("Mul", gradient, maker.value(node.input[1]))
    epsilon = float_attribute(node, "epsilon", 1e-5)
    return [(x, through_root_mean_square(maker, maker.value(x), scaled, axes, epsilon))]


def _mean_variance_norm(
    maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]
) -> Contributions:
    """MeanVarianceNormalization: y = x̂, over axes that must not be that of the images (which ONNX's default names)."""
    x, rank = node.input[0], len(maker.shape(node.input[0]))
    axes = sorted(axis % rank for axis in ints_attribute(node, "axes", (0, 2, 3)))
    _check_axes(maker, node, axes)
    normal, deviation = normalize(maker, maker.value(x), axes, _LEAST_VARIANCE)
    return [(x, through_normalization(maker, gradient, normal, deviation, axes))]


def _instance_norm(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    x, rank = node.input[0], len(maker.shape(node.input[0]))
    axes = list(range(2, rank))
    normal, deviation = normalize(maker, maker.value(x), axes, float_attribute(node, "epsilon", 1e-5))
    by_channel = maker.op("Reshape", maker.value(node.input[1]), [-1, *([1] * (rank - 2))])
    scaled = maker.op("Mul", gradient, by_channel)
    return [(x, through_normalization(maker, scaled, normal, deviation, axes))]


def _group_norm(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """Groups of channels, each normalised as a whole: (N, groups, values of a group)."""
    x, shape = node.input[0], maker.shape(node.input[0])
    groups = int_attribute(node, "num_groups")
    split = [0, groups, -1]
    grouped = maker.op("Reshape", maker.value(x), split)
    normal, deviation = normalize(maker, grouped, [2], float_attribute(node, "epsilon", 1e-5))
    ones = [1] * (len(shape) - 2)
    if maker.opset() >= _SCALE_BY_CHANNEL:
        by_channel = maker.op("Reshape", maker.value(node.input[1]), [-1, *ones])
        scaled = maker.op("Reshape", maker.op("Mul", gradient, by_channel), split)
    else:
        by_group = maker.op("Reshape", maker.value(node.input[1]), [-1, 1])
        scaled = maker.op("Mul", maker.op("Reshape", gradient, split), by_group)
    own = through_normalization(maker, scaled, normal, deviation, [2])
    return [(x, maker.reshape_like(own, x))]


def _lp_normalization(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """y = x / ‖x‖: ∂x = (g − s·Σ g·y) / ‖x‖, with s = y for the Euclidean norm and sign(x) for the sum of sizes."""
    x, rank = node.input[0], len(maker.shape(node.input[0]))
    axes = [int_attribute(node, "axis", -1) % rank]
    _check_axes(maker, node, axes)
    value, y = maker.value(x), maker.value(node.output[0])
    order = int_attribute(node, "p", 2)
    norm = maker.op(f"ReduceL{order}", value, axes, keepdims=1)
    along = maker.op("ReduceSum", maker.op("Mul", gradient, y), axes, keepdims=1)
    direction = y if order == 2 else maker.op("Sign", value)
    return [(x, maker.op("Div", maker.op("Sub", gradient, maker.op("Mul", direction, along)), norm))]


def _response_norm(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """LRN: y = x·d^−β with d = k + α/n·Σ x² over n channels.

    ∂x = g·d^−β − 2·α·β/n·x·Σ g·x·d^(−β − 1), the sum over the channels whose window holds x's.
    """
    x, shape = node.input[0], maker.shape(node.input[0])
    size = int_attribute(node, "size")
    alpha, beta = float_attribute(node, "alpha", 1e-4), float_attribute(node, "beta", 0.75)
    before, after = (size - 1) // 2, size // 2
    value = maker.value(x)
    squares = _sum_over_channels(maker, maker.op("Mul", value, value), shape, before, after)
    base = maker.op("Add", maker.op("Mul", squares, alpha / size), float_attribute(node, "bias", 1.0))
    direct = maker.op("Mul", gradient, maker.op("Pow", base, -beta))
    inner = maker.op("Mul", maker.op("Mul", gradient, value), maker.op("Pow", base, -beta - 1.0))
    indirect = _sum_over_channels(maker, inner, shape, after, before)
    share = maker.op("Mul", maker.op("Mul", value, indirect), 2 * alpha * beta / size)
    return [(x, maker.op("Sub", direct, share))]


def _sum_over_channels(maker: GraphMaker, value: str, shape: Sequence[int], before: int, after: int) -> str:
    """Sum (N, C, …) over a window of channels from `before` in front of each to `after` behind it."""
    plane = maker.op("Reshape", value, [-1, 1, shape[1], math.prod(shape[2:])])
    ones = maker.constant(np.ones((1, 1, before + after + 1, 1)))
    sums = maker.op("Conv", plane, ones, pads=[before, 0, after, 0])
    return maker.op("Reshape", sums, [-1, *shape[1:]])


def normalize(maker: GraphMaker, value: str, axes: Sequence[int], epsilon: float) -> tuple[str, str]:
    """Return x̂ and the deviation over some axes, which are kept."""
    centred = maker.op("Sub", value, maker.op("ReduceMean", value, axes, keepdims=1))
    variance = maker.op("ReduceMean", maker.op("Mul", centred, centred), axes, keepdims=1)
    deviation = maker.op("Sqrt", maker.op("Add", variance, epsilon))
    return maker.op("Div", centred, deviation), deviation


def through_normalization(
    maker: GraphMaker, gradient: str, normal: str, deviation: str, axes: Sequence[int]
) -> str:
    """Return the gradient at x, given that at x̂."""
    mean = maker.op("ReduceMean", gradient, axes, keepdims=1)
    along = maker.op("ReduceMean", maker.op("Mul", gradient, normal), axes, keepdims=1)
    rest = maker.op("Sub", maker.op("Sub", gradient, mean), maker.op("Mul", normal, along))
    return maker.op("Div", rest, deviation)


def through_root_mean_square(
    maker: GraphMaker, value: str, gradient: str, axes: Sequence[int], epsilon: float
) -> str:
    """Return the gradient at x, given that at x̂ = x / √(mean(x²) + ε)."""
    power = maker.op("ReduceMean", maker.op("Mul", value, value), axes, keepdims=1)
    deviation = maker.op("Sqrt", maker.op("Add", power, epsilon))
    normal = maker.op("Div", value, deviation)
    along = maker.op("ReduceMean", maker.op("Mul", gradient, normal), axes, keepdims=1)
    return maker.op("Div", maker.op("Sub", gradient, maker.op("Mul", normal, along)), deviation)


def _check_axes(maker: GraphMaker, node: NodeProto, axes: Sequence[int]) -> None:
    if maker.batch_axis(node.input[0]) in axes:
        raise UnsupportedError(f"no gradient is known here for a {node.op_type} over the images")


NORMALIZATION_RULES: dict[str, Rule] = {
    "BatchNormalization": _batch_norm,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LRN": _response_norm,
    "LayerNormalization": _layer_norm,
    "LpNormalization": _lp_normalization,
    "MeanVarianceNormalization": _mean_variance_norm,
    "RMSNormalization": _root_mean_square_norm,
    "SimplifiedLayerNormalization": _root_mean_square_norm,  # ONNX Runtime's own, though in ONNX's domain
}
