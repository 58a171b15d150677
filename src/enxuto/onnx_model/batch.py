"""`free_batch`: free the batch size of a model whose input fixes it. `fix_sizes`: fix other sizes that are open.

Freed are the shapes of inputs and outputs, and the constant shapes of Reshape. Left out: batch sizes written elsewhere,
such as in subgraphs and attributes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from enxuto.onnx_model.model import Model
from enxuto.onnx_model.scopes import FREE_INITIALIZERS
from enxuto.onnx_model.tensors import InMemory, WeightData, clear_bytes

__all__ = ["fix_sizes", "fixed_batch", "free_batch"]


def fixed_batch(model: Model) -> int:
    """Return the batch size that the model's input fixes, 0 where it is free."""
    item = next((item for item in model.proto.graph.input if item.name not in model), None)
    if item is None or not item.type.tensor_type.shape.dim:
        return 0
    first = item.type.tensor_type.shape.dim[0]
    return first.dim_value if first.HasField("dim_value") else 0


def fix_sizes(model: Model, shape: Sequence[int]) -> Model:
    """Return the model for a first input of this shape, batch apart; itself where none of these sizes is open."""
    place = next((n for n, item in enumerate(model.proto.graph.input) if item.name not in model), None)
    if place is None:
        return model
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    sizes = proto.graph.input[place].type.tensor_type.shape.dim[1:]
    if len(sizes) != len(shape) or all(size.HasField("dim_value") for size in sizes):
        return model
    for size, wanted in zip(sizes, shape, strict=True):
        if not size.HasField("dim_value"):
            size.dim_value = wanted
    return model.with_proto(proto)


def free_batch(model: Model, *, shapes_too: bool = True) -> Model:
    """Return the model with a free batch size; itself where it is free already.

    shapes_too: whether that of Reshapes becomes free as well, not only that of inputs and outputs. The caller has to
    run it to see whether every image keeps its scores.
    """
    count = fixed_batch(model)
    if not count:
        return model
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    del proto.graph.value_info[:]
    for item in (*proto.graph.input, *proto.graph.output):
        sizes = item.type.tensor_type.shape.dim
        if item.name not in model and sizes and sizes[0].dim_value == count:
            sizes[0].dim_param = "images"
    shapes: dict[str, WeightData] = {}
    for number, node in enumerate(proto.graph.node if shapes_too else ()):
        shape = _shape_with_free_batch(model, node, count)
        if shape is not None:
            name = f"any batch, shape {number}"
            clear_bytes(proto.graph.initializer.add(name=name, data_type=TensorProto.INT64, dims=shape.shape))
            if proto.ir_version < FREE_INITIALIZERS:
                proto.graph.input.append(helper.make_tensor_value_info(name, TensorProto.INT64, shape.shape))
            shapes[name] = InMemory(shape)
            node.input[1] = name
    return model.with_proto(proto, shapes)


def _shape_with_free_batch(model: Model, node: NodeProto, count: int) -> np.ndarray | None:
    """Return a shape for a Reshape whose constant shape begins with the batch size, None where it does not."""
    if node.op_type != "Reshape" or len(node.input) < 2:  # before opset 5 the shape is an attribute
        return None
    if node.input[0] in model or node.input[1] not in model:
        return None
    shape = np.array(model.load(node.input[1]), np.int64).reshape(-1)
    if not shape.size or shape[0] != count:
        return None
    shape[0] = 0 if -1 in shape[1:] else -1  # 0: as many as come
    return shape
