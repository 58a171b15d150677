"""Exact coding of arrays kept as they are: byte planes, each through the order-0 coder.

The bytes of equal significance of all elements are put together; sign and exponent bytes of trained weights are
skewed and shrink, mantissa bytes do not and stay raw. Works for any element type, and gives back every bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from enxuto.codec.bits import read_varint, varint
from enxuto.codec.order0 import decode_levels, encode_levels
from enxuto.errors import FormatError

__all__ = ["decode_bytes", "encode_bytes"]


def encode_bytes(data: bytes, item: int) -> bytes:
    """Return `data`, elements of `item` bytes each, as at most len(data) + `item` bytes.

    A plane, least significant first (elements are little-endian), is written as a number (varint) and what it
    announces: 0, the plane as it is; 1, the one byte that all elements have; n > 1, the plane coded in n bytes.
    """
    planes = np.frombuffer(data, np.uint8).reshape(-1, item)
    return b"".join(_encode_plane(np.ascontiguousarray(plane)) for plane in planes.T)


def _encode_plane(plane: npt.NDArray[np.uint8]) -> bytes:
    if plane.size and np.ptp(plane) == 0:
        return b"\x01" + plane[:1].tobytes()
    coded = encode_levels(plane.astype(np.int32)) if plane.size else b""
    announced = varint(len(coded)) + coded
    return announced if len(coded) > 1 and len(announced) <= plane.size else b"\0" + plane.tobytes()


def decode_bytes(data: bytes | memoryview, count: int, item: int) -> bytes:
    """Return the `count`·`item` bytes that `encode_bytes` turned into `data`; `FormatError` for any other bytes."""
    view = memoryview(data)
    planes: npt.NDArray[np.uint8] = np.empty((count, item), np.uint8)
    position = 0
    for number in range(item):
        length, position = read_varint(view, position)
        end = position + (length or count)
        if end > len(view):
            raise FormatError("a payload of exact values ends too early", code="E051")
        piece = view[position:end]
        planes[:, number] = np.frombuffer(piece, np.uint8) if length <= 1 else _decode_plane(piece, count)
        position = end
    if position != len(view):
        raise FormatError("a payload of exact values is too long")
    return planes.tobytes()


def _decode_plane(piece: memoryview, count: int) -> npt.NDArray[np.int32]:
    plane = decode_levels(piece, count)
    if plane.min(initial=0) < 0 or plane.max(initial=0) > 255:
        raise FormatError("a payload of exact values holds more than bytes")
    return plane
