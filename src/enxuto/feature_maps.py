"""What the first convolution of a model looks for, and what layers make of one image: arrays, not yet pictures.

A layer is a convolution with the normalisation and the activation behind it. Left out: convolutions inside of branches
and functions, and volumes of other than two dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, NodeProto

from enxuto.errors import ModelError, UsageError, did_you_mean
from enxuto.onnx_model import Model
from enxuto.runtime import Runner

__all__ = ["FeatureMaps", "Filters", "first_filters", "layer_names", "run_layers"]

_FOLLOWED = {
    "BatchNormalization", "Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Selu", "Tanh", "Sigmoid", "HardSwish",
    "HardSigmoid", "Gelu", "Softplus", "Max", "LRN",
}  # fmt: skip


@dataclass(frozen=True)
class Filters:
    """Filters of a convolution. name: of the layer; values: float32 (filters, channels, height, width)."""

    name: str
    values: np.ndarray


@dataclass(frozen=True)
class FeatureMaps:
    """What a layer gave for one image. name: of the layer; values: float32 (channels, height, width)."""

    name: str
    values: np.ndarray


def first_filters(model: Model) -> Filters:
    """Return the filters of the first convolution whose kernel is a weight of two spatial dimensions.

    Raises `ModelError` where the model has none.
    """
    for node in _convolutions(model):
        kernel = node.input[1]
        if kernel in model and len(model.info(kernel).shape) == 4:
            return Filters(_name(node), np.asarray(model.load(kernel), np.float32))
    raise ModelError("the model has no convolution of images whose filters could be shown", code="E035")


def layer_names(model: Model) -> dict[str, str]:
    """Return the layers in the order of the graph: name → the value that the layer gives.

    A layer that occurs twice under a name has a number behind it.
    """
    found: dict[str, str] = {}
    for node in _convolutions(model):
        name, number = _name(node), 2
        while name in found:
            name, number = f"{_name(node)}#{number}", number + 1
        found[name] = _last_value(model.proto.graph, node)
    return found


def run_layers(
    model: Model, batch: np.ndarray, layers: Sequence[str] = (), most: int = 6
) -> list[FeatureMaps]:
    """Return what layers give for the first image of a batch, (1, …) as the model takes it.

    Args:
        model: the model.
        batch: preprocessed.
        layers: names; none takes `most` layers, the first, the last and others evenly between.
        most: how many.

    Raises:
        UsageError: a name is unknown.
        ModelError: the model has no convolutions.
        DataError: the batch does not fit the model.
    """
    known = layer_names(model)
    if not known:
        raise ModelError("the model has no convolutions whose outputs could be shown", code="E035")
    for name in layers:
        if name not in known:
            raise UsageError(
                f"there is no layer {name!r}{did_you_mean(name, known)}; there are {', '.join(known)[:400]}",
                code="E021",
            )
    names = list(known)
    places = np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int))
    chosen = list(layers) or [names[place] for place in places]
    values = [known[name] for name in chosen]
    found = Runner(model, extra_outputs=values).outputs(batch[:1], values)
    maps = [
        FeatureMaps(name, np.asarray(value[0], np.float32)) for name, value in zip(chosen, found, strict=True)
    ]
    return [one for one in maps if one.values.ndim == 3]


def _convolutions(model: Model) -> list[NodeProto]:
    return [
        node for node in model.proto.graph.node if node.op_type == "Conv" and node.domain in ("", "ai.onnx")
    ]


def _name(node: NodeProto) -> str:
    """`features.conv1` of a weight `features.conv1.weight`, else the node's or the value's own name."""
    kernel = str(node.input[1])
    if kernel.endswith(".weight"):
        return kernel.removesuffix(".weight")
    return str(node.name or node.output[0])


def _last_value(graph: GraphProto, node: NodeProto) -> str:
    """The value behind normalisation and activation, as far as nothing else reads what lies between."""
    value = str(node.output[0])
    outputs = {item.name for item in graph.output}
    while value not in outputs:
        readers = [one for one in graph.node if value in one.input]
        if len(readers) != 1 or readers[0].op_type not in _FOLLOWED or readers[0].input[0] != value:
            break
        value = str(readers[0].output[0])
    return value
