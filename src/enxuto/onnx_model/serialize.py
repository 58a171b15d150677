"""A model as the bytes of one file, piece by piece, without three copies of the weights in memory.

The initializers are appended to the serialized graph by hand: tag, length, tensor. That is the same message as
protobuf would write, with its fields in another order.
"""

from __future__ import annotations

from collections.abc import Iterator

from onnx import GraphProto, ModelProto, TensorProto

from enxuto.errors import ModelError
from enxuto.onnx_model.dtypes import array_bytes
from enxuto.onnx_model.messages import DAMAGED
from enxuto.onnx_model.model import Model
from enxuto.onnx_model.scopes import Slot, weight_slots
from enxuto.onnx_model.tensors import is_emptied, set_bytes

__all__ = ["is_main_initializer", "pieces", "serialize"]

_GRAPH = ModelProto.DESCRIPTOR.fields_by_name["graph"].number
_INITIALIZER = GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
_RAW_DATA = TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number


def serialize(proto: ModelProto) -> bytes:
    """Return the bytes of a message; `ModelError` where they are more than protobuf can hold."""
    try:
        return bytes(proto.SerializeToString(deterministic=True))
    except DAMAGED as error:
        raise ModelError(
            "over 2 GB of the model are no initializers of the main graph; ONNX cannot hold that", code="E032"
        ) from error


def pieces(model: Model) -> Iterator[bytes | memoryview]:
    """The serialization of a one-file model, piece by piece."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    streamed: list[tuple[str, int, bytes]] = []
    for name, slot in weight_slots(proto).items():
        if is_main_initializer(slot):
            streamed.append((name, model.info(name).bytes, _header(slot.tensor)))
        else:
            set_bytes(slot.tensor, bytes(array_bytes(model.load(name), slot.tensor.data_type)))
    rest = GraphProto()
    rest.CopyFrom(proto.graph)
    del rest.initializer[:]
    rest.initializer.extend(tensor for tensor in proto.graph.initializer if not is_emptied(tensor))
    proto.ClearField("graph")
    begins = []
    for _, size, header in streamed:
        begin = header + _frame(_RAW_DATA, size)
        begins.append(_frame(_INITIALIZER, len(begin) + size) + begin)
    graph = rest.SerializeToString(deterministic=True)
    graph_size = len(graph) + sum(
        len(begin) + size for begin, (_, size, _) in zip(begins, streamed, strict=True)
    )
    yield proto.SerializeToString(deterministic=True) + _frame(_GRAPH, graph_size) + graph
    for begin, (name, _, _) in zip(begins, streamed, strict=True):
        yield begin
        yield array_bytes(model.load(name), model.info(name).data_type)


def is_main_initializer(slot: Slot) -> bool:
    """Say whether a weight is an initializer of the main graph, not of a subgraph nor an attribute of a node."""
    return slot.scope_path == "" and slot.location == "initializer"


def _header(tensor: TensorProto) -> bytes:
    """All of an emptied tensor but the mark that it is emptied."""
    only = TensorProto()
    only.CopyFrom(tensor)
    only.ClearField("data_location")
    return bytes(only.SerializeToString(deterministic=True))


def _frame(field: int, size: int) -> bytes:
    """Tag and length in front of a length-delimited protobuf field of `size` bytes."""
    return _varint(field << 3 | 2) + _varint(size)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
