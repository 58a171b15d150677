"""ONNX element types as numpy element types, and their bytes as ONNX files hold them.

Bytes are little-endian. Types below eight bits are packed in files (first element in the lowest bits) and
take one byte per element in memory. A type that this installation of ml_dtypes does not know is no weight
here: its tensors stay in the graph untouched. Source: onnx.proto, message TensorProto.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

__all__ = ["FLOAT_TYPES", "array_bytes", "array_from_bytes", "byte_count", "numpy_dtype", "type_name"]

_NAMES = {
    "FLOAT": "float32",
    "UINT8": "uint8",
    "INT8": "int8",
    "UINT16": "uint16",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "FLOAT16": "float16",
    "DOUBLE": "float64",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "COMPLEX64": "complex64",
    "COMPLEX128": "complex128",
}
_ML_NAMES = {
    "BFLOAT16": "bfloat16",
    "FLOAT8E4M3FN": "float8_e4m3fn",
    "FLOAT8E4M3FNUZ": "float8_e4m3fnuz",
    "FLOAT8E5M2": "float8_e5m2",
    "FLOAT8E5M2FNUZ": "float8_e5m2fnuz",
    "FLOAT8E8M0": "float8_e8m0fnu",
    "UINT4": "uint4",
    "INT4": "int4",
    "FLOAT4E2M1": "float4_e2m1fn",
    "UINT2": "uint2",
    "INT2": "int2",
}
_SUB_BYTE = {"UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2}
_SIGNED = {"INT4", "INT2"}

_TYPES: dict[int, np.dtype] = {
    TensorProto.DataType.Value(name): np.dtype(spelled)
    for name, spelled in _NAMES.items()
    if name in TensorProto.DataType.keys()  # noqa: SIM118 - an enum wrapper, not a dict
} | {
    TensorProto.DataType.Value(name): np.dtype(getattr(ml_dtypes, spelled))
    for name, spelled in _ML_NAMES.items()
    if name in TensorProto.DataType.keys() and spelled in ml_dtypes.__all__  # noqa: SIM118
}
_BITS = {
    code: _SUB_BYTE.get(TensorProto.DataType.Name(code), 8 * dtype.itemsize) for code, dtype in _TYPES.items()
}
_SIGNED_CODES = {code for code in _TYPES if TensorProto.DataType.Name(code) in _SIGNED}

FLOAT_TYPES = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16})
"""The element types that weights are trained in; only these can have a role other than `other`."""


def numpy_dtype(data_type: int) -> np.dtype | None:
    """The numpy element type of an ONNX one, or None for strings and types unknown here."""
    return _TYPES.get(data_type)


def type_name(data_type: int) -> str:
    """`FLOAT`, `BFLOAT16`, …; the number itself where it is no ONNX type."""
    return (
        str(TensorProto.DataType.Name(data_type))
        if data_type in TensorProto.DataType.values()
        else str(data_type)
    )


def byte_count(shape: Sequence[int], data_type: int) -> int:
    """Bytes that a tensor of this shape and (known) type takes in a file."""
    return (math.prod(shape) * _BITS[data_type] + 7) // 8


def array_from_bytes(
    data: bytes | memoryview | NDArray[np.uint8], shape: Sequence[int], data_type: int
) -> np.ndarray:
    """File bytes → read-only array of `shape`; `data` must hold `byte_count(shape, data_type)` bytes."""
    dtype, bits = _TYPES[data_type], _BITS[data_type]
    flat = np.frombuffer(data, dtype=np.uint8)
    if dtype == np.bool_:
        # Any byte but 0 and 1 in a numpy bool is undefined behaviour; ONNX Runtime reads non-zero as true.
        array: np.ndarray = flat != 0
    elif bits < 8:
        array = _unpack(flat, math.prod(shape), bits, data_type in _SIGNED_CODES).view(dtype)
    else:
        array = flat.view(dtype)
    shaped: np.ndarray = array.reshape(tuple(shape))
    shaped.flags.writeable = False
    return shaped


def array_bytes(array: np.ndarray, data_type: int) -> bytes | memoryview:
    """Array → file bytes; without a copy where the array is contiguous and its type takes whole bytes."""
    flat = np.ascontiguousarray(array).reshape(-1)
    bits = _BITS[data_type]
    return _pack(flat.view(np.uint8), bits).data if bits < 8 else flat.view(np.uint8).data


def _unpack(packed: NDArray[np.uint8], count: int, bits: int, signed: bool) -> NDArray[np.uint8]:
    """Bytes holding 8 / bits elements each → one byte per element, signed ones extended to the whole byte."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    values = ((packed[:, None] >> shifts) & np.uint8((1 << bits) - 1)).reshape(-1)[:count]
    if signed:
        sign = np.uint8(1 << (bits - 1))
        values = (values ^ sign) - sign
    return np.ascontiguousarray(values)


def _pack(values: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """One byte per element → packed; the last byte is filled up with zero bits."""
    per_byte = 8 // bits
    padded = np.zeros(-(-values.size // per_byte) * per_byte, dtype=np.uint8)
    padded[: values.size] = values & np.uint8((1 << bits) - 1)
    columns = padded.reshape(-1, per_byte) << np.arange(0, 8, bits, dtype=np.uint8)
    return np.ascontiguousarray(np.bitwise_or.reduce(columns, axis=1))
