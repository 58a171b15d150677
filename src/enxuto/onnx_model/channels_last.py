"""Models that take images as (batch, height, width, channels), as converters from TensorFlow write them: the way to
(batch, channels, height, width), which training and pruning take, and back.
"""

from __future__ import annotations

from onnx import ModelProto, ValueInfoProto, helper

from enxuto.onnx_model.model import Model

__all__ = ["channels_first", "channels_last", "takes_channels_last"]

_COLOURS = (1, 3)


def takes_channels_last(model: Model) -> bool:
    """Whether the first input has 1 or 3 channels at its end, and not in front."""
    place = _first_input(model)
    if place is None:
        return False
    sizes = model.proto.graph.input[place].type.tensor_type.shape.dim
    return len(sizes) == 4 and sizes[3].dim_value in _COLOURS and sizes[1].dim_value not in _COLOURS


def channels_first(model: Model) -> Model:
    """The model whose first input is (batch, channels, height, width); itself where its channels are not at the end."""
    return _turn(model, (0, 2, 3, 1), "channels first") if takes_channels_last(model) else model


def channels_last(model: Model) -> Model:
    """The model whose first input, (batch, channels, height, width), has its channels at the end."""
    return _turn(model, (0, 3, 1, 2), "channels last")


def _turn(model: Model, order: tuple[int, ...], ending: str) -> Model:
    """The model behind a transposition of its first input, whose new name has an ending.

    order: of the axes of the new input, as the model takes them.
    """
    place = _first_input(model)
    assert place is not None, "the caller has looked"
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    old = graph.input[place]
    taken = {name for node in graph.node for name in (*node.input, *node.output)} | set(model.weight_names)
    name = f"{old.name}, {ending}"
    while name in taken:
        name += "_"
    node = helper.make_node("Transpose", [name], [old.name], perm=order)
    item = ValueInfoProto()
    item.CopyFrom(old)
    item.name = name
    sizes = old.type.tensor_type.shape.dim
    for axis, source in enumerate(order):
        item.type.tensor_type.shape.dim[source].CopyFrom(sizes[axis])
    if not any(known.name == old.name for known in graph.value_info):
        graph.value_info.add().CopyFrom(old)
    old.CopyFrom(item)
    nodes = [node, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model.with_proto(proto)


def _first_input(model: Model) -> int | None:
    return next((n for n, item in enumerate(model.proto.graph.input) if item.name not in model), None)
