"""Derivatives of convolutions and products with matrices, both with constants.

Each rule takes the graph being made, a node, the name of the gradient at its output and the values that need
gradients, and returns (value, gradient) for each of those among its inputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto

from enxuto.calibration.gradients.graph import Found, GraphMaker, Rule, UnsupportedError
from enxuto.onnx_model import Window, float_attribute, int_attribute, window_of

__all__ = ["LINEAR_RULES", "unconvolved"]


def _conv(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    x, weight = node.input[0], node.input[1]
    if not maker.is_constant(weight):
        raise UnsupportedError("no gradient is known here for a convolution whose kernel is computed")
    window = window_of(node, maker.shape(weight)[2:])
    group = int_attribute(node, "group", 1)
    shape, sizes = maker.shape(node.output[0]), maker.shape(x)[2:]
    return [(x, unconvolved(maker, gradient, shape, sizes, maker.load(weight), group, window))]


def unconvolved(
    maker: GraphMaker,
    gradient: str,
    shape: Sequence[int],
    sizes: Sequence[int],
    weight: np.ndarray,
    groups: int,
    window: Window,
) -> str:
    """∂/∂x of a convolution: the gradient, spread out by the strides, convolved with the kernel turned around.

    That is a transposed convolution; but as a plain one ONNX Runtime computes it many times faster.
    shape (N, O, …): of the output; sizes: of x's spatial axes; weight (O, I/groups, …).
    """
    spatial, pads = len(window.kernel), window.padding(sizes)
    spread = _spread_out(maker, gradient, shape, window.strides)
    have = [out * stride for out, stride in zip(shape[2:], window.strides, strict=True)]
    reach = [extent - 1 for extent in window.extents]
    starts = [r - pad for r, pad in zip(reach, pads[:spatial], strict=True)]
    ends = [size - h - start + r for size, h, start, r in zip(sizes, have, starts, reach, strict=True)]
    result = maker.op(
        "Conv",
        spread,
        maker.constant(_turned(weight, groups)),
        group=groups,
        dilations=window.dilations,
        pads=[max(0, pad) for pad in (*starts, *ends)],
    )
    if min(*starts, *ends) < 0:
        cut = [max(0, -start) for start in starts]
        bounds = [cut, [c + size for c, size in zip(cut, sizes, strict=True)], range(2, 2 + spatial)]
        result = maker.op("Slice", result, *(maker.constant(bound, np.int64) for bound in bounds))
    return result


def _turned(kernel: np.ndarray, groups: int) -> np.ndarray:
    """Return a kernel with inputs and outputs exchanged within each group, and all positions reversed."""
    outputs, inputs, *positions = kernel.shape
    split = kernel.reshape(groups, outputs // groups, inputs, *positions).swapaxes(1, 2)  # g o i … -> g i o …
    flipped = np.flip(split, axis=tuple(range(3, split.ndim)))
    return np.ascontiguousarray(flipped.reshape(groups * inputs, outputs // groups, *positions))


def _spread_out(maker: GraphMaker, gradient: str, shape: Sequence[int], strides: Sequence[int]) -> str:
    """Put stride − 1 zeros behind every value along each spatial axis."""
    if all(stride == 1 for stride in strides):
        return gradient
    apart = [item for size in shape[2:] for item in (size, 1)]
    column = maker.op("Reshape", gradient, maker.constant([-1, shape[1], *apart], np.int64))
    behind = [item for stride in strides for item in (0, stride - 1)]
    zeros = [0] * (2 + len(behind))
    padded = maker.op("Pad", column, maker.constant([*zeros, 0, 0, *behind], np.int64))
    together = [size * stride for size, stride in zip(shape[2:], strides, strict=True)]
    return maker.op("Reshape", padded, maker.constant([-1, shape[1], *together], np.int64))


def _matmul(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    x, weight = node.input
    if not maker.is_constant(weight) or len(maker.shape(weight)) != 2:
        raise UnsupportedError("no gradient is known here for a product of two computed matrices")
    return [(x, maker.op("MatMul", gradient, maker.constant(maker.load(weight).T)))]


def _gemm(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    x, weight = node.input[0], node.input[1]
    if not maker.is_constant(weight) or int_attribute(node, "transA"):
        raise UnsupportedError("no gradient is known here for this kind of Gemm")
    matrix = maker.load(weight) * float_attribute(node, "alpha", 1.0)
    turned = matrix if int_attribute(node, "transB") else matrix.T
    return [(x, maker.op("MatMul", gradient, maker.constant(turned)))]


LINEAR_RULES: dict[str, Rule] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
}
