"""Derivatives of convolutions and transposed convolutions, whose kernels are constants.

The derivative of either is the other one. As ONNX Runtime computes plain convolutions many times faster than transposed
ones, the derivative of a convolution is made a plain one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto

from enxuto.calibration.gradients.graph import Contributions, GraphMaker, Rule, UnsupportedError
from enxuto.onnx_model import Window, int_attribute, ints_attribute, window_of

__all__ = ["CONVOLUTION_RULES", "convolution_gradient"]


def _conv(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    x, weight = node.input[0], node.input[1]
    if not maker.is_constant(weight):
        raise UnsupportedError("no gradient is known here for a convolution whose kernel is computed")
    window = window_of(node, maker.shape(weight)[2:])
    group = int_attribute(node, "group", 1)
    shape, sizes = maker.shape(node.output[0]), maker.shape(x)[2:]
    return [(x, convolution_gradient(maker, gradient, shape, sizes, maker.load(weight), group, window))]


def convolution_gradient(
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
    apart = _insert_zeros(maker, gradient, shape, window.strides)
    have = [out * stride for out, stride in zip(shape[2:], window.strides, strict=True)]
    reach = [extent - 1 for extent in window.extents]
    starts = [r - pad for r, pad in zip(reach, pads[:spatial], strict=True)]
    ends = [size - h - start + r for size, h, start, r in zip(sizes, have, starts, reach, strict=True)]
    result = maker.op(
        "Conv",
        apart,
        maker.constant(_transpose_kernel(weight, groups)),
        group=groups,
        dilations=window.dilations,
        pads=[max(0, pad) for pad in (*starts, *ends)],
    )
    if min(*starts, *ends) < 0:
        cut = [max(0, -start) for start in starts]
        ends = [c + size for c, size in zip(cut, sizes, strict=True)]
        bounds = [cut, ends, range(2, 2 + spatial)]
        result = maker.op("Slice", result, *bounds)
    return result


def _transpose_kernel(kernel: np.ndarray, groups: int) -> np.ndarray:
    """Return a kernel with inputs and outputs exchanged within each group, and all positions reversed."""
    outputs, inputs, *positions = kernel.shape
    split = kernel.reshape(groups, outputs // groups, inputs, *positions).swapaxes(1, 2)  # g o i … -> g i o …
    flipped = np.flip(split, axis=tuple(range(3, split.ndim)))
    return np.ascontiguousarray(flipped.reshape(groups * inputs, outputs // groups, *positions))


def _insert_zeros(maker: GraphMaker, gradient: str, shape: Sequence[int], strides: Sequence[int]) -> str:
    """Put stride − 1 zeros behind every value along each spatial axis.

    A transposed convolution of single ones does it, in a tenth of the time that ONNX Runtime takes to pad each value.
    """
    if all(stride == 1 for stride in strides):
        return gradient
    ones = maker.constant(np.ones((shape[1], 1, *[1] * len(strides))))
    behind = [stride - 1 for stride in strides]
    return maker.op(
        "ConvTranspose", gradient, ones, group=shape[1], strides=list(strides), output_padding=behind
    )


def _transposed_conv(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """∂x is a convolution of the gradient with the same kernel, strides, dilations and pads."""
    x, weight = node.input[0], node.input[1]
    if not maker.is_constant(weight):
        raise UnsupportedError("no gradient is known here for a convolution whose kernel is computed")
    window = window_of(node, maker.shape(weight)[2:])
    sizes, outputs = maker.shape(x)[2:], maker.shape(node.output[0])[2:]
    pads = _transposed_pads(node, window, sizes, outputs)
    result = maker.op(
        "Conv",
        gradient,
        maker.value(weight),
        strides=window.strides,
        dilations=window.dilations,
        group=int_attribute(node, "group", 1),
        pads=pads,
    )
    # Output padding as long as a stride makes positions that no input has.
    return [(x, maker.op("Slice", result, [0] * len(sizes), sizes, range(2, 2 + len(sizes))))]


def _transposed_pads(
    node: NodeProto, window: Window, sizes: Sequence[int], outputs: Sequence[int]
) -> tuple[int, ...]:
    """Return what a transposed convolution cuts off its output, at the starts of all axes, then at the ends.

    `output_shape` and SAME give the output's size, from which the pads follow; they share an odd one out.
    """
    if not window.is_same and not ints_attribute(node, "output_shape"):
        return window.pads
    padding = ints_attribute(node, "output_padding", (0,) * len(sizes))
    wholes = [
        (size - 1) * stride + extra + extent
        for size, stride, extra, extent in zip(sizes, window.strides, padding, window.extents, strict=True)
    ]
    totals = [whole - size for whole, size in zip(wholes, outputs, strict=True)]
    if min(totals) < 0:
        raise UnsupportedError(
            "no gradient is known here for a transposed convolution with an output so large"
        )
    small = [total // 2 for total in totals]
    large = [total - part for total, part in zip(totals, small, strict=True)]
    return (*small, *large) if window.auto_pad == "SAME_UPPER" else (*large, *small)


CONVOLUTION_RULES: dict[str, Rule] = {"Conv": _conv, "ConvTranspose": _transposed_conv}
