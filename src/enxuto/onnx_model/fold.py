"""Fold batch normalisation into the layer in front of it.

y = (W x + b − mean) · s + beta with s = scale / √(variance + epsilon) is one layer with the weights W · s and
the bias (b − mean) · s + beta. Done for Conv, ConvTranspose and Gemm in the main graph, where nothing else
reads the layer's output and nothing else reads its weights; computed in float64, stored in the weights' type.
Parameters of the norm, and the bias, may come through Identity and Cast, and be read by others, who keep them.
Left alone: training mode, batch norm with several outputs, layers whose parameters are computed, subgraphs, and
parameters that a caller may give instead (initializers that are inputs too).
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, helper

from enxuto.onnx_model.attributes import float_attribute, int_attribute
from enxuto.onnx_model.dtypes import FLOAT_TYPES, numpy_dtype
from enxuto.onnx_model.model import Model
from enxuto.onnx_model.scopes import (
    FREE_INITIALIZERS,
    STANDARD_DOMAINS,
    read_counts,
    weight_slots,
)
from enxuto.onnx_model.tensors import InMemory, WeightData, clear_bytes

__all__ = ["fold_batch_norm"]

_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm"})
_PASSING = ("Identity", "Cast")
_EPSILON = 1e-5  # ONNX's default


def fold_batch_norm(model: Model) -> tuple[Model, list[str]]:
    """A model without the batch norms that could be folded, and the names of the layers they went into.

    The outputs agree within float rounding. Names are those of the nodes, or of their outputs if unnamed.
    """
    folding = _Folding(model)
    folded = [layer for norm in list(folding.proto.graph.node) if (layer := folding.fold(norm)) is not None]
    return (folding.result(), folded) if folded else (model, [])


class _Folding:
    """A copy of a model's graph under change, with the arrays that differ from the model's."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.proto = ModelProto()
        self.proto.CopyFrom(model.proto)
        self._arrays: dict[str, np.ndarray] = {}
        self._made_by = {name: node for node in self.proto.graph.node for name in node.output if name}
        self._constants = {
            name
            for name, slot in weight_slots(self.proto).items()
            if slot.scope_path == "" and slot.tensor.data_type in FLOAT_TYPES
        } - model.overridable
        self._reads = read_counts(self.proto)
        self._dropped: set[str] = set()

    def fold(self, norm: NodeProto) -> str | None:
        """Fold one batch norm if that is possible, and return the name of the layer it went into."""
        layer = self._made_by.get(norm.input[0]) if self._is_foldable(norm) else None
        if layer is None or not self._is_open(layer):
            return None
        arrays = self._fold_arrays(layer, norm)
        if arrays is None:
            return None
        weight, bias = arrays
        name = str(layer.name or layer.output[0])
        self._arrays[layer.input[1]] = weight
        own = layer.input[2] if len(layer.input) > 2 else ""
        if own in self._constants and self._reads[own] == 1:
            self._arrays[own] = bias
        else:
            self._release(own)
            self._add_bias(layer, norm, bias)
        self._dropped.add(layer.output[0])
        for read in norm.input:
            self._release(read)
        layer.output[0] = norm.output[0]
        self._made_by[norm.output[0]] = layer
        self.proto.graph.node.remove(norm)
        return name

    def result(self) -> Model:
        """The changed model, without what nothing reads any more."""
        graph = self.proto.graph
        gone = {name for name in self._dropped if self._reads[name] <= 0}
        for items in (graph.initializer, graph.input, graph.value_info):
            for item in [item for item in items if item.name in gone]:
                items.remove(item)
        for node in [n for n in graph.node if n.op_type in ("Constant", *_PASSING) and set(n.output) <= gone]:
            graph.node.remove(node)
        data: dict[str, WeightData] = {name: InMemory(array) for name, array in self._arrays.items()}
        return self._model.with_proto(self.proto, data)

    def _is_foldable(self, norm: NodeProto) -> bool:
        """A batch norm at inference with constant parameters and one output, its input read by it alone."""
        return (
            norm.op_type == "BatchNormalization"
            and norm.domain in STANDARD_DOMAINS
            and len(norm.input) == 5
            and not any(norm.output[1:])
            and int_attribute(norm, "training_mode") == 0
            and all(self._origin(name) is not None for name in norm.input[1:])
            and self._reads[norm.input[0]] == 1
        )

    def _is_open(self, layer: NodeProto) -> bool:
        """A layer with a constant weight that nothing else reads and, if any, a constant bias."""
        return (
            layer.op_type in _LAYERS
            and layer.domain in STANDARD_DOMAINS
            and len(layer.input) > 1
            and layer.input[1] in self._constants
            and self._reads[layer.input[1]] == 1
            and all(self._origin(name) is not None for name in layer.input[2:] if name)
            and not (layer.op_type == "Gemm" and float_attribute(layer, "beta", 1.0) == 0.0)
        )

    def _fold_arrays(self, layer: NodeProto, norm: NodeProto) -> tuple[np.ndarray, np.ndarray] | None:
        """The layer's new weights and bias in their types, or None where shapes or values do not allow it."""
        scale, beta, mean, variance = (self._load(name).astype(np.float64) for name in norm.input[1:])
        deviation = variance + float_attribute(norm, "epsilon", _EPSILON)
        weight = self._load(layer.input[1])
        channels = scale.shape
        if any(vector.shape != channels or vector.ndim != 1 for vector in (scale, beta, mean, variance)):
            return None
        if _channels(layer, weight) != channels[0] or not (deviation > 0).all():
            return None
        has_bias = len(layer.input) > 2 and layer.input[2] != ""
        bias = self._load(layer.input[2]) if has_bias else np.zeros(channels, weight.dtype)
        if bias.shape not in (channels, (1, *channels)):
            return None
        strength = float_attribute(layer, "beta", 1.0) if layer.op_type == "Gemm" and has_bias else 1.0
        factor = scale / np.sqrt(deviation)
        # The check below finds overflow of narrow types; numpy need not warn of it as well.
        with np.errstate(over="ignore", invalid="ignore"):
            new_weight = _scale_channels(layer, weight.astype(np.float64), factor).astype(weight.dtype)
            new_bias = (bias.astype(np.float64) * factor + (beta - mean * factor) / strength).astype(
                bias.dtype
            )
            finite = np.isfinite(new_weight).all() and np.isfinite(new_bias).all()
        return (new_weight, new_bias) if finite else None

    def _add_bias(self, layer: NodeProto, norm: NodeProto, bias: np.ndarray) -> None:
        """Give the layer a bias, as a new initializer."""
        name = f"{norm.output[0]}_bias"
        while name in self._reads or name in self._made_by or name in self._constants:
            name += "_"
        graph = self.proto.graph
        weight_type = weight_slots(self.proto)[layer.input[1]].tensor.data_type
        tensor = graph.initializer.add(name=name, data_type=weight_type, dims=bias.shape)
        clear_bytes(tensor)
        if self.proto.ir_version < FREE_INITIALIZERS:
            graph.input.append(helper.make_tensor_value_info(name, weight_type, bias.shape))
        if layer.op_type == "Gemm" and not any(layer.input[2:]):  # else the bias allows for beta already
            for item in [item for item in layer.attribute if item.name == "beta"]:
                layer.attribute.remove(item)
        del layer.input[2:]
        layer.input.append(name)
        self._arrays[name] = bias
        self._constants.add(name)
        self._reads[name] = 1

    def _load(self, name: str) -> np.ndarray:
        """The value of a name that has an origin."""
        if name in self._constants:
            return self._arrays[name] if name in self._arrays else self._model.load(name)
        node = self._made_by[name]
        value = self._load(node.input[0])
        dtype = numpy_dtype(int_attribute(node, "to", 0)) if node.op_type == "Cast" else None
        return value if dtype is None else value.astype(dtype)

    def _origin(self, name: str) -> str | None:
        """The constant that a name stands for, seen through Identity and Cast between floats; None if it has none."""
        seen: set[str] = set()
        while name not in self._constants:
            node = None if name in seen else self._made_by.get(name)  # damaged models have circles
            seen.add(name)
            if node is None or node.op_type not in _PASSING or node.domain not in STANDARD_DOMAINS:
                return None
            if node.op_type == "Cast" and int_attribute(node, "to", 0) not in FLOAT_TYPES:
                return None
            name = node.input[0]
        return name

    def _release(self, name: str) -> None:
        """Count one reader of a name less; where none is left, what made it goes too, and lets go what that read."""
        while name:
            self._reads[name] -= 1
            if self._reads[name] > 0:
                return
            self._dropped.add(name)
            node = self._made_by.get(name)
            name = node.input[0] if node is not None and node.op_type in _PASSING else ""


def _channels(layer: NodeProto, weight: np.ndarray) -> int:
    """Number of output channels; 0 for weights of an impossible shape."""
    if layer.op_type == "Gemm":
        return int(weight.shape[0 if int_attribute(layer, "transB", 0) else 1]) if weight.ndim == 2 else 0
    if weight.ndim < 3:
        return 0
    if layer.op_type == "Conv":
        return int(weight.shape[0])
    group = int_attribute(layer, "group", 1)
    return int(weight.shape[1]) * group if group > 0 and weight.shape[0] % group == 0 else 0


def _scale_channels(layer: NodeProto, weight: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """The weights times a factor per output channel."""
    if layer.op_type == "Gemm":
        return np.asarray(weight * (factor[:, None] if int_attribute(layer, "transB", 0) else factor))
    if layer.op_type == "Conv":
        return np.asarray(weight * factor.reshape(-1, *[1] * (weight.ndim - 1)))
    # (group × inputs per group, outputs per group, …): output channels count group first.
    group = int_attribute(layer, "group", 1)
    by_group = weight.reshape(group, -1, *weight.shape[1:])
    factors = factor.reshape(group, 1, weight.shape[1], *[1] * (weight.ndim - 2))
    return np.asarray((by_group * factors).reshape(weight.shape))
