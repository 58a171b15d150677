"""Derivatives of pools and of sums and means over axes; rules are as in `rules`.

An average pool is a convolution of every channel with ones, each output divided by how many values it counted, which
differs at the borders with pads, `count_include_pad`, `ceil_mode` and the version of the operator set. ONNX Runtime
is asked what it divides by, so that the derivative is that of what it computes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper

from enxuto.calibration.gradients.graph import Found, GraphMaker, Rule, UnsupportedError, scattered
from enxuto.calibration.gradients.linear_rules import unconvolved
from enxuto.onnx_model import Model, Window, int_attribute, ints_attribute, window_of
from enxuto.runtime import Runner

__all__ = ["POOLING_RULES"]


def _spread(maker: GraphMaker, gradient: str, name: str, factor: float) -> str:
    """Repeat a pooled gradient (N, C, 1, …) over the positions of `name`, times `factor`."""
    shape = maker.shape(name)
    scaled = maker.op("Mul", gradient, maker.constant(factor))
    column = maker.op("Reshape", scaled, maker.constant([-1, shape[1], *([1] * (len(shape) - 2))], np.int64))
    return maker.op("Expand", column, maker.constant([1, 1, *shape[2:]], np.int64))


def _global_average(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    sizes = maker.shape(node.input[0])[2:]
    return [(node.input[0], _spread(maker, gradient, node.input[0], 1 / float(np.prod(sizes))))]


def _reduced_axes(maker: GraphMaker, node: NodeProto) -> list[int]:
    """Return over which axes a ReduceMean or ReduceSum goes, none of them that of the images."""
    rank = len(maker.shape(node.input[0]))
    axes: Sequence[int] = ints_attribute(node, "axes")
    if len(node.input) > 1 and node.input[1]:
        if not maker.is_constant(node.input[1]):
            raise UnsupportedError(f"no gradient is known here for a {node.op_type} over computed axes")
        axes = maker.load(node.input[1]).reshape(-1).tolist()
    if not axes:
        axes = [] if int_attribute(node, "noop_with_empty_axes") else range(rank)
    found = sorted(axis % rank for axis in axes)
    if 0 in found:
        raise UnsupportedError(f"no gradient is known here for a {node.op_type} over the images")
    return found


def _reduce(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    """ReduceMean and ReduceSum: what went into a sum gets its gradient."""
    x, axes = node.input[0], _reduced_axes(maker, node)
    shape = maker.shape(x)
    count = math.prod(shape[axis] for axis in axes) if node.op_type == "ReduceMean" else 1
    if axes == list(range(2, len(shape))):
        return [(x, _spread(maker, gradient, x, 1 / float(count)))]
    scaled = maker.op("Mul", gradient, maker.constant(1 / float(count)))
    kept = [-1, *(1 if axis in axes else size for axis, size in enumerate(shape) if axis)]
    column = maker.op("Reshape", scaled, maker.constant(kept, np.int64))
    return [(x, maker.op("Expand", column, maker.constant([1, *shape[1:]], np.int64)))]


def _average_pool(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    x, window = node.input[0], window_of(node)
    sizes, shape = maker.shape(x)[2:], maker.shape(node.output[0])
    kernel = window.kernel
    one_place = set(shape[2:]) == {1}
    if one_place and kernel == tuple(sizes) and not any(window.padding(sizes)):
        return _global_average(maker, node, gradient, carries)
    shares = maker.op("Mul", gradient, maker.constant(_shares(maker, node, sizes, shape[2:], window)))
    channels = shape[1]
    weight = np.ones((channels, 1, *kernel), np.float32)
    return [(x, unconvolved(maker, shares, shape, sizes, weight, channels, window))]


def _shares(
    maker: GraphMaker, node: NodeProto, sizes: Sequence[int], outputs: Sequence[int], window: Window
) -> npt.NDArray[np.float32]:
    """Return by position of the output what each value in its window counts for, (1, 1, …).

    The pool of ones is how many values of x a window holds over what they are divided by.
    """
    alone = NodeProto()
    alone.CopyFrom(node)
    alone.input[0], alone.output[0] = "x", "y"
    del alone.output[1:]
    graph = helper.make_graph(
        [alone],
        "pool",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, *sizes])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    version = helper.make_opsetid("", maker.opset())
    proto = helper.make_model(graph, opset_imports=[version], ir_version=maker.source.proto.ir_version)
    pooled = Runner(Model.from_proto(proto), threads=1).run({"x": np.ones((1, 1, *sizes), np.float32)})[0]
    held, pads = np.ones((1,) * len(sizes)), window.padding(sizes)
    for axis, (size, count) in enumerate(zip(sizes, outputs, strict=True)):
        starts = np.arange(count) * window.strides[axis] - pads[axis]
        places = starts[:, None] + np.arange(window.kernel[axis]) * window.dilations[axis]
        inside = ((places >= 0) & (places < size)).sum(axis=1)
        held = held * inside.reshape([-1 if other == axis else 1 for other in range(len(sizes))])
    return np.asarray(np.where(held > 0, pooled[0, 0] / np.maximum(held, 1), 0)[None, None], np.float32)


def _max_pool(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Found:
    """Each window's gradient goes where its largest value was; ONNX Runtime finds that place again."""
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
    pooled = maker.nodes[-1]
    places = pooled.output[0] + " places"
    pooled.output.append(places)
    flat = maker.op("Reshape", gradient, maker.constant([-1], np.int64))
    where = maker.op("Reshape", places, maker.constant([-1], np.int64))
    return [(node.input[0], scattered(maker, where, flat, x))]


POOLING_RULES: dict[str, Rule] = {
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _max_pool,
    "MaxPool": _max_pool,
    "ReduceMean": _reduce,
    "ReduceSum": _reduce,
}
