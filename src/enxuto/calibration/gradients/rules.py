"""Derivatives of operators, each as nodes of a graph that runs backwards.

A rule takes the graph being made, a node, the name of the gradient at its output and the values that need gradients,
and returns (value, gradient) for each of those among its inputs.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from enxuto.calibration.gradients.graph import Found, GraphMaker, Rule, UnsupportedError
from enxuto.calibration.gradients.linear_rules import LINEAR_RULES
from enxuto.calibration.gradients.moving_rules import MOVING_RULES, split_rule
from enxuto.calibration.gradients.pooling_rules import POOLING_RULES
from enxuto.onnx_model import float_attribute, has_attribute, int_attribute

__all__ = ["RULES", "split_rule"]


def _relu(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    positive = maker.op("Greater", maker.value(node.output[0]), maker.constant(0.0))
    return [(node.input[0], maker.op("Where", positive, gradient, maker.constant(0.0)))]


def _leaky_relu(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    slope = maker.constant(float_attribute(node, "alpha", 0.01))
    positive = maker.op("Greater", maker.value(node.input[0]), maker.constant(0.0))
    return [(node.input[0], maker.op("Where", positive, gradient, maker.op("Mul", gradient, slope)))]


def _clip(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    x = maker.value(node.input[0])
    for place, (bound, comparison) in enumerate((("min", "Greater"), ("max", "Less")), 1):
        if len(node.input) > place and node.input[place]:
            limit = maker.value(node.input[place])
        elif has_attribute(node, bound):  # before opset 11
            limit = maker.constant(float_attribute(node, bound, 0.0))
        else:
            continue
        gradient = maker.op("Where", maker.op(comparison, x, limit), gradient, maker.constant(0.0))
    return [(node.input[0], gradient)]


def _sigmoid(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    y = maker.value(node.output[0])
    slope = maker.op("Mul", y, maker.op("Sub", maker.constant(1.0), y))
    return [(node.input[0], maker.op("Mul", gradient, slope))]


def _tanh(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    y = maker.value(node.output[0])
    slope = maker.op("Sub", maker.constant(1.0), maker.op("Mul", y, y))
    return [(node.input[0], maker.op("Mul", gradient, slope))]


def _hard_sigmoid(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    slope = maker.constant(float_attribute(node, "alpha", 0.2))
    y = maker.value(node.output[0])
    inside = maker.op(
        "And", maker.op("Greater", y, maker.constant(0.0)), maker.op("Less", y, maker.constant(1.0))
    )
    scaled = maker.op("Mul", gradient, slope)
    return [(node.input[0], maker.op("Where", inside, scaled, maker.constant(0.0)))]


def _hard_swish(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    x = maker.value(node.input[0])
    ramp = maker.op("Add", maker.op("Mul", x, maker.constant(1 / 3)), maker.constant(0.5))
    low = maker.op("Where", maker.op("Less", x, maker.constant(-3.0)), maker.constant(0.0), ramp)
    slope = maker.op("Where", maker.op("Greater", x, maker.constant(3.0)), maker.constant(1.0), low)
    return [(node.input[0], maker.op("Mul", gradient, slope))]


def _summed(maker: GraphMaker, gradient: str, name: str, output: str) -> str:
    """Sum a gradient of `output`'s shape over the axes along which `name` was repeated."""
    small, large = maker.shape(name), maker.shape(output)
    offset = len(large) - len(small)
    axes = [
        axis for axis in range(len(large)) if axis < offset or (small[axis - offset] == 1 and large[axis] > 1)
    ]
    if not axes:
        return gradient
    summed = maker.op("ReduceSum", gradient, maker.constant(axes, np.int64), keepdims=1)
    return (
        maker.resized(summed, name)
        if offset == 0
        else maker.op("Reshape", summed, maker.constant(small, np.int64))
    )


def _add(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    return [(name, _summed(maker, gradient, name, node.output[0])) for name in node.input if name in carries]


def _sub(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    found = []
    for place, name in enumerate(node.input):
        if name in carries:
            own = maker.op("Neg", gradient) if place == 1 else gradient
            found.append((name, _summed(maker, own, name, node.output[0])))
    return found


def _mul(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    found = []
    for name, other in (tuple(node.input), tuple(node.input[::-1])):
        if name in carries:
            own = maker.op("Mul", gradient, maker.value(other))
            found.append((name, _summed(maker, own, name, node.output[0])))
    return found


def _div(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    if node.input[1] in carries:
        raise UnsupportedError("no gradient is known here for a division by a computed value")
    own = maker.op("Div", gradient, maker.value(node.input[1]))
    return [(node.input[0], _summed(maker, own, node.input[0], node.output[0]))]


def _batch_norm(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
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


RULES: dict[str, Rule] = {
    **LINEAR_RULES,
    **MOVING_RULES,
    **POOLING_RULES,
    "Add": _add,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Div": _div,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "LeakyRelu": _leaky_relu,
    "Mul": _mul,
    "Relu": _relu,
    "Sigmoid": _sigmoid,
    "Sub": _sub,
    "Tanh": _tanh,
}
