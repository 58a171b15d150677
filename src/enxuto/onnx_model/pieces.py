"""Some nodes of a graph as a model of their own, with the tensors that they read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx import ModelProto, NodeProto, helper

from enxuto.onnx_model.model import Model
from enxuto.onnx_model.scopes import reads_of

__all__ = ["piece_of"]


def piece_of(
    model: Model,
    nodes: Sequence[NodeProto],
    outputs: Sequence[str],
    fed: Mapping[str, int] | None = None,
) -> Model:
    """Return nodes of the main graph, in order, as a model.

    Tensors come along in each form that a graph may hold them in: initializers, sparse ones, and outputs of Constant
    nodes, which need not be among `nodes`.

    Args:
        model: whose nodes they are.
        nodes: what the piece computes.
        outputs: what it gives; ONNX Runtime infers the types.
        fed: what it is fed, by name ONNX's number of the element type.
    """
    graph = model.proto.graph
    wanted = {name for node in nodes for name in reads_of(node)} - set(fed or {})
    made = {name for node in nodes for name in node.output}
    proto = ModelProto()
    proto.ir_version = model.proto.ir_version
    proto.opset_import.extend(model.proto.opset_import)
    proto.functions.extend(model.proto.functions)
    piece = proto.graph
    piece.name = "piece"
    for node in graph.node:
        if node.op_type == "Constant" and not wanted.isdisjoint(node.output) and made.isdisjoint(node.output):
            piece.node.append(node)
    piece.node.extend(nodes)
    piece.initializer.extend(tensor for tensor in graph.initializer if tensor.name in wanted)
    piece.sparse_initializer.extend(item for item in graph.sparse_initializer if item.values.name in wanted)
    for name, kind in (fed or {}).items():
        piece.input.append(helper.make_tensor_value_info(name, kind, None))
    for name in outputs:
        piece.output.add(name=name)
    return model.with_proto(proto)
