"""Derivatives of operators that change the size of a plane: Resize and Upsample, DepthToSpace and SpaceToDepth.

A resize is linear, and separable: along every axis it is a matrix. ONNX Runtime resizes unit vectors to find that
matrix, so that the derivative is that of what it computes, in every mode and with all ways of placing coordinates.
"""

from __future__ import annotations

import string

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper

from enxuto.calibration.gradients.graph import Contributions, GraphMaker, Rule, UnsupportedError
from enxuto.onnx_model import Model, int_attribute, ints_attribute, text_attribute
from enxuto.runtime import Runner

__all__ = ["RESIZING_RULES"]


def _resize(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """Along every axis of another size or scale, the gradient is multiplied by the axis's matrix."""
    x = node.input[0]
    if text_attribute(node, "coordinate_transformation_mode") == "tf_crop_and_resize":
        raise UnsupportedError("no gradient is known here for a Resize that crops")
    before, after = maker.shape(x), maker.shape(node.output[0])
    batch = maker.batch_axis(x)
    letters = string.ascii_letters[: len(before)]
    for axis, (size, resized) in enumerate(zip(before, after, strict=True)):
        if axis == batch and size != resized:
            raise UnsupportedError("no gradient is known here for a Resize of the images")
        if axis == batch or size == resized == 1:
            continue
        matrix = _axis_matrix(maker, node, axis)
        if size == resized and np.array_equal(matrix, np.eye(size)):
            continue
        other = letters.replace(letters[axis], "Z")
        equation = f"{letters},{letters[axis]}Z->{other}"
        gradient = maker.op("Einsum", gradient, maker.constant(matrix), equation=equation)
    return [(x, gradient)]


def _axis_matrix(maker: GraphMaker, node: NodeProto, axis: int) -> npt.NDArray[np.float32]:
    """Return what the operator does along one axis, (size after, size before): all other axes have the length 1."""
    rank, size = len(maker.shape(node.input[0])), maker.shape(node.input[0])[axis]
    resized = maker.shape(node.output[0])[axis]
    resized_axes = [given % rank for given in ints_attribute(node, "axes", range(rank))]
    single, held = NodeProto(), {}
    single.CopyFrom(node)
    single.input[0], single.output[0] = "x", "y"
    for name in filter(None, node.input[1:]):
        if not maker.is_constant(name):
            raise UnsupportedError(f"no gradient is known here for a {node.op_type} by a computed size")
        array = maker.load(name)
        if array.size == len(
            resized_axes
        ):  # sizes or scales; others are regions, which no mode left here reads
            whole = np.ones(rank, array.dtype)
            if array.dtype.kind in "iu":
                whole[axis] = resized
            elif axis in resized_axes:
                whole[axis] = array[resized_axes.index(axis)]
            array = whole
        held[name] = array
    for item in list(single.attribute):
        if item.name in ("axes", "keep_aspect_ratio_policy"):
            single.attribute.remove(item)
        elif item.name == "scales":  # of Upsample 7
            scale = item.floats[axis]
            del item.floats[:]
            item.floats.extend([scale if i == axis else 1.0 for i in range(rank)])
    shape = [1] * rank
    shape[axis] = size
    graph = helper.make_graph(
        [single],
        "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    version = helper.make_opsetid("", maker.opset())
    proto = helper.make_model(graph, opset_imports=[version], ir_version=maker.source.proto.ir_version)
    runner = Runner(Model.from_proto(proto), threads=1)
    unit = np.eye(size, dtype=np.float32).reshape(size, *shape)
    return np.stack([runner.run({"x": vector})[0].reshape(-1) for vector in unit], axis=1)


def _depth_to_space(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    block = int_attribute(node, "blocksize")
    name = node.input[0]
    if text_attribute(node, "mode", "DCR") == "DCR":
        return [(name, maker.op("SpaceToDepth", gradient, blocksize=block))]
    _, channels, height, width = maker.shape(name)
    split = maker.op("Reshape", gradient, [-1, channels // block**2, height, block, width, block])
    return [(name, maker.reshape_like(maker.op("Transpose", split, perm=[0, 1, 3, 5, 2, 4]), name))]


def _space_to_depth(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    block = int_attribute(node, "blocksize")
    return [(node.input[0], maker.op("DepthToSpace", gradient, blocksize=block, mode="DCR"))]


RESIZING_RULES: dict[str, Rule] = {
    "DepthToSpace": _depth_to_space,
    "Resize": _resize,
    "SpaceToDepth": _space_to_depth,
    "Upsample": _resize,
}
