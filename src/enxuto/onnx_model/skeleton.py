"""The skeleton of a model: its serialized graph without the data of chosen weights, and the way back.

An emptied weight keeps name, dims and data_type and is marked as in `tensors`; all other weights stay inside.
The skeleton alone says which weights it lacks, in which order, of which shape and type (`skeleton_slots`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from onnx import ModelProto, TensorProto

from enxuto.errors import FormatError, ModelError
from enxuto.onnx_model.dtypes import array_bytes
from enxuto.onnx_model.exact import check_exact
from enxuto.onnx_model.external import is_external
from enxuto.onnx_model.messages import DAMAGED, inner_messages, parse
from enxuto.onnx_model.model import Model
from enxuto.onnx_model.scopes import weight_slots
from enxuto.onnx_model.tensors import InMemory, check_dims, check_fits, is_emptied, set_bytes
from enxuto.onnx_model.wire import check_wire

__all__ = ["fill", "skeleton", "skeleton_slots", "skeleton_tensors"]


def skeleton(model: Model, names: Collection[str]) -> bytes:
    """The model without the data of the weights `names`; `ModelError` for a name it has not.

    Raises `ModelError` too where what stays inside is 2 GB or more.
    """
    for name in names:
        model.info(name)
    out = set(names)
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    for name, slot in weight_slots(proto).items():
        if name not in out:
            set_bytes(slot.tensor, bytes(array_bytes(model.load(name), slot.tensor.data_type)))
    try:
        return bytes(proto.SerializeToString(deterministic=True))
    except DAMAGED as error:
        raise ModelError(
            "what is kept in the skeleton exceeds 2 GB; take more weights out", code="E032"
        ) from error


def skeleton_slots(data: bytes) -> dict[str, tuple[tuple[int, ...], int]]:
    """name → (dims, ONNX data_type) of the weights a skeleton lacks, in order; `FormatError` if damaged."""
    try:
        check_wire(data, groups=False)
        check_exact(data)
        proto = parse(data)
        if proto.ByteSize() != len(data):
            raise ModelError("a field occurs twice, or a number takes more bytes than it needs", code="E031")
        lacking = {
            name: (check_dims(name, slot.tensor), slot.tensor.data_type)
            for name, slot in weight_slots(proto).items()
            if is_emptied(slot.tensor)
        }
        # Any other would be left empty in the model, or ask for a file.
        elsewhere = sum(isinstance(m, TensorProto) and is_external(m) for m in inner_messages(proto))
        if elsewhere != len(lacking):
            raise ModelError(
                "a tensor that is no weight, or whose name is taken, lacks its data", code="E031"
            )
        return lacking
    except (ModelError, *DAMAGED) as error:
        raise FormatError(f"the model graph in the file is damaged: {error}", code="E052") from error


def skeleton_tensors(data: bytes) -> dict[str, TensorProto]:
    """name → the weights that a skeleton holds, as raw data; one that was checked by `skeleton_slots`."""
    slots = weight_slots(parse(data))
    return {
        name: slot.tensor
        for name, slot in slots.items()
        if not is_emptied(slot.tensor) and slot.tensor.HasField("raw_data")
    }


def fill(data: bytes, arrays: Mapping[str, np.ndarray]) -> Model:
    """The inverse of `skeleton`: a model from a skeleton and an array for each weight it lacks.

    `data` may come from anywhere: whatever is wrong with it is a `FormatError`, and so is an array that is
    missing, not wanted, or of another shape or type. No file is ever read for it.
    """
    lacking = skeleton_slots(data)
    odd = sorted(set(lacking).symmetric_difference(arrays))
    if odd:
        raise FormatError(
            f"weight {odd[0]!r} is in only one of the model graph and the tensor table", code="E052"
        )
    try:
        for name, (shape, data_type) in lacking.items():
            check_fits(name, arrays[name], shape, data_type)
        return Model.from_skeleton(data, {name: InMemory(arrays[name]) for name in lacking})
    except ModelError as error:
        raise FormatError(f"the model graph in the file is damaged: {error}", code="E052") from error
