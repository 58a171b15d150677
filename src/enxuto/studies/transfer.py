"""Transfer learning: a trained network begins on other classes, with a new head and frozen layers.

The head is the layer whose filters are the classes. It gets fresh weights, drawn as PyTorch draws them for a linear
layer; all other weights stay.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from onnx import ModelProto, TensorProto
from torch import Tensor, nn

from enxuto.errors import ModelError, UsageError, did_you_mean
from enxuto.importing.load import network_of
from enxuto.importing.network import OnnxNetwork
from enxuto.onnx_model import Model
from enxuto.onnx_model.tensors import InMemory
from enxuto.prune.attribution.layers import output_layers
from enxuto.studies.pruning import StartingNetwork

__all__ = ["freeze", "load_without_head", "replace_head", "with_classes"]


def with_classes(start: StartingNetwork, classes: int, seed: int, *, fresh: bool = False) -> nn.Module:
    """A file's network that tells so many classes apart: its own, or with a new head (`replace_head`).

    fresh: replace the head also where it has as many classes.
    """
    module, shape = start.network, start.architecture.input_shape
    with torch.no_grad():
        outputs = module(torch.zeros(1, *shape)).shape[1]
    if outputs == classes and not fresh:
        return module
    assert isinstance(module, OnnxNetwork)
    assert start.source is not None
    return network_of(replace_head(start.source, module, classes, seed), shape)


def replace_head(model: Model, network: OnnxNetwork, classes: int, seed: int) -> Model:
    """The model with fresh weights for so many classes in its last layer.

    Args:
        model: a classifier.
        network: the module made of it.
        classes: how many the result tells apart.
        seed: of the fresh weights.

    Raises:
        ModelError: it has no single last layer, or its number of filters is written elsewhere in the graph.
    """
    layer = _head(network, network.input_shape)
    names = [network.initializers[f"{layer}.{part}"] for part in ("weight", "bias")
             if f"{layer}.{part}" in network.initializers]  # fmt: skip
    if any(name not in model for name in names):
        raise ModelError(f"the weights of the last layer {layer!r} are computed; its head cannot be replaced")
    fresh: dict[str, InMemory] = {}
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    generator = np.random.default_rng(seed)
    before = network.state_dict()[f"{layer}.weight"].shape
    limit = 1 / math.sqrt(math.prod(before[1:]))
    for name in names:
        info = model.info(name)
        axis = info.shape.index(before[0]) if info.axis is None else info.axis
        shape = (*info.shape[:axis], classes, *info.shape[axis + 1 :])
        fresh[name] = InMemory(generator.uniform(-limit, limit, shape).astype(info.dtype))
        _tensor_of(proto, name).dims[axis] = classes
    for item in proto.graph.input:  # before IR version 4 initializers are inputs too
        if item.name in fresh:
            for dim, size in zip(
                item.type.tensor_type.shape.dim, _tensor_of(proto, item.name).dims, strict=True
            ):
                dim.dim_value = size
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    return model.with_proto(proto, fresh)


def _tensor_of(proto: ModelProto, name: str) -> TensorProto:
    for tensor in proto.graph.initializer:
        if tensor.name == name:
            found: TensorProto = tensor
            return found
    raise ModelError(f"the last layer's weight {name!r} is no initializer; its head cannot be replaced")


def _head(network: nn.Module, shape: Sequence[int]) -> str:
    found = sorted(output_layers(network, torch.zeros(1, *shape)))
    if len(found) != 1:
        raise ModelError(
            f"the network has {len(found)} last layers ({', '.join(found) or 'none'}); a head of one can be replaced"
        )
    return found[0]


def load_without_head(
    network: nn.Module, state: Mapping[str, Tensor], shape: Sequence[int], name: str
) -> None:
    """Put weights into a network; those of the last layer stay fresh where they are for other classes.

    Raises `ModelError` where others do not fit.
    """
    head, own = _head(network, shape), network.state_dict()
    for key in own.keys() ^ state.keys():
        raise ModelError(f"the weights are not of {name}: {key!r} is only in one of them", code="E071")
    fitting = {}
    for key, value in state.items():
        if value.shape == own[key].shape:
            fitting[key] = value
        elif not key.startswith(f"{head}."):
            raise ModelError(f"the weights are not of {name}: {key!r} is {tuple(value.shape)}", code="E071")
    network.load_state_dict({**own, **fitting})


def freeze(network: nn.Module, patterns: Sequence[str]) -> int:
    """Switch training off for parameters whose names match one of the patterns (`features.*`); returns how many.

    Statistics of batch norms follow the new images all the same. Raises `UsageError` for a pattern that matches
    nothing, and where nothing is left to train.
    """
    names = dict(network.named_parameters())
    frozen: set[str] = set()
    for pattern in patterns:
        matching = fnmatch.filter(names, pattern)
        if not matching:
            raise UsageError(
                f"no parameter matches {pattern!r}{did_you_mean(pattern, names)}; they are called like "
                f"{next(iter(names))!r}",
                code="E021",
            )
        frozen.update(matching)
    if len(frozen) == len(names):
        raise UsageError("every parameter would be frozen; leave some to train", code="E022")
    for name in frozen:
        names[name].requires_grad_(False)
    return len(frozen)
