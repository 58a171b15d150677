"""`Model`: an ONNX graph whose weights are kept apart and loaded one at a time.

The graph (`proto`) holds every weight emptied; the data are bytes in memory, arrays, or places in files. That
keeps copies of the graph cheap and lets models above 2 GB, whose weights are in external files, be processed
tensor by tensor. A `Model` never changes: `replace_weights` and the functions of this package return new ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto

from enxuto.errors import ModelError, did_you_mean
from enxuto.files import to_path
from enxuto.onnx_model.dtypes import array_bytes, byte_count, numpy_dtype, type_name
from enxuto.onnx_model.external import Folders, is_external, slice_of
from enxuto.onnx_model.messages import DAMAGED, check_text, file_bytes, inner_messages, parse
from enxuto.onnx_model.names import check_names
from enxuto.onnx_model.roles import Placement, Role, placements
from enxuto.onnx_model.scopes import FREE_INITIALIZERS, Location, Slot, weight_slots
from enxuto.onnx_model.strip import strip_docs, strip_value_info
from enxuto.onnx_model.tensors import (
    FileSlice,
    InlineBytes,
    InMemory,
    WeightData,
    check_dims,
    check_fits,
    clear_bytes,
    inline_data,
    is_emptied,
    set_bytes,
)

__all__ = ["Model", "WeightInfo"]


@dataclass(frozen=True)
class WeightInfo:
    """The properties of a weight, known without loading it.

    axis: of output channels, None where there is none or it is not known. data_type: ONNX's number; dtype: numpy's type
    of the loaded array. external: whether the data is in another file. operand: whether only elementwise operators read
    it, so that it may be a mask, with infinities on purpose, rather than a learnt parameter. part: whether it is
    added to features, scales them or is joined to them (`onnx_model.features`), and no layer's weight itself.
    """

    name: str
    shape: tuple[int, ...]
    data_type: int
    dtype: np.dtype
    role: Role
    axis: int | None
    location: Location
    external: bool
    operand: bool = False
    part: bool = False

    @property
    def elements(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes of the data in an ONNX file."""
        return byte_count(self.shape, self.data_type)


class Model:
    """An ONNX model; make one with `read`, `from_bytes` or `from_proto`.

    Mapping-like access to weights: `weight_names`, `info(name)`, `load(name)`. `proto` is the graph with all
    weights emptied: look, but change nothing in it. `stripped_bytes` counts what was left out on reading.
    """

    def __init__(self, proto: ModelProto, data: Mapping[str, WeightData], *, stripped_bytes: int = 0) -> None:
        """For this package; `proto` has all weights emptied and `data` holds each, by name."""
        self.proto = proto
        self.stripped_bytes = stripped_bytes
        self._data = dict(data)

    def __repr__(self) -> str:
        values = sum(info.elements for info in self.infos())
        size = sum(info.bytes for info in self.infos())
        return f"<{type(self).__name__}: {values:,} values in {len(self.weight_names)} weights, {size:,} B>"

    @classmethod
    def read(cls, path: str | Path, *, keep_docs: bool = False, keep_value_info: bool = False) -> Model:
        """Read an ONNX file; external data is checked now and loaded when asked for.

        Documentation strings, stack traces and the types of intermediate values are left out unless kept.
        Raises `ModelError` where the file or its external data is missing, damaged or no ONNX model.
        """
        place = to_path(path, "the path of an ONNX file")
        content = file_bytes(place)
        try:
            return _build(
                parse(content), Folders.of(place), {}, keep_docs=keep_docs, keep_value_info=keep_value_info
            )
        except ModelError as error:
            raise ModelError(f"{place}: {error}", code=error.code) from error

    @classmethod
    def from_bytes(cls, data: bytes, *, keep_docs: bool = False, keep_value_info: bool = False) -> Model:
        """The same from the bytes of a file without external data."""
        return _build(parse(data), None, {}, keep_docs=keep_docs, keep_value_info=keep_value_info)

    @classmethod
    def from_proto(
        cls,
        proto: ModelProto,
        *,
        folder: str | Path | None = None,
        keep_docs: bool = False,
        keep_value_info: bool = False,
    ) -> Model:
        """The same from a message, which is copied; `folder` is where its external data is."""
        copy = ModelProto()
        copy.CopyFrom(proto)
        check_text(copy)
        place = None if folder is None else Folders(Path(folder), Path(folder))
        return _build(copy, place, {}, keep_docs=keep_docs, keep_value_info=keep_value_info)

    @classmethod
    def from_skeleton(cls, skeleton: bytes, data: Mapping[str, WeightData]) -> Model:
        """For this package: a model from a skeleton, and for each weight that it lacks where the data is."""
        return _build(parse(skeleton), None, data, keep_docs=True, keep_value_info=True)

    @property
    def weight_names(self) -> list[str]:
        """Names of all weights, in the order of `scopes`."""
        return list(self._slots)

    def __contains__(self, name: object) -> bool:
        return name in self._slots

    def info(self, name: str) -> WeightInfo:
        """Shape, type, role and so on of a weight, without loading it."""
        slot = self._slot(name)
        dtype = numpy_dtype(slot.tensor.data_type)
        assert dtype is not None
        placement = self._placements[name]
        return WeightInfo(
            name=name,
            shape=tuple(slot.tensor.dims),
            data_type=slot.tensor.data_type,
            dtype=dtype,
            role=placement.role,
            axis=placement.axis,
            location=slot.location,
            external=isinstance(self._data[name], FileSlice),
            operand=placement.operand,
            part=placement.part,
        )

    def infos(self) -> Iterator[WeightInfo]:
        """`info` of every weight, in order."""
        return (self.info(name) for name in self._slots)

    def load(self, name: str) -> np.ndarray:
        """A weight as a read-only array of its shape; from external files it is read anew each time."""
        tensor = self._slot(name).tensor
        return self._data[name].load(name, tuple(tensor.dims), tensor.data_type)

    @cached_property
    def overridable(self) -> frozenset[str]:
        """Weights that a caller may give instead (from IR version 4 on, initializers that are inputs too).

        What is stored is a default then, which may be compressed but neither moved into another weight nor left out.
        """
        if self.proto.ir_version < FREE_INITIALIZERS:
            return frozenset()
        return frozenset(item.name for item in self.proto.graph.input if item.name in self._slots)

    def replace_weights(self, arrays: Mapping[str, np.ndarray]) -> Model:
        """A model with other values for some weights; shapes and types must be the same (`ModelError`)."""
        for name, array in arrays.items():
            info = self.info(name)
            check_fits(name, array, info.shape, info.data_type)
        data = {**self._data, **{name: InMemory(array) for name, array in arrays.items()}}
        return self.with_data(data)

    def with_data(self, data: Mapping[str, WeightData]) -> Model:
        """For this package: the same graph over other data."""
        return Model(self.proto, data, stripped_bytes=self.stripped_bytes)

    def with_proto(self, proto: ModelProto, data: Mapping[str, WeightData] | None = None) -> Model:
        """For this package and `runtime`: another graph over this model's data, or `data` where given."""
        everything = {**self._data, **(data or {})}
        kept = {name: everything[name] for name in weight_slots(proto)}
        return Model(proto, kept, stripped_bytes=self.stripped_bytes)

    def size_bound(self) -> int:
        """At least the bytes of the model in one file (a few per weight too many); loads no weights."""
        return int(self.proto.ByteSize()) + sum(
            byte_count(slot.tensor.dims, slot.tensor.data_type) + 32 for slot in self._slots.values()
        )

    def data(self, name: str) -> WeightData:
        """For this package: where a weight's data is."""
        self._slot(name)
        return self._data[name]

    def to_bytes(self) -> bytes:
        """The model as the bytes of one ONNX file; `ModelError` from 2 GB on, where ONNX needs two."""
        from enxuto.onnx_model.write import model_bytes

        return model_bytes(self)

    def to_proto(self) -> ModelProto:
        """A copy of the graph with all weights in it; `ModelError` from 2 GB on."""
        proto = ModelProto()
        proto.ParseFromString(self.to_bytes())
        return proto

    def write(self, path: str | Path) -> None:
        """Write one file, or from 2 GB on `<name>.data` beside it too; whole or not at all (see `write`).

        Raises `UsageError` for a name of another kind of file, such as `model.enx`.
        """
        from enxuto.onnx_model.write import write_model

        write_model(self, path)

    @cached_property
    def _slots(self) -> dict[str, Slot]:
        return weight_slots(self.proto)

    @cached_property
    def _placements(self) -> dict[str, Placement]:
        return placements(self.proto, self._slots, self.load)

    def _slot(self, name: str) -> Slot:
        if name not in self._slots:
            raise ModelError(
                f"the model has no weight {name!r}{did_you_mean(name, self._slots)}; `weight_names` lists those it has",
                code="E021",
            )
        return self._slots[name]


def _build(
    proto: ModelProto,
    folders: Folders | None,
    given: Mapping[str, WeightData],
    *,
    keep_docs: bool,
    keep_value_info: bool,
) -> Model:
    """Model from a message, which is changed; damage that shows only now is a `ModelError` too."""
    try:
        check_names(proto)
        data = _detach_data(proto, folders, given)
        proto = ModelProto.FromString(proto.SerializeToString())  # lets the memory of the taken data go
        before = proto.ByteSize()
        if not keep_docs:
            strip_docs(proto)
        if not keep_value_info:
            strip_value_info(proto)
        model = Model(proto, data, stripped_bytes=before - proto.ByteSize())
        for _ in model.infos():  # a graph that cannot be walked is refused here and not later
            pass
    except DAMAGED as error:
        raise ModelError(
            "not a valid ONNX model: text in it is damaged, or it is nested too deeply", code="E031"
        ) from error
    return model


def _detach_data(
    proto: ModelProto, folders: Folders | None, given: Mapping[str, WeightData]
) -> dict[str, WeightData]:
    """Empty all weights of `proto` in place and say where the data of each is now."""
    data: dict[str, WeightData] = {}
    for name, slot in weight_slots(proto).items():
        check_dims(name, slot.tensor)
        if is_emptied(slot.tensor) and name in given:
            data[name] = given[name]
        elif is_external(slot.tensor):
            data[name] = slice_of(name, slot.tensor, folders)
        else:
            data[name] = InlineBytes(inline_data(name, slot.tensor))
        clear_bytes(slot.tensor)
    for message in inner_messages(proto):
        if isinstance(message, TensorProto) and is_external(message) and not is_emptied(message):
            _inline_external(message, folders)
    return data


def _inline_external(tensor: TensorProto, folders: Folders | None) -> None:
    """Put external data of a tensor that is no weight (a sparse one, say) into the graph."""
    name = tensor.name or "(without a name)"
    if numpy_dtype(tensor.data_type) is None:
        raise ModelError(
            f"tensor {name!r} of type {type_name(tensor.data_type)} has its data in another file", code="E032"
        )
    array = slice_of(name, tensor, folders).load(name, tuple(tensor.dims), tensor.data_type)
    set_bytes(tensor, bytes(array_bytes(array, tensor.data_type)))
