"""Where the bytes of a weight are, and how to read them: one class for each kind of place.

Inside a `Model` every weight's TensorProto is *emptied*: name, dims and data_type stay, the data is gone, and
`data_location` is EXTERNAL without any `external_data` entry. No valid ONNX file holds such a tensor, so that
emptied tensors and tensors with zero elements cannot be confused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from onnx import TensorProto

from enxuto.errors import ModelError
from enxuto.onnx_model.dtypes import array_from_bytes, byte_count, numpy_dtype, type_name

__all__ = [
    "FileSlice",
    "InMemory",
    "InlineBytes",
    "SuppliedOnDemand",
    "WeightData",
    "check_dims",
    "check_finite",
    "check_fits",
    "clear_bytes",
    "inline_data",
    "is_emptied",
    "set_bytes",
]

_DATA_FIELDS = (
    "raw_data",
    "float_data",
    "int32_data",
    "int64_data",
    "double_data",
    "uint64_data",
    "string_data",
    "external_data",
    "data_location",
    "segment",
)
_MOST_AXES = 64  # as numpy
_MOST_ELEMENTS = 1 << 40
_WIDE_TYPES: dict[int, str] = {
    TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
}
_FLOAT_FIELDS: dict[int, tuple[str, bytes]] = {
    TensorProto.FLOAT: ("float_data", b"\x22"),
    TensorProto.COMPLEX64: ("float_data", b"\x22"),
    TensorProto.DOUBLE: ("double_data", b"\x52"),
    TensorProto.COMPLEX128: ("double_data", b"\x52"),
}


class WeightData(Protocol):
    """The data of one weight, wherever it is."""

    def load(self, name: str, shape: Sequence[int], data_type: int) -> np.ndarray:
        """The weight as a read-only array; `name` is for the message of a `ModelError`."""
        ...


@dataclass(frozen=True)
class InlineBytes:
    """File bytes in memory."""

    data: bytes

    def load(self, name: str, shape: Sequence[int], data_type: int) -> np.ndarray:
        """See `WeightData`."""
        return array_from_bytes(self.data, shape, data_type)


@dataclass(frozen=True)
class InMemory:
    """An array given by the caller."""

    array: np.ndarray

    def load(self, name: str, shape: Sequence[int], data_type: int) -> np.ndarray:
        """See `WeightData`."""
        view = self.array.view()
        view.flags.writeable = False
        return view


@dataclass(frozen=True)
class FileSlice:
    """`size` bytes of a file from `offset` on, read anew each time they are asked for."""

    path: Path
    offset: int
    size: int

    def load(self, name: str, shape: Sequence[int], data_type: int) -> np.ndarray:
        """See `WeightData`."""
        try:
            data = np.fromfile(self.path, dtype=np.uint8, count=self.size, offset=self.offset)
        except OSError as error:
            raise ModelError(
                f"cannot read tensor {name!r} from {self.path}: {error.strerror or error}", code="E011"
            ) from error
        if data.size != self.size:
            raise ModelError(
                f"{self.path} has become shorter than tensor {name!r} needs; read the model again",
                code="E011",
            )
        return array_from_bytes(data, shape, data_type)


@dataclass(frozen=True)
class SuppliedOnDemand:
    """An array made by the caller's function each time it is asked for, and checked then."""

    source: Callable[[str], np.ndarray]

    def load(self, name: str, shape: Sequence[int], data_type: int) -> np.ndarray:
        """See `WeightData`."""
        array = self.source(name)
        check_fits(name, array, shape, data_type)
        return array


def is_emptied(tensor: TensorProto) -> bool:
    """Whether `empty` has been called on it (see the head of this file)."""
    return bool(tensor.data_location == TensorProto.EXTERNAL and not tensor.external_data)


def clear_bytes(tensor: TensorProto) -> None:
    """Take the data out, in place; name, dims and data_type stay."""
    for field in _DATA_FIELDS:
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL


def set_bytes(tensor: TensorProto, data: bytes) -> None:
    """Give an emptied tensor its bytes, in place."""
    for field in _DATA_FIELDS:
        tensor.ClearField(field)
    tensor.raw_data = data


def check_dims(name: str, tensor: TensorProto) -> tuple[int, ...]:
    """The tensor's shape; `ModelError` for a negative size, more than 64 sizes, or a product beyond any file.

    Zeros count as ones in the product: numpy refuses the shape (0, 2**40, 2**40) of an empty tensor.
    """
    if len(tensor.dims) > _MOST_AXES:
        raise ModelError(f"tensor {name!r} has {len(tensor.dims)} axes, more than {_MOST_AXES}", code="E031")
    shape = tuple(tensor.dims)
    if any(size < 0 for size in shape) or math.prod(max(1, size) for size in shape) > _MOST_ELEMENTS:
        raise ModelError(
            f"tensor {name!r} has the impossible shape {list(shape)}; the model is damaged", code="E031"
        )
    return shape


def inline_data(name: str, tensor: TensorProto) -> bytes:
    """The file bytes of a tensor that carries its data itself, as raw_data or in a typed field.

    Raises `ModelError` where their number is not what dims and data_type need.
    """
    shape = check_dims(name, tensor)
    needed = byte_count(shape, tensor.data_type)
    data: bytes = tensor.raw_data if tensor.HasField("raw_data") else _typed_data(tensor)
    if len(data) != needed:
        what = f"{type_name(tensor.data_type)} tensor {name!r} of shape {list(shape)}"
        raise ModelError(
            f"{what} needs {needed} bytes but has {len(data)}; the model is damaged", code="E031"
        )
    return data


def _typed_data(tensor: TensorProto) -> bytes:
    """The file bytes of data given as float_data, int32_data and so on."""
    kind = tensor.data_type
    if kind in _FLOAT_FIELDS:
        return _packed_floats(tensor, *_FLOAT_FIELDS[kind])
    dtype = numpy_dtype(kind)
    assert dtype is not None
    if kind in _WIDE_TYPES:
        wide = np.int64 if kind == TensorProto.INT64 else np.uint64
        return _numbers(getattr(tensor, _WIDE_TYPES[kind]), wide).astype(dtype, copy=False).tobytes()
    # int32_data holds bit patterns of the small types in its low bits; sub-byte types packed in bytes.
    width = {1: np.uint8, 2: np.uint16, 4: np.uint32}[dtype.itemsize]
    return _numbers(tensor.int32_data, np.int32).astype(width).tobytes()


def _numbers(values: Sequence[int], dtype: type[np.generic]) -> np.ndarray:
    """A repeated field as an array, number by number: a list of Python's takes five times the memory."""
    return np.fromiter(values, dtype, len(values))


def _packed_floats(tensor: TensorProto, field: str, tag: bytes) -> bytes:
    """Field bytes as on the wire: the detour through Python floats is slow and changes the bits of NaN."""
    only = TensorProto()
    only.CopyFrom(tensor)
    for other, _ in tensor.ListFields():
        if other.name != field:
            only.ClearField(other.name)
    wire: bytes = only.SerializeToString()
    if not wire:
        return b""
    assert wire.startswith(tag), "onnx.proto declares this field packed"
    start = 1
    while wire[start] & 0x80:
        start += 1
    return wire[start + 1 :]


def check_fits(name: str, array: np.ndarray, shape: Sequence[int], data_type: int) -> None:
    """Raise `ModelError` where an array has not the shape and element type of weight `name`."""
    dtype = numpy_dtype(data_type)
    if array.shape != tuple(shape) or array.dtype != dtype:
        expected, got = f"{dtype} {list(shape)}", f"{array.dtype} {list(array.shape)}"
        raise ModelError(f"weight {name!r} must be {expected}, got {got}")


def check_finite(name: str, array: np.ndarray, *, mask: bool = False) -> None:
    """Raise `ModelError` naming the tensor where it holds NaN or infinities; integers always pass.

    mask: infinities are meant, as in a constant that is added to hide some answers; NaN never is.
    """
    if array.dtype.kind in "iub" or np.isfinite(array).all():
        return
    nans, infinities = int(np.isnan(array).sum()), int(np.isinf(array).sum())
    if mask and not nans:
        return
    found = " and ".join(f"{n} {what}" for n, what in ((nans, "NaN"), (infinities, "infinite")) if n)
    raise ModelError(
        f"tensor {name!r} holds {found} values of {array.size}; such a model cannot be compressed",
        code="E033",
    )
