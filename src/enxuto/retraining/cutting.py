"""Parts of tensors cut out of a graph and of its file: the levels that are left stay what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from enxuto.enx.file import CompressedModel
from enxuto.enx.fingerprint import FINGERPRINT_KEY
from enxuto.enx.payload import Payload
from enxuto.enx.table import ExactRow, LevelsRow, TensorEntry
from enxuto.errors import ModelError
from enxuto.onnx_model import Model, array_bytes, skeleton
from enxuto.onnx_model.scopes import weight_slots
from enxuto.onnx_model.tensors import InMemory
from enxuto.quantize.grid import Grid
from enxuto.quantize.scalar import DeadZone, Quantizer
from enxuto.quantize.tensor import QuantizedTensor

__all__ = ["Cuts", "cut_file", "cut_model"]

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Cuts:
    """places: by initializer and axis, which indices stay. depthwise: weights whose convolutions lose groups."""

    places: dict[str, dict[int, Places]]
    depthwise: frozenset[str]

    def of(self, name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return what is left of an array."""
        for axis, places in self.places.get(name, {}).items():
            array = np.take(array, places, axis=axis)
        return array


def cut_model(model: Model, cuts: Cuts) -> Model:
    """Return the model with less of some initializers; shapes that the graph notes of its values are left out."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    slots, data = weight_slots(proto), {}
    for name in cuts.places:
        array = np.ascontiguousarray(cuts.of(name, model.load(name)))
        tensor = slots[name].tensor
        del tensor.dims[:]
        tensor.dims.extend(array.shape)
        data[name] = InMemory(array)
    for node in proto.graph.node:
        if node.op_type == "Conv" and len(node.input) > 1 and node.input[1] in cuts.depthwise:
            for attribute in node.attribute:
                if attribute.name == "group":
                    attribute.i = slots[node.input[1]].tensor.dims[0]
    del proto.graph.value_info[:]
    for item in proto.graph.input:  # old graphs declare their initializers
        if item.name in cuts.places:
            dims = item.type.tensor_type.shape.dim
            for dim, size in zip(dims, data[item.name].array.shape, strict=True):
                dim.dim_value = size
    return model.with_proto(proto, data)


def cut_file(made: CompressedModel, smaller: Model, cuts: Cuts) -> CompressedModel:
    """Return the file of a cut model, with the levels that are left.

    Raises `ModelError` where the values of levels that are left would change: on a trellis they depend on those before.
    """
    payloads = tuple(
        _cut_payload(payload, smaller, cuts)
        if any(entry.name in cuts.places for entry in payload.row.tensors)
        else payload
        for payload in made.payloads
    )
    names = [entry.name for payload in payloads for entry in payload.row.tensors]
    metadata = {key: value for key, value in made.metadata.items() if key != FINGERPRINT_KEY}
    return CompressedModel(skeleton(smaller, names), payloads, metadata)


def _cut_payload(payload: Payload, smaller: Model, cuts: Cuts) -> Payload:
    entries = [
        TensorEntry(name=entry.name, shape=smaller.info(entry.name).shape, type=entry.data_type)
        for entry in payload.row.tensors
    ]
    if isinstance(payload.row, ExactRow):
        arrays = (smaller.load(entry.name) for entry in entries)
        return Payload.exact_of(
            entries,
            b"".join(bytes(array_bytes(a, e.data_type)) for a, e in zip(arrays, entries, strict=True)),
        )
    assert isinstance(payload.row, LevelsRow), "there are two kinds"
    tensors = {name: _cut_tensor(name, tensor, cuts) for name, tensor in payload.levels().items()}
    if len(tensors) == 1:
        (only,) = tensors.values()
        return Payload.levels_of(entries, only.quantizer, only.levels)
    levels = np.concatenate([tensor.levels.reshape(-1) for tensor in tensors.values()])
    return Payload.levels_of(entries, payload.quantizer(), levels)


def _cut_tensor(name: str, tensor: QuantizedTensor, cuts: Cuts) -> QuantizedTensor:
    quantizer = tensor.quantizer
    for axis, places in cuts.places.get(name, {}).items():
        quantizer = _cut_quantizer(quantizer, axis, places)
    found = QuantizedTensor(np.ascontiguousarray(cuts.of(name, tensor.levels)), quantizer)
    if not np.array_equal(found.reconstruct(), cuts.of(name, tensor.reconstruct())):
        raise ModelError(
            f"filters of zeros were left in: the levels of {name!r} lie on a trellis, and retraining that also prunes "
            "keeps off it",
            code="E034",
        )
    return found


def _cut_quantizer(quantizer: Quantizer, axis: int, places: Places) -> Quantizer:
    if isinstance(quantizer, Grid):
        field = {0: "rows", 1: "columns"}.get(axis)
        numbers = getattr(quantizer, field) if field else ()
        left: Mapping[str, Any] = (
            {field: tuple(numbers[place] for place in places)} if field and numbers else {}
        )
        return replace(quantizer, **left)
    if isinstance(quantizer, DeadZone) and isinstance(quantizer.step, tuple) and quantizer.axis == axis:
        return replace(quantizer, step=tuple(quantizer.step[place] for place in places))
    return quantizer
