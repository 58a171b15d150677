"""Write a model whole or not at all, one tensor in memory at a time.

Below 2 GB everything is one file. Above, protobuf cannot hold it: the main graph's large initializers go to
`<name>.data` beside the model, each from a multiple of 4,096 bytes on so that runtimes can map it, and that
file is complete before the model file that points to it appears. An earlier data file is never overwritten
(`<name>.1.data` and so on), so that the old model is whole until the new one takes its place; then it goes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from onnx import ModelProto

from enxuto.errors import FormatError, ModelError
from enxuto.files import atomic_write, check_ending, is_protected_input, to_path
from enxuto.onnx_model.data_files import free_data_path, is_named_elsewhere, own_data_files
from enxuto.onnx_model.dtypes import array_bytes
from enxuto.onnx_model.model import Model
from enxuto.onnx_model.scopes import weight_slots
from enxuto.onnx_model.serialize import is_main_initializer, pieces, serialize
from enxuto.onnx_model.skeleton import skeleton_slots
from enxuto.onnx_model.tensors import FileSlice, SuppliedOnDemand, set_bytes

__all__ = ["model_bytes", "write_model", "write_streaming"]

_LIMIT = 2**31 - 1
_ALIGNMENT = 4096
_SMALL = 4096  # bytes; tensors up to this size stay in the model file


def model_bytes(model: Model) -> bytes:
    """The bytes of a one-file model; `ModelError` from 2 GB on."""
    if model.size_bound() > _LIMIT:
        raise ModelError(
            "the model is over 2 GB, which only a file with external data can hold; use `write`", code="E032"
        )
    return b"".join(pieces(model))


def write_model(model: Model, path: str | Path, *, limit: int = _LIMIT) -> None:
    """Write `path`, and its data file where the model is larger than `limit` bytes (for tests below 2 GB)."""
    target = to_path(path)
    check_ending(target, (".onnx",), "save of a compressed model makes an .enx file")
    superseded = own_data_files(target)
    if model.size_bound() <= limit:
        with atomic_write(target) as file:
            for piece in pieces(model):
                file.write(piece)
    else:
        proto = _write_data(model, target)
        with atomic_write(target) as file:
            file.write(serialize(proto))
    still_read = {data.path for data in map(model.data, model.weight_names) if isinstance(data, FileSlice)}
    for old in superseded:
        if old not in still_read and not is_protected_input(old) and not is_named_elsewhere(old, target):
            old.unlink(missing_ok=True)


def write_streaming(
    path: str | Path, skeleton: bytes, source: Callable[[str], np.ndarray], *, limit: int = _LIMIT
) -> None:
    """Write the model that `fill` would give, asking `source` for each weight when it is written.

    At most one tensor is in memory at a time. `source` may be asked in any order, and for small integer
    tensors more than once. Raises `FormatError` for a damaged skeleton or an array that does not fit it.
    """
    lacking = skeleton_slots(skeleton)
    try:
        model = Model.from_skeleton(skeleton, {name: SuppliedOnDemand(source) for name in lacking})
        write_model(model, path, limit=limit)
    except ModelError as error:
        raise FormatError(f"the model graph in the file is damaged: {error}", code="E052") from error


def _write_data(model: Model, target: Path) -> ModelProto:
    """Write the data file of `target` and return the graph that points to it."""
    data_path = free_data_path(target)
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    with atomic_write(data_path) as file:
        for name, slot in weight_slots(proto).items():
            data = array_bytes(model.load(name), slot.tensor.data_type)
            if len(data) <= _SMALL or not is_main_initializer(slot):
                set_bytes(slot.tensor, bytes(data))
                continue
            file.write(bytes(-file.tell() % _ALIGNMENT))
            place = {"location": data_path.name, "offset": str(file.tell()), "length": str(len(data))}
            file.write(data)
            for key, value in place.items():
                slot.tensor.external_data.add(key=key, value=value)
            del data  # or it would still be held while the next tensor is loaded
    return proto
