"""Derivatives of the operators that are linear in their input: convolutions, products with matrices, pooling.

Each rule takes the graph being made, a node, the name of the gradient at its output and the values that need
gradients, and returns (value, gradient) for each of those among its inputs. Left out: overlapping average pools.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto

from enxuto.quantize.graph_maker import Found, GraphMaker, Rule, UnsupportedError, scattered
from enxuto.quantize.layers import attribute_values

__all__ = ["LINEAR_RULES", "conv_pads"]


def _conv(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    """∂/∂x of a convolution: the gradient, spread out by the strides, convolved with the kernel turned around.

    That is a transposed convolution; but as a plain one ONNX Runtime computes it many times faster.
    """
    x, weight = node.input[0], node.input[1]
    if not maker.is_constant(weight):
        raise UnsupportedError("no gradient is known here for a convolution whose kernel is computed")
    given = attribute_values(node)
    kernel, sizes = maker.shape(weight)[2:], maker.shape(x)[2:]
    spatial = len(kernel)
    ones = (1,) * spatial
    strides, dilations = given.get("strides", ones), given.get("dilations", ones)
    pads = conv_pads(given, sizes, kernel, strides, dilations)
    groups = given.get("group", 1)
    spread = _spread_out(maker, gradient, maker.shape(node.output[0]), strides)
    have = [out * stride for out, stride in zip(maker.shape(node.output[0])[2:], strides, strict=True)]
    reach = [(size - 1) * dilation for size, dilation in zip(kernel, dilations, strict=True)]
    starts = [r - pad for r, pad in zip(reach, pads[:spatial], strict=True)]
    ends = [size - h - start + r for size, h, start, r in zip(sizes, have, starts, reach, strict=True)]
    result = maker.op(
        "Conv",
        spread,
        maker.constant(_turned(maker.source.load(weight), groups)),
        group=groups,
        dilations=dilations,
        pads=[max(0, pad) for pad in (*starts, *ends)],
    )
    if min(*starts, *ends) < 0:
        cut = [max(0, -start) for start in starts]
        bounds = [cut, [c + size for c, size in zip(cut, sizes, strict=True)], range(2, 2 + spatial)]
        result = maker.op("Slice", result, *(maker.constant(bound, np.int64) for bound in bounds))
    return [(x, result)]


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


def conv_pads(
    given: dict[str, Any],
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[int, ...]:
    """Return a convolution's pads, those of `auto_pad` worked out: starts of all axes, then ends."""
    spatial = len(kernel)
    auto = given.get("auto_pad", "NOTSET")
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        return tuple(given.get("pads", (0,) * (2 * spatial)))
    starts, ends = [], []
    for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size)
        small, large = total // 2, total - total // 2
        starts.append(small if auto == "SAME_UPPER" else large)
        ends.append(large if auto == "SAME_UPPER" else small)
    return (*starts, *ends)


def _matmul(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    x, weight = node.input
    if not maker.is_constant(weight) or len(maker.shape(weight)) != 2:
        raise UnsupportedError("no gradient is known here for a product of two computed matrices")
    return [(x, maker.op("MatMul", gradient, maker.constant(maker.source.load(weight).T)))]


def _gemm(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    given = attribute_values(node)
    x, weight = node.input[0], node.input[1]
    if not maker.is_constant(weight) or given.get("transA", 0):
        raise UnsupportedError("no gradient is known here for this kind of Gemm")
    matrix = maker.source.load(weight).astype(np.float32) * given.get("alpha", 1.0)
    return [(x, maker.op("MatMul", gradient, maker.constant(matrix if given.get("transB", 0) else matrix.T)))]


def _spread(maker: GraphMaker, gradient: str, name: str, factor: float) -> str:
    """Repeat a pooled gradient (N, C, 1, …) over the positions of `name`, times `factor`."""
    shape = maker.shape(name)
    scaled = maker.op("Mul", gradient, maker.constant(factor))
    column = maker.op("Reshape", scaled, maker.constant([-1, shape[1], *([1] * (len(shape) - 2))], np.int64))
    return maker.op("Expand", column, maker.constant([1, 1, *shape[2:]], np.int64))


def _global_average(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    sizes = maker.shape(node.input[0])[2:]
    return [(node.input[0], _spread(maker, gradient, node.input[0], 1 / float(np.prod(sizes))))]


def _reduce_mean(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    shape = maker.shape(node.input[0])
    given = attribute_values(node)
    axes = given.get("axes")
    if axes is None and len(node.input) > 1 and maker.is_constant(node.input[1]):
        axes = maker.source.load(node.input[1]).tolist()
    if axes is None or sorted(axis % len(shape) for axis in axes) != list(range(2, len(shape))):
        raise UnsupportedError("no gradient is known here for a ReduceMean over other than the spatial axes")
    return _global_average(maker, node, gradient, carries)


def _average_pool(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    """A convolution of every channel with the same kernel, whose transpose is as `_conv` has it."""
    given = attribute_values(node)
    shape, out = maker.shape(node.input[0]), maker.shape(node.output[0])
    kernel = given["kernel_shape"]
    strides = given.get("strides", (1,) * len(kernel))
    pads = conv_pads(given, shape[2:], kernel, strides, (1,) * len(kernel))
    if out[2:] == (1,) * len(kernel) and tuple(kernel) == tuple(shape[2:]) and not any(pads):
        return _global_average(maker, node, gradient, carries)
    if given.get("ceil_mode", 0) or (any(pads) and not given.get("count_include_pad", 0)):
        raise UnsupportedError("no gradient is known here for an average pool that leaves out its padding")
    raise UnsupportedError("no gradient is known here for an overlapping average pool")


def _max_pool(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    """Each window's gradient goes where its largest value was; ONNX Runtime finds that place again."""
    given = attribute_values(node)
    kept = {
        key: given[key]
        for key in ("kernel_shape", "strides", "pads", "dilations", "ceil_mode", "auto_pad")
        if key in given
    }
    x = maker.value(node.input[0])
    maker.op("MaxPool", x, **kept)
    pooled = maker.nodes[-1]
    places = pooled.output[0] + " places"
    pooled.output.append(places)
    flat = maker.op("Reshape", gradient, maker.constant([-1], np.int64))
    where = maker.op("Reshape", places, maker.constant([-1], np.int64))
    return [(node.input[0], scattered(maker, where, flat, x))]


LINEAR_RULES: dict[str, Rule] = {
    "AveragePool": _average_pool,
    "Conv": _conv,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "ReduceMean": _reduce_mean,
}
