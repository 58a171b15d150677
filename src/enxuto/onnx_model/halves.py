"""Models in bfloat16 as ONNX Runtime can run them on a CPU, and the form of float16 that ends its process."""

from __future__ import annotations

import numpy as np
from onnx import AttributeProto, ModelProto, TensorProto, TypeProto, numpy_helper

from enxuto.onnx_model.messages import inner_messages
from enxuto.onnx_model.model import Model
from enxuto.onnx_model.scopes import weight_slots
from enxuto.onnx_model.tensors import InMemory

__all__ = ["bfloat16_as_float32", "has_cells_of_halves"]

_TYPES = frozenset(
    {"to", "dtype", "output_dtype", "stash_type", "softmax_precision"}
)  # attributes that name one


def bfloat16_as_float32(model: Model) -> Model | None:
    """Return the model with float32 wherever it has bfloat16, every weight with the same value; None where it has none.

    What such a model computes is rounded less than the original says: to float32 where that rounds to bfloat16.
    """
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    data, changed = {}, False
    for name, slot in weight_slots(proto).items():
        if slot.tensor.data_type == TensorProto.BFLOAT16:
            data[name] = InMemory(model.load(name).astype(np.float32))
            slot.tensor.data_type = TensorProto.FLOAT
            changed = True
    for message in inner_messages(proto):
        if isinstance(message, TensorProto) and message.data_type == TensorProto.BFLOAT16:
            values = numpy_helper.to_array(message).astype(np.float32)
            message.CopyFrom(numpy_helper.from_array(values, message.name))
        elif isinstance(message, TypeProto.Tensor | TypeProto.SparseTensor) and (
            message.elem_type == TensorProto.BFLOAT16
        ):
            message.elem_type = TensorProto.FLOAT
        elif (
            isinstance(message, AttributeProto)
            and message.name in _TYPES
            and message.i == TensorProto.BFLOAT16
        ):
            message.i = TensorProto.FLOAT
        else:
            continue
        changed = True
    return model.with_proto(proto, data) if changed else None


def has_cells_of_halves(model: Model) -> bool:
    """Say whether a model may have an LSTM, GRU or RNN that computes with float16."""
    graph = model.proto.graph
    if not any(node.op_type in ("LSTM", "GRU", "RNN") for node in graph.node):
        return False
    types = [item.data_type for item in graph.initializer]
    return TensorProto.FLOAT16 in (*types, *(item.type.tensor_type.elem_type for item in graph.input))
