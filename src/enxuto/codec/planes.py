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
    """Return `data`, elements of `item` bytes each, as at most len(data) + `item` bytes (one or few more if large).

    Each plane, least significant first (elements are little-endian): a varint 0 and the plane as it is, or the
    coded plane's length as a varint and the coded plane.
    """
    planes = np.frombuffer(data, np.uint8).reshape(-1, item)
    out = []
    for plane in planes.T:
        coded = encode_levels(plane.astype(np.int32)) if plane.size else b""
        length = varint(len(coded))
        shorter = coded and len(length) + len(coded) < 1 + plane.size
        out.append(length + coded if shorter else b"\0" + plane.tobytes())
    return b"".join(out)


def decode_bytes(data: bytes | memoryview, count: int, item: int) -> bytes:
    """Return the `count`·`item` bytes that `encode_bytes` turned into `data`; `FormatError` for any other bytes."""
    view = memoryview(data)
    planes: npt.NDArray[np.uint8] = np.empty((count, item), np.uint8)
    position = 0
    for number in range(item):
        length, position = read_varint(view, position)
        end = position + (length or count)
        if end > len(view):
            raise FormatError("a payload of exact values ends too early")
        if length:
            plane = decode_levels(view[position:end], count)
            if plane.min(initial=0) < 0 or plane.max(initial=0) > 255:
                raise FormatError("a payload of exact values holds more than bytes")
            planes[:, number] = plane
        else:
            planes[:, number] = np.frombuffer(view[position:end], np.uint8)
        position = end
    if position != len(view):
        raise FormatError("a payload of exact values is too long")
    return planes.tobytes()
