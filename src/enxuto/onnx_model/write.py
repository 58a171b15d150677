"""Write a model whole or not at all, one tensor in memory at a time.

Below 2 GB everything is one file. Above, protobuf cannot hold it: the main graph's large initializers go to
`<name>.data` beside the model, each from a multiple of 4,096 bytes on so that runtimes can map it, and that
file is complete before the model file that points to it appears. An earlier data file is never overwritten
(`<name>.1.data` and so on), so that the old model is whole until the new one takes its place; then it goes.

The initializers are appended to the serialized graph by hand: tag, length, tensor. That is the same message
as protobuf would write, fields in another order, without three copies of the weights in memory.
"""

from __future__ import annotations

import itertools
import mmap
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto

from enxuto.errors import FormatError, ModelError
from enxuto.files import atomic_write, is_protected_input, to_path
from enxuto.onnx_model.dtypes import array_bytes
from enxuto.onnx_model.external import Folders, is_external, locate
from enxuto.onnx_model.messages import DAMAGED, file_bytes, inner_messages, parse
from enxuto.onnx_model.model import Model
from enxuto.onnx_model.scopes import Slot, weight_slots
from enxuto.onnx_model.skeleton import skeleton_slots
from enxuto.onnx_model.tensors import FileSlice, SuppliedOnDemand, is_emptied, set_bytes

__all__ = ["files", "model_bytes", "total_bytes", "write_model", "write_streaming"]

_LIMIT = 2**31 - 1
_ALIGNMENT = 4096
_SMALL = 4096  # bytes; tensors up to this size stay in the model file
_GRAPH = ModelProto.DESCRIPTOR.fields_by_name["graph"].number
_INITIALIZER = GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
_RAW_DATA = TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number


def model_bytes(model: Model) -> bytes:
    """The bytes of a one-file model; `ModelError` from 2 GB on."""
    if model.size_bound() > _LIMIT:
        raise ModelError(
            "the model is over 2 GB, which only a file with external data can hold; use `write`", code="E032"
        )
    return b"".join(_pieces(model))


def write_model(model: Model, path: str | Path, *, limit: int = _LIMIT) -> None:
    """Write `path`, and its data file where the model is larger than `limit` bytes (for tests below 2 GB)."""
    target = to_path(path)
    superseded = _own_data_files(target)
    if model.size_bound() <= limit:
        with atomic_write(target) as file:
            for piece in _pieces(model):
                file.write(piece)
    else:
        proto = _write_data(model, target)
        with atomic_write(target) as file:
            file.write(_serialize(proto))
    still_read = {data.path for data in map(model.data, model.weight_names) if isinstance(data, FileSlice)}
    for old in superseded:
        if old not in still_read and not is_protected_input(old) and not _named_elsewhere(old, target):
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


def files(path: str | Path) -> list[Path]:
    """All files a model needs: the file itself, then its data files in order of first use."""
    target = Path(path)
    content = file_bytes(target)
    try:
        proto = parse(content)
    except ModelError as error:
        raise ModelError(f"{target}: {error}", code=error.code) from error
    found, folders = [target], Folders.of(target)
    for message in inner_messages(proto):
        if isinstance(message, TensorProto) and is_external(message):
            places = [entry.value for entry in message.external_data if entry.key == "location"]
            found.extend(locate(message.name, place, folders) for place in places)
    return list(dict.fromkeys(found))


def total_bytes(path: str | Path) -> int:
    """Size of all files a model needs."""
    return sum(file.stat().st_size for file in files(path))


def _serialize(proto: ModelProto) -> bytes:
    try:
        return bytes(proto.SerializeToString(deterministic=True))
    except DAMAGED as error:
        raise ModelError(
            "over 2 GB of the model are no initializers of the main graph; ONNX cannot hold that", code="E032"
        ) from error


def _pieces(model: Model) -> Iterator[bytes | memoryview]:
    """The serialization of a one-file model, piece by piece."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    streamed: list[tuple[str, int, bytes]] = []
    for name, slot in weight_slots(proto).items():
        if _is_main_initializer(slot):
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


def _write_data(model: Model, target: Path) -> ModelProto:
    """Write the data file of `target` and return the graph that points to it."""
    data_path = _free_data_path(target)
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    with atomic_write(data_path) as file:
        for name, slot in weight_slots(proto).items():
            data = array_bytes(model.load(name), slot.tensor.data_type)
            if len(data) <= _SMALL or not _is_main_initializer(slot):
                set_bytes(slot.tensor, bytes(data))
                continue
            file.write(bytes(-file.tell() % _ALIGNMENT))
            place = {"location": data_path.name, "offset": str(file.tell()), "length": str(len(data))}
            file.write(data)
            for key, value in place.items():
                slot.tensor.external_data.add(key=key, value=value)
            del data  # or it would still be held while the next tensor is loaded
    return proto


def _is_main_initializer(slot: Slot) -> bool:
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


def _free_data_path(target: Path) -> Path:
    """`<name>.data`, or `<name>.1.data` and so on where that exists."""
    names = itertools.chain([f"{target.name}.data"], (f"{target.name}.{n}.data" for n in itertools.count(1)))
    return next(path for path in map(target.with_name, names) if not path.exists())


def _named_elsewhere(data: Path, target: Path) -> bool:
    """Whether another model in the folder, such as a copy of the old one, may have its data there too."""
    wanted = data.name.encode()
    for other in data.parent.glob("*.onnx"):
        if other.name == target.name or not other.is_file() or not other.stat().st_size:
            continue
        try:
            with other.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                if content.find(wanted) >= 0:
                    return True
        except OSError:
            return True  # who knows
    return False


def _own_data_files(target: Path) -> list[Path]:
    """Data files named as above of the model now at `target`, if there is one."""
    try:
        found = files(target)[1:]
    except ModelError:
        return []
    ours = re.compile(re.escape(target.name) + r"(\.\d+)?\.data")
    return [path for path in found if ours.fullmatch(path.name)]
