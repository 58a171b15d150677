"""Derivatives of operators that ONNX Runtime puts in place of several, in models that it has optimized.

Left out: attention as one operator, and normalisations of which more than the first output leads to the scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onnx import NodeProto

from enxuto.calibration.gradients.activations import gelu_slope, swish_slope
from enxuto.calibration.gradients.graph import Contributions, GraphMaker, Rule
from enxuto.calibration.gradients.matrices import fused_matmul
from enxuto.calibration.gradients.normalizations import (
    normalize,
    through_normalization,
    through_root_mean_square,
)
from enxuto.onnx_model import float_attribute

__all__ = ["FUSED_DOMAIN", "FUSED_RULES"]

FUSED_DOMAIN = "com.microsoft"
_SKIP_EPSILON = 1e-12  # of the norms of sums, where they do not say
_QUICK_ALPHA = 1.702


def _of_a_sum(slope: Callable[[GraphMaker, NodeProto, str], str]) -> Rule:
    """Return the rule of y = f(x + bias), whose bias may be left out, with the slope f'."""

    def rule(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
        names = [name for name in node.input if name]
        own = maker.op("Mul", gradient, slope(maker, node, _sum(maker, names)))
        return _shared(maker, node, own, names, carries)

    return rule


def _skip_norm(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """SkipLayerNormalization: a layer norm of input + skip + bias; inputs are these two, γ, β and the bias."""
    inputs = [*node.input, "", ""][:5]
    names, axes, value = _summed(maker, inputs, 4)
    normal, deviation = normalize(maker, value, axes, float_attribute(node, "epsilon", _SKIP_EPSILON))
    scaled = maker.op("Mul", gradient, maker.value(inputs[2]))
    own = through_normalization(maker, scaled, normal, deviation, axes)
    return _shared(maker, node, own, names, carries)


def _skip_root_norm(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """SkipSimplifiedLayerNormalization: the same by the root mean square, without β."""
    inputs = [*node.input, ""][:4]
    names, axes, value = _summed(maker, inputs, 3)
    scaled = maker.op("Mul", gradient, maker.value(inputs[2]))
    epsilon = float_attribute(node, "epsilon", _SKIP_EPSILON)
    own = through_root_mean_square(maker, value, scaled, axes, epsilon)
    return _shared(maker, node, own, names, carries)


def _summed(maker: GraphMaker, inputs: Sequence[str], bias: int) -> tuple[list[str], list[int], str]:
    """Return what is added before a norm, the axes of the norm, and the sum."""
    names = [inputs[place] for place in (0, 1, bias) if inputs[place]]
    return names, [len(maker.shape(inputs[0])) - 1], _sum(maker, names)


def _sum(maker: GraphMaker, names: Sequence[str]) -> str:
    values = [maker.value(name) for name in names]
    return values[0] if len(values) == 1 else maker.op("Sum", *values)


def _shared(
    maker: GraphMaker, node: NodeProto, gradient: str, names: Sequence[str], carries: set[str]
) -> Contributions:
    """Return the gradient at a sum as those of what was added, each summed over the axes of its broadcast."""
    return [(name, maker.sum_to(gradient, name, node.output[0])) for name in names if name in carries]


FUSED_RULES: dict[str, Rule] = {
    "BiasGelu": _of_a_sum(lambda maker, node, x: gelu_slope(maker, x, False)),
    "FastGelu": _of_a_sum(lambda maker, node, x: gelu_slope(maker, x, True)),
    "FusedMatMul": fused_matmul,
    "Gelu": _of_a_sum(lambda maker, node, x: gelu_slope(maker, x, False)),
    "QuickGelu": _of_a_sum(
        lambda maker, node, x: swish_slope(maker, x, float_attribute(node, "alpha", _QUICK_ALPHA))
    ),
    "SkipLayerNormalization": _skip_norm,
    "SkipSimplifiedLayerNormalization": _skip_root_norm,
}
"""Rules by operator of ONNX Runtime's domain."""
