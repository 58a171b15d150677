"""Derivatives of pools: maxima, means and norms over windows and over whole planes.

An average pool is a convolution of every channel with ones, each output divided by how many values it counted, which
differs at the borders with pads, `count_include_pad`, `ceil_mode` and the version of the operator set. ONNX Runtime
is asked what it divides by, so that the derivative is that of what it computes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper

from enxuto.calibration.gradients.convolutions import convolution_gradient
from enxuto.calibration.gradients.graph import Contributions, GraphMaker, Rule
from enxuto.onnx_model import Model, Window, int_attribute, window_of
from enxuto.runtime import Runner

__all__ = ["POOL_RULES", "spread_over_plane"]


def spread_over_plane(maker: GraphMaker, gradient: str, name: str, factor: float) -> str:
    """Repeat a pooled gradient (N, C, 1, …) over the positions of `name`, times `factor`."""
    shape = maker.shape(name)
    scaled = maker.op("Mul", gradient, maker.constant(factor))
    column = maker.op("Reshape", scaled, [-1, shape[1], *([1] * (len(shape) - 2))])
    return maker.op("Expand", column, [1, 1, *shape[2:]])


def _global_average(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    sizes = maker.shape(node.input[0])[2:]
    return [(node.input[0], spread_over_plane(maker, gradient, node.input[0], 1 / float(np.prod(sizes))))]


def _average_pool(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    x, window = node.input[0], window_of(node)
    sizes, shape = maker.shape(x)[2:], maker.shape(node.output[0])
    kernel = window.kernel
    one_position = set(shape[2:]) == {1}
    if one_position and kernel == tuple(sizes) and not any(window.padding(sizes)):
        return _global_average(maker, node, gradient, carries)
    shares = maker.op("Mul", gradient, maker.constant(_shares(maker, node, sizes, shape[2:], window)))
    channels = shape[1]
    weight = np.ones((channels, 1, *kernel), np.float32)
    return [(x, convolution_gradient(maker, shares, shape, sizes, weight, channels, window))]


def _shares(
    maker: GraphMaker, node: NodeProto, sizes: Sequence[int], outputs: Sequence[int], window: Window
) -> npt.NDArray[np.float32]:
    """Return by position of the output what each value in its window counts for, (1, 1, …).

    The pool of ones is how many values of x a window holds over what they are divided by.
    """
    single = NodeProto()
    single.CopyFrom(node)
    single.input[0], single.output[0] = "x", "y"
    del single.output[1:]
    graph = helper.make_graph(
        [single],
        "pool",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, *sizes])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    version = helper.make_opsetid("", maker.opset())
    proto = helper.make_model(graph, opset_imports=[version], ir_version=maker.source.proto.ir_version)
    pooled = Runner(Model.from_proto(proto), threads=1).run({"x": np.ones((1, 1, *sizes), np.float32)})[0]
    counts, pads = np.ones((1,) * len(sizes)), window.padding(sizes)
    for axis, (size, count) in enumerate(zip(sizes, outputs, strict=True)):
        starts = np.arange(count) * window.strides[axis] - pads[axis]
        positions = starts[:, None] + np.arange(window.kernel[axis]) * window.dilations[axis]
        inside = ((positions >= 0) & (positions < size)).sum(axis=1)
        counts = counts * inside.reshape([-1 if other == axis else 1 for other in range(len(sizes))])
    return np.asarray(np.where(counts > 0, pooled[0, 0] / np.maximum(counts, 1), 0)[None, None], np.float32)


def _max_pool(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """Each window's gradient goes where its largest value was; ONNX Runtime finds that position again."""
    x = maker.value(node.input[0])
    if node.op_type == "GlobalMaxPool":
        maker.op("MaxPool", x, kernel_shape=maker.shape(node.input[0])[2:])
    else:
        window = window_of(node)
        explicit = {} if window.is_same else {"pads": window.pads}
        maker.op(
            "MaxPool",
            x,
            kernel_shape=window.kernel,
            strides=window.strides,
            dilations=window.dilations,
            ceil_mode=int_attribute(node, "ceil_mode"),
            auto_pad=window.auto_pad,
            **explicit,
        )
    positions = maker.second_output()
    return [(node.input[0], maker.scatter(positions, gradient, node.input[0]))]


def _norm_pool(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """LpPool: y = (Σ |x|ᵖ)^(1/p), so that ∂x = sign(x)·|x|^(p − 1)·Σ g·y^(1 − p) over the windows with x."""
    name, window = node.input[0], window_of(node)
    shape, sizes = maker.shape(node.output[0]), maker.shape(name)[2:]
    share = _norm_share(maker, node, gradient)
    ones = np.ones((shape[1], 1, *window.kernel), np.float32)
    sums = convolution_gradient(maker, share, shape, sizes, ones, shape[1], window)
    return [(name, maker.op("Mul", sums, _norm_slope(maker, node)))]


def _global_norm_pool(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    share = _norm_share(maker, node, gradient)
    return [(node.input[0], maker.op("Mul", share, _norm_slope(maker, node)))]


def _norm_share(maker: GraphMaker, node: NodeProto, gradient: str) -> str:
    """Return g·y^(1 − p); 0 where y is 0, where the norm has no derivative."""
    y = maker.value(node.output[0])
    positive = maker.op("Greater", y, 0.0)
    power = maker.op("Pow", maker.op("Where", positive, y, 1.0), 1.0 - int_attribute(node, "p", 2))
    return maker.op("Where", positive, maker.op("Mul", gradient, power), 0.0)


def _norm_slope(maker: GraphMaker, node: NodeProto) -> str:
    """Return sign(x)·|x|^(p − 1)."""
    x = maker.value(node.input[0])
    size = maker.op("Pow", maker.op("Abs", x), int_attribute(node, "p", 2) - 1.0)
    return maker.op("Mul", maker.op("Sign", x), size)


POOL_RULES: dict[str, Rule] = {
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average,
    "GlobalLpPool": _global_norm_pool,
    "GlobalMaxPool": _max_pool,
    "LpPool": _norm_pool,
    "MaxPool": _max_pool,
}
