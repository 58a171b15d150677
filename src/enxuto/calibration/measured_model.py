"""`measured_model`: a model whose outputs are the values that are measured."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto

from enxuto.onnx_model import Model

__all__ = ["measured_model"]


def measured_model(model: Model, values: Sequence[str]) -> Model:
    """Return the model with these values as its outputs; itself where they are."""
    if [item.name for item in model.proto.graph.output] == list(values):
        return model
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    known = {item.name: item for item in model.proto.graph.output}
    del proto.graph.output[:]
    for value in values:
        if value in known:
            proto.graph.output.append(known[value])
        else:
            proto.graph.output.add(name=value)
    return model.with_proto(proto)
