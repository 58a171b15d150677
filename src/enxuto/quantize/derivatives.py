"""Derivatives of operators, each as nodes of a graph that runs backwards.

A rule takes the graph being made, a node, the name of the gradient at its output and the values that need gradients,
and returns (value, gradient) for each of those among its inputs.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from enxuto.quantize.graph_maker import Found, GraphMaker, Rule, UnsupportedError, scattered
from enxuto.quantize.layers import attribute_values
from enxuto.quantize.linear_derivatives import LINEAR_RULES

__all__ = ["RULES"]


def _relu(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    positive = maker.op("Greater", maker.value(node.output[0]), maker.constant(0.0))
    return [(node.input[0], maker.op("Where", positive, gradient, maker.constant(0.0)))]


def _leaky_relu(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    slope = maker.constant(attribute_values(node).get("alpha", 0.01))
    positive = maker.op("Greater", maker.value(node.input[0]), maker.constant(0.0))
    return [(node.input[0], maker.op("Where", positive, gradient, maker.op("Mul", gradient, slope)))]


def _clip(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    given = attribute_values(node)
    limits = [given.get("min"), given.get("max")]
    for place in (1, 2):
        if len(node.input) > place and node.input[place]:
            limits[place - 1] = maker.value(node.input[place])
    x = maker.value(node.input[0])
    for limit, kind in zip(limits, ("Greater", "Less"), strict=True):
        if limit is not None:
            name = limit if isinstance(limit, str) else maker.constant(limit)
            gradient = maker.op("Where", maker.op(kind, x, name), gradient, maker.constant(0.0))
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
    slope = maker.constant(attribute_values(node).get("alpha", 0.2))
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
    given = attribute_values(node)
    scale, variance = (maker.source.load(node.input[i]).astype(np.float64) for i in (1, 4))
    factor = scale / np.sqrt(variance + given.get("epsilon", 1e-5))
    broad = (-1, *([1] * (len(maker.shape(node.input[0])) - 2)))
    return [(node.input[0], maker.op("Mul", gradient, maker.constant(factor.reshape(broad))))]


def _moved(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    """Reshape, Flatten, Squeeze, Unsqueeze: the same values in another shape."""
    return [(node.input[0], maker.resized(gradient, node.input[0]))]


def _identity(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    return [(node.input[0], gradient)]


def _transpose(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    rank = len(maker.shape(node.input[0]))
    order = attribute_values(node).get("perm", tuple(range(rank))[::-1])
    return [(node.input[0], maker.op("Transpose", gradient, perm=[int(i) for i in np.argsort(order)]))]


def _concat(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    rank = len(maker.shape(node.output[0]))
    axis = attribute_values(node)["axis"] % rank
    found, start = [], 0
    for name in node.input:
        end = start + maker.shape(name)[axis]
        if name in carries:
            bounds = [maker.constant([value], np.int64) for value in (start, end, axis)]
            found.append((name, maker.op("Slice", gradient, *bounds)))
        start = end
    return found


def _slice(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    """Numbers name the places; slicing the numbers tells where each gradient belongs."""
    x = maker.value(node.input[0])
    maker.integers.update(name for name in node.input[1:] if name and not maker.is_constant(name))
    bounds = [_integers(maker, name) if name else "" for name in node.input[1:]]
    size = maker.op("Size", x)
    numbers = maker.op("Range", maker.constant(0, np.int64), size, maker.constant(1, np.int64))
    taken = maker.op("Slice", maker.op("Reshape", numbers, maker.op("Shape", x)), *bounds)
    where = maker.op("Reshape", taken, maker.constant([-1], np.int64))
    flat = maker.op("Reshape", gradient, maker.constant([-1], np.int64))
    return [(node.input[0], scattered(maker, where, flat, x))]


def _integers(maker: GraphMaker, name: str) -> str:
    return maker.constant(maker.source.load(name), np.int64) if maker.is_constant(name) else maker.value(name)


def _pad(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    given = attribute_values(node)
    if given.get("mode", "constant") != "constant" or (len(node.input) > 3 and node.input[3]):
        raise UnsupportedError("no gradient is known here for this kind of Pad")
    shape = maker.shape(node.input[0])
    rank = len(shape)
    if "pads" in given:
        pads = maker.constant(given["pads"], np.int64)
    else:
        if not maker.is_constant(node.input[1]):
            maker.integers.add(node.input[1])
        pads = _integers(maker, node.input[1])
    starts = maker.op("Slice", pads, maker.constant([0], np.int64), maker.constant([rank], np.int64))
    # The batch is never padded; along it everything is taken.
    sizes = maker.constant([1 << 40, *shape[1:]], np.int64)
    return [(node.input[0], maker.op("Slice", gradient, starts, maker.op("Add", starts, sizes)))]


RULES: dict[str, Rule] = {
    **LINEAR_RULES,
    "Add": _add,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": _concat,
    "Div": _div,
    "Dropout": _identity,
    "Flatten": _moved,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Identity": _identity,
    "LeakyRelu": _leaky_relu,
    "Mul": _mul,
    "Pad": _pad,
    "Relu": _relu,
    "Reshape": _moved,
    "Sigmoid": _sigmoid,
    "Slice": _slice,
    "Squeeze": _moved,
    "Sub": _sub,
    "Tanh": _tanh,
    "Transpose": _transpose,
    "Unsqueeze": _moved,
}
