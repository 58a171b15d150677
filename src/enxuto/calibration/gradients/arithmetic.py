"""Derivatives of elementwise operators of several inputs, which may be broadcast against each other.

Where an input was broadcast, its gradient is summed over the axes of the broadcast.
"""

from __future__ import annotations

from onnx import NodeProto

from enxuto.calibration.gradients.graph import Contributions, GraphMaker, Rule

__all__ = ["ARITHMETIC_RULES"]


def _add(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """Add and Sum."""
    return [(name, maker.sum_to(gradient, name, node.output[0])) for name in node.input if name in carries]


def _mean(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    return _add(maker, node, maker.op("Mul", gradient, 1 / len(node.input)), carries)


def _sub(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    found = []
    for place, name in enumerate(node.input):
        if name in carries:
            own = maker.op("Neg", gradient) if place == 1 else gradient
            found.append((name, maker.sum_to(own, name, node.output[0])))
    return found


def _mul(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    found = []
    for name, other in (tuple(node.input), tuple(node.input[::-1])):
        if name in carries:
            own = maker.op("Mul", gradient, maker.value(other))
            found.append((name, maker.sum_to(own, name, node.output[0])))
    return found


def _div(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """y = a / b: ∂a = g / b and ∂b = −y·∂a."""
    numerator, denominator = node.input
    own = maker.op("Div", gradient, maker.value(denominator))
    found = []
    if numerator in carries:
        found.append((numerator, maker.sum_to(own, numerator, node.output[0])))
    if denominator in carries:
        other = maker.op("Neg", maker.op("Mul", own, maker.value(node.output[0])))
        found.append((denominator, maker.sum_to(other, denominator, node.output[0])))
    return found


def _pow(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """y = a ** b: ∂a = g·b·a ** (b − 1) and ∂b = g·y·ln a, the latter for a above 0."""
    base, exponent = node.input
    a, b = maker.value(base), maker.value(exponent)
    if maker.is_constant(exponent):
        b = maker.constant(maker.load(exponent))  # which may be an integer
    found = []
    if base in carries:
        power = maker.op("Pow", a, maker.op("Sub", b, 1.0))
        own = maker.op("Mul", gradient, maker.finite(maker.op("Mul", b, power)))
        found.append((base, maker.sum_to(own, base, node.output[0])))
    if exponent in carries:
        slope = maker.op("Mul", maker.value(node.output[0]), maker.op("Log", a))
        own = maker.op("Mul", gradient, maker.finite(slope))
        found.append((exponent, maker.sum_to(own, exponent, node.output[0])))
    return found


def _extreme(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """Max and Min: the inputs that equal the output share the gradient."""
    y = maker.value(node.output[0])
    equal = [maker.op("Where", maker.op("Equal", maker.value(name), y), 1.0, 0.0) for name in node.input]
    share = maker.op("Div", gradient, maker.op("Sum", *equal))
    return [
        (name, maker.sum_to(maker.op("Mul", share, own), name, node.output[0]))
        for name, own in zip(node.input, equal, strict=True)
        if name in carries
    ]


def _where(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """The condition has no gradient: the scores jump where it changes, and are smooth elsewhere."""
    condition = maker.value(node.input[0])
    chosen = (maker.op("Where", condition, gradient, 0.0), maker.op("Where", condition, 0.0, gradient))
    return [
        (name, maker.sum_to(own, name, node.output[0]))
        for name, own in zip(node.input[1:], chosen, strict=True)
        if name in carries
    ]


ARITHMETIC_RULES: dict[str, Rule] = {
    "Add": _add,
    "Div": _div,
    "Max": _extreme,
    "Mean": _mean,
    "Min": _extreme,
    "Mul": _mul,
    "Pow": _pow,
    "Sub": _sub,
    "Sum": _add,
    "Where": _where,
}
