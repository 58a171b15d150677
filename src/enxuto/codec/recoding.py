"""Payloads without their values: the frame that stays, from which the same values give the same payload again.

A frame is what an encoder chose: tables and scales. A difference file has the frame and what moved among the values, so
that its reader makes the payload again without choosing anything, on any machine.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from enxuto.codec.bits import read_varint, varint
from enxuto.codec.choose import TRELLIS_CODERS, Coder
from enxuto.codec.context_model import ContextModel, read_model
from enxuto.codec.contexts import encode_contexts, is_codable
from enxuto.codec.layout import Layout, Shapes
from enxuto.codec.order0 import encode_levels, frame_length
from enxuto.errors import FormatError

__all__ = ["encode_bytes_in_frame", "encode_in_frame", "frame_of_bytes", "frame_of_levels"]

Int32 = npt.NDArray[np.int32]

_RAW, _CONSTANT, _CODED = 0, 1, 2


def frame_of_levels(coder: Coder, data: bytes | memoryview, shapes: Shapes) -> bytes:
    """Return the frame of levels of tensors of these shapes that `codec.encode` coded."""
    if not sum(math.prod(shape) for shape in shapes):
        return b""
    if coder == "order0":
        return bytes(data[: frame_length(data)])
    return bytes(data[: read_model(data, Layout.of(shapes).sizes, TRELLIS_CODERS.get(coder, 0))[1]])


def encode_in_frame(coder: Coder, frame: bytes, levels: Int32, shapes: Shapes) -> bytes:
    """Return the payload of levels in a frame.

    Args:
        coder: whose frame it is; that of a trellis takes one tensor.
        frame: from `frame_of_levels`, or from a hostile file.
        levels: (n,), one tensor's after the other.
        shapes: of the tensors.

    Raises:
        FormatError: the frame is damaged, or has no code for one of the levels.
    """
    flat = np.ascontiguousarray(levels, np.int32).reshape(-1)
    if not flat.size:
        if frame:
            raise FormatError("a frame for no levels is not empty")
        return b""
    if coder == "order0":
        return encode_levels(flat, frame=frame)
    layout = Layout.of(shapes)
    model, used = read_model(frame, layout.sizes, TRELLIS_CODERS.get(coder, 0))
    if used != len(frame):
        raise FormatError("a frame is too long")
    if not is_codable(flat) or int(np.abs(flat).max()) > _largest(model):
        raise FormatError("a frame has no code for some of its levels")
    return encode_contexts(flat, layout, model)


def _largest(model: ContextModel) -> int:
    return model.direct + (1 << model.groups) - 1


def frame_of_bytes(data: bytes | memoryview, count: int, item: int) -> bytes:
    """Return the frame of exact values that `codec.encode_bytes` coded: for each plane how, and its table."""
    view, position, frame = memoryview(data), 0, b""
    for _ in range(item):
        length, position = read_varint(view, position)
        end = position + (length or count)
        if length > 1:
            piece = view[position:end]
            table = bytes(piece[: frame_length(piece)])
            frame += bytes([_CODED]) + varint(len(table)) + table
        else:
            frame += bytes([_CONSTANT if length else _RAW])
        position = end
    return frame


def encode_bytes_in_frame(frame: bytes, values: bytes, item: int) -> bytes:
    """Return the payload of exact values, of `item` bytes each, in a frame; `FormatError` as `encode_in_frame`."""
    planes = np.frombuffer(values, np.uint8).reshape(-1, item)
    pieces, position = [], 0
    for plane in planes.T:
        kind = frame[position : position + 1]
        position += 1
        if kind == bytes([_RAW]):
            pieces.append(b"\0" + plane.tobytes())
        elif kind == bytes([_CONSTANT]) and plane.size and np.ptp(plane) == 0:
            pieces.append(b"\x01" + plane[:1].tobytes())
        elif kind == bytes([_CODED]) and plane.size:
            length, position = read_varint(frame, position)
            coded = encode_levels(plane.astype(np.int32), frame=frame[position : position + length])
            position += length
            pieces.append(varint(len(coded)) + coded)
        else:
            raise FormatError("a frame of exact values does not fit them")
    if position != len(frame):
        raise FormatError("a frame is too long")
    return b"".join(pieces)
