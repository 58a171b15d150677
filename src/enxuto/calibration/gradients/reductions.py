"""Derivatives of reductions over axes, of running sums, and of the softmax, which contains a sum.

What went into a sum gets its gradient. Other reductions multiply it by a slope for each element.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from onnx import NodeProto

from enxuto.calibration.gradients.graph import Contributions, GraphMaker, Rule, UnsupportedError
from enxuto.calibration.gradients.pools import spread_over_plane
from enxuto.onnx_model import int_attribute, ints_attribute

__all__ = ["REDUCTION_RULES"]

_AXIS_ALONE = 13  # the version of ONNX's operators from which a softmax is taken along one axis


def _reduced_axes(maker: GraphMaker, node: NodeProto) -> list[int]:
    """Return the axes of a reduction, none of which may be that of the images."""
    rank = len(maker.shape(node.input[0]))
    axes: Sequence[int] = ints_attribute(node, "axes")
    if len(node.input) > 1 and node.input[1]:
        if not maker.is_constant(node.input[1]):
            raise UnsupportedError(f"no gradient is known here for a {node.op_type} over computed axes")
        axes = maker.load(node.input[1]).reshape(-1).tolist()
    if not axes:
        axes = [] if int_attribute(node, "noop_with_empty_axes") else range(rank)
    found = sorted(axis % rank for axis in axes)
    if maker.batch_axis(node.input[0]) in found:
        raise UnsupportedError(f"no gradient is known here for a {node.op_type} over the images")
    return found


def _reduced_template(maker: GraphMaker, name: str, axes: Sequence[int]) -> list[int]:
    """Return the shape of a reduced value with its axes kept, for a Reshape."""
    return [1 if axis in axes else size for axis, size in enumerate(maker.template(name))]


def _sum_or_mean(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    x, axes = node.input[0], _reduced_axes(maker, node)
    shape = maker.shape(x)
    count = math.prod(shape[axis] for axis in axes) if node.op_type == "ReduceMean" else 1
    if axes == list(range(2, len(shape))) and maker.batch_axis(x) == 0:
        return [(x, spread_over_plane(maker, gradient, x, 1 / float(count)))]
    scaled = maker.op("Mul", gradient, maker.constant(1 / float(count)))
    column = maker.op("Reshape", scaled, _reduced_template(maker, x, axes))
    whole = [1 if size == -1 else size for size in maker.template(x)]
    return [(x, maker.op("Expand", column, whole))]


def _reduction(slope: Callable[[GraphMaker, str, str, Sequence[int]], str]) -> Rule:
    """Return the rule of a reduction y of x with the slope ∂y/∂x, of x's shape; y has its axes kept."""

    def rule(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
        name, axes = node.input[0], _reduced_axes(maker, node)
        template = _reduced_template(maker, name, axes)
        y = maker.op("Reshape", maker.value(node.output[0]), template)
        column = maker.op("Reshape", gradient, template)
        return [(name, maker.op("Mul", column, slope(maker, maker.value(name), y, axes)))]

    return rule


def _extreme(maker: GraphMaker, x: str, y: str, axes: Sequence[int]) -> str:
    """Maximum and minimum: the elements that equal y share its gradient."""
    equal = maker.op("Where", maker.op("Equal", x, y), 1.0, 0.0)
    return maker.op("Div", equal, maker.op("ReduceSum", equal, axes, keepdims=1)) if axes else equal


def _absolute_sum(maker: GraphMaker, x: str, y: str, axes: Sequence[int]) -> str:
    return maker.op("Sign", x)


def _norm(maker: GraphMaker, x: str, y: str, axes: Sequence[int]) -> str:
    """√Σx²: x / y, and 0 where y is 0."""
    return maker.op("Div", x, maker.op("Where", maker.op("Greater", y, 0.0), y, 1.0))


def _square_sum(maker: GraphMaker, x: str, y: str, axes: Sequence[int]) -> str:
    return maker.op("Mul", x, 2.0)


def _log_sum(maker: GraphMaker, x: str, y: str, axes: Sequence[int]) -> str:
    """1 / Σx, the same for all elements of a sum."""
    return maker.op("Expand", maker.op("Exp", maker.op("Neg", y)), maker.op("Shape", x))


def _log_sum_exp(maker: GraphMaker, x: str, y: str, axes: Sequence[int]) -> str:
    return maker.op("Exp", maker.op("Sub", x, y))


def _product(maker: GraphMaker, x: str, y: str, axes: Sequence[int]) -> str:
    """y / x, and 0 where x is 0."""
    return maker.finite(maker.op("Div", y, x))


def _softmax_axes(maker: GraphMaker, node: NodeProto) -> list[int]:
    """Return the axes over which a softmax adds up to 1: one, or before opset 13 all from `axis` on."""
    rank = len(maker.shape(node.input[0]))
    if maker.opset() >= _AXIS_ALONE:
        axes = [int_attribute(node, "axis", -1) % rank]
    else:
        axes = list(range(int_attribute(node, "axis", 1) % rank, rank))
    if maker.batch_axis(node.input[0]) in axes:
        raise UnsupportedError(f"no gradient is known here for a {node.op_type} over the images")
    return axes


def _softmax(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """∂x = y·(g − Σ g·y)."""
    y = maker.value(node.output[0])
    total = maker.op("ReduceSum", maker.op("Mul", gradient, y), _softmax_axes(maker, node), keepdims=1)
    return [(node.input[0], maker.op("Mul", y, maker.op("Sub", gradient, total)))]


def _log_softmax(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """∂x = g − exp(y)·Σ g."""
    total = maker.op("ReduceSum", gradient, _softmax_axes(maker, node), keepdims=1)
    share = maker.op("Mul", maker.op("Exp", maker.value(node.output[0])), total)
    return [(node.input[0], maker.op("Sub", gradient, share))]


def _running_sum(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """CumSum: every element is in the sums behind it, whose gradients are added from the other end."""
    if not maker.is_constant(node.input[1]):
        raise UnsupportedError("no gradient is known here for a CumSum along a computed axis")
    axis = int(maker.load(node.input[1]).reshape(())) % len(maker.shape(node.input[0]))
    if maker.batch_axis(node.input[0]) == axis:
        raise UnsupportedError("no gradient is known here for a CumSum over the images")
    exclusive, reverse = int_attribute(node, "exclusive"), int_attribute(node, "reverse")
    along = maker.constant(axis, np.int64)
    return [(node.input[0], maker.op("CumSum", gradient, along, exclusive=exclusive, reverse=1 - reverse))]


REDUCTION_RULES: dict[str, Rule] = {
    "CumSum": _running_sum,
    "LogSoftmax": _log_softmax,
    "ReduceL1": _reduction(_absolute_sum),
    "ReduceL2": _reduction(_norm),
    "ReduceLogSum": _reduction(_log_sum),
    "ReduceLogSumExp": _reduction(_log_sum_exp),
    "ReduceMax": _reduction(_extreme),
    "ReduceMean": _sum_or_mean,
    "ReduceMin": _reduction(_extreme),
    "ReduceProd": _reduction(_product),
    "ReduceSum": _sum_or_mean,
    "ReduceSumSquare": _reduction(_square_sum),
    "Softmax": _softmax,
}
