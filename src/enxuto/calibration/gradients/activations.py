"""Derivatives of activation functions and of other functions of single elements: the gradient times a slope.

A slope is a function that adds nodes for f'(x) and returns its name. Values at a kink get one of the two slopes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial, reduce
from typing import TypeAlias

from onnx import NodeProto, TensorProto

from enxuto.calibration.gradients.graph import Contributions, GraphMaker, Rule
from enxuto.onnx_model import float_attribute, has_attribute, text_attribute

__all__ = ["ACTIVATION_RULES", "gelu_slope", "swish_slope"]

_Slope: TypeAlias = Callable[[GraphMaker, NodeProto], str]
_SELU_ALPHA, _SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875  # ONNX's defaults
_GELU_CUBIC = 0.044715  # of the tanh approximation (Hendrycks & Gimpel 2016, arXiv:1606.08415)


def _times(slope: _Slope) -> Rule:
    """Return the rule of an operator y = f(x) with the slope f'(x)."""

    def rule(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
        return [(node.input[0], maker.op("Mul", gradient, slope(maker, node)))]

    return rule


def _times_finite(slope: _Slope) -> Rule:
    """Return the rule of y = f(x) whose slope f'(x) is infinite at the edge of where f is defined, and 0 there."""
    return _times(lambda maker, node: maker.finite(slope(maker, node)))


def _masked(maker: GraphMaker, gradient: str, mask: str) -> str:
    """Return the gradient where a mask is true, and zeros elsewhere: a product, twice as fast as Where."""
    return maker.op("Mul", gradient, maker.op("Cast", mask, to=TensorProto.FLOAT))


def _relu(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    positive = maker.op("Greater", maker.value(node.output[0]), 0.0)
    return [(node.input[0], _masked(maker, gradient, positive))]


def _leaky_relu(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    slope = maker.constant(float_attribute(node, "alpha", 0.01))
    positive = maker.op("Greater", maker.value(node.input[0]), 0.0)
    return [(node.input[0], maker.op("Where", positive, gradient, maker.op("Mul", gradient, slope)))]


def _parametric_relu(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """PRelu: where x is negative, y is x times an element of the second input."""
    x, slope = (maker.value(name) for name in node.input)
    positive = maker.op("Greater", x, 0.0)
    found = [(node.input[0], maker.op("Where", positive, gradient, maker.op("Mul", gradient, slope)))]
    if node.input[1] in carries:
        own = maker.op("Where", positive, 0.0, maker.op("Mul", gradient, x))
        found.append((node.input[1], maker.sum_to(own, node.input[1], node.output[0])))
    return [pair for pair in found if pair[0] in carries]


def _clip(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    x = maker.value(node.input[0])
    inside: list[str] = []
    for place, (bound, comparison) in enumerate((("min", "Greater"), ("max", "Less")), 1):
        if len(node.input) > place and node.input[place]:
            limit = maker.value(node.input[place])
        elif has_attribute(node, bound):  # before opset 11
            limit = maker.constant(float_attribute(node, bound, 0.0))
        else:
            continue
        inside.append(maker.op(comparison, x, limit))
    if not inside:
        return [(node.input[0], gradient)]
    return [(node.input[0], _masked(maker, gradient, reduce(partial(maker.op, "And"), inside)))]


def _hard_sigmoid(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    slope = maker.constant(float_attribute(node, "alpha", 0.2))
    y = maker.value(node.output[0])
    inside = maker.op("And", maker.op("Greater", y, 0.0), maker.op("Less", y, 1.0))
    return [(node.input[0], maker.op("Where", inside, maker.op("Mul", gradient, slope), 0.0))]


def _x(maker: GraphMaker, node: NodeProto) -> str:
    return maker.value(node.input[0])


def _y(maker: GraphMaker, node: NodeProto) -> str:
    return maker.value(node.output[0])


def _where_positive(maker: GraphMaker, node: NodeProto, positive: float, other: str) -> str:
    return maker.op("Where", maker.op("Greater", _x(maker, node), 0.0), positive, other)


def _sigmoid(maker: GraphMaker, node: NodeProto) -> str:
    y = _y(maker, node)
    return maker.op("Mul", y, maker.op("Sub", 1.0, y))


def _tanh(maker: GraphMaker, node: NodeProto) -> str:
    y = _y(maker, node)
    return maker.op("Sub", 1.0, maker.op("Mul", y, y))


def _hard_swish(maker: GraphMaker, node: NodeProto) -> str:
    x = _x(maker, node)
    ramp = maker.op("Add", maker.op("Mul", x, 1 / 3), 0.5)
    low = maker.op("Where", maker.op("Less", x, -3.0), 0.0, ramp)
    return maker.op("Where", maker.op("Greater", x, 3.0), 1.0, low)


def _elu(maker: GraphMaker, node: NodeProto) -> str:
    alpha = float_attribute(node, "alpha", 1.0)
    return _where_positive(maker, node, 1.0, maker.op("Mul", alpha, maker.op("Exp", _x(maker, node))))


def _selu(maker: GraphMaker, node: NodeProto) -> str:
    alpha = float_attribute(node, "alpha", _SELU_ALPHA)
    gamma = float_attribute(node, "gamma", _SELU_GAMMA)
    return _where_positive(
        maker, node, gamma, maker.op("Mul", alpha * gamma, maker.op("Exp", _x(maker, node)))
    )


def _celu(maker: GraphMaker, node: NodeProto) -> str:
    scaled = maker.op("Mul", _x(maker, node), 1 / float_attribute(node, "alpha", 1.0))
    return _where_positive(maker, node, 1.0, maker.op("Exp", scaled))


def _thresholded_relu(maker: GraphMaker, node: NodeProto) -> str:
    above = maker.op("Greater", _x(maker, node), float_attribute(node, "alpha", 1.0))
    return maker.op("Where", above, 1.0, 0.0)


def _softplus(maker: GraphMaker, node: NodeProto) -> str:
    return maker.op("Sigmoid", _x(maker, node))


def _softsign(maker: GraphMaker, node: NodeProto) -> str:
    below = maker.op("Add", 1.0, maker.op("Abs", _x(maker, node)))
    return maker.op("Reciprocal", maker.op("Mul", below, below))


def _gelu(maker: GraphMaker, node: NodeProto) -> str:
    return gelu_slope(maker, _x(maker, node), text_attribute(node, "approximate", "none") != "none")


def gelu_slope(maker: GraphMaker, x: str, approximate: bool) -> str:
    """Φ(x) + x·φ(x), or the derivative of x/2·(1 + tanh(√(2/π)·(x + c·x³)))."""
    square = maker.op("Mul", x, x)
    if not approximate:
        distribution = maker.op(
            "Mul", 0.5, maker.op("Add", 1.0, maker.op("Erf", maker.op("Mul", x, math.sqrt(0.5))))
        )
        density = maker.op("Mul", 1 / math.sqrt(2 * math.pi), maker.op("Exp", maker.op("Mul", square, -0.5)))
        return maker.op("Add", distribution, maker.op("Mul", x, density))
    scale = math.sqrt(2 / math.pi)
    cubic = maker.op("Add", scale, maker.op("Mul", square, scale * _GELU_CUBIC))
    inner = maker.op("Tanh", maker.op("Mul", x, cubic))
    inner_slope = maker.op("Add", scale, maker.op("Mul", square, 3 * scale * _GELU_CUBIC))
    bell = maker.op("Sub", 1.0, maker.op("Mul", inner, inner))
    rise = maker.op("Mul", maker.op("Mul", x, bell), inner_slope)
    return maker.op("Mul", 0.5, maker.op("Add", maker.op("Add", 1.0, inner), rise))


def swish_slope(maker: GraphMaker, x: str, alpha: float) -> str:
    """y = x·s with s = sigmoid(α·x); y' = s·(1 + α·x·(1 − s))."""
    gate = maker.op("Sigmoid", maker.op("Mul", x, alpha))
    rest = maker.op("Mul", maker.op("Mul", x, alpha), maker.op("Sub", 1.0, gate))
    return maker.op("Mul", gate, maker.op("Add", 1.0, rest))


def _swish(maker: GraphMaker, node: NodeProto) -> str:
    return swish_slope(maker, _x(maker, node), float_attribute(node, "alpha", 1.0))


def _mish(maker: GraphMaker, node: NodeProto) -> str:
    """y = x·t with t = tanh(softplus(x)); y' = t + x·(1 − t²)·sigmoid(x)."""
    x = _x(maker, node)
    inner = maker.op("Tanh", maker.op("Softplus", x))
    bell = maker.op("Sub", 1.0, maker.op("Mul", inner, inner))
    return maker.op("Add", inner, maker.op("Mul", maker.op("Mul", x, bell), maker.op("Sigmoid", x)))


def _erf(maker: GraphMaker, node: NodeProto) -> str:
    x = _x(maker, node)
    return maker.op("Mul", 2 / math.sqrt(math.pi), maker.op("Exp", maker.op("Neg", maker.op("Mul", x, x))))


def _log(maker: GraphMaker, node: NodeProto) -> str:
    return maker.op("Reciprocal", _x(maker, node))


def _sqrt(maker: GraphMaker, node: NodeProto) -> str:
    return maker.op("Div", 0.5, _y(maker, node))


def _reciprocal(maker: GraphMaker, node: NodeProto) -> str:
    y = _y(maker, node)
    return maker.op("Neg", maker.op("Mul", y, y))


def _abs(maker: GraphMaker, node: NodeProto) -> str:
    return maker.op("Sign", _x(maker, node))


def _cos(maker: GraphMaker, node: NodeProto) -> str:
    return maker.op("Neg", maker.op("Sin", _x(maker, node)))


def _tan(maker: GraphMaker, node: NodeProto) -> str:
    y = _y(maker, node)
    return maker.op("Add", 1.0, maker.op("Mul", y, y))


def _function_of_x(kind: str) -> _Slope:
    """Return a slope that is an operator's value at x."""
    return lambda maker, node: maker.op(kind, _x(maker, node))


def _inverse(constant: float, square: float, *, root: bool, sign: float = 1.0) -> _Slope:
    """Return the slope sign / (constant + square·x²) of an inverse function, or sign / √ of that."""

    def slope(maker: GraphMaker, node: NodeProto) -> str:
        x = _x(maker, node)
        base = maker.op("Add", constant, maker.op("Mul", square, maker.op("Mul", x, x)))
        return maker.op("Div", sign, maker.op("Sqrt", base) if root else base)

    return slope


def _neg(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    return [(node.input[0], maker.op("Neg", gradient))]


ACTIVATION_RULES: dict[str, Rule] = {
    "Abs": _times(_abs),
    "Acos": _times_finite(_inverse(1.0, -1.0, root=True, sign=-1.0)),
    "Acosh": _times_finite(_inverse(-1.0, 1.0, root=True)),
    "Asin": _times_finite(_inverse(1.0, -1.0, root=True)),
    "Asinh": _times(_inverse(1.0, 1.0, root=True)),
    "Atan": _times(_inverse(1.0, 1.0, root=False)),
    "Atanh": _times_finite(_inverse(1.0, -1.0, root=False)),
    "Celu": _times(_celu),
    "Clip": _clip,
    "Cos": _times(_cos),
    "Cosh": _times(_function_of_x("Sinh")),
    "Elu": _times(_elu),
    "Erf": _times(_erf),
    "Exp": _times(_y),
    "Gelu": _times(_gelu),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _times(_hard_swish),
    "LeakyRelu": _leaky_relu,
    "Log": _times_finite(_log),
    "Mish": _times(_mish),
    "Neg": _neg,
    "PRelu": _parametric_relu,
    "Reciprocal": _times(_reciprocal),
    "Relu": _relu,
    "Selu": _times(_selu),
    "Sigmoid": _times(_sigmoid),
    "Sin": _times(_function_of_x("Cos")),
    "Sinh": _times(_function_of_x("Cosh")),
    "Softplus": _times(_softplus),
    "Softsign": _times(_softsign),
    "Sqrt": _times_finite(_sqrt),
    "Swish": _times(_swish),
    "Tan": _times(_tan),
    "Tanh": _times(_tanh),
    "ThresholdedRelu": _times(_thresholded_relu),
}
