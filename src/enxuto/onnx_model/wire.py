"""Bound the memory that a model's bytes take once parsed, before they are parsed.

A protobuf message takes two bytes in a file, over a hundred once it is parsed, and more where Python walks over it. So
a file of some megabytes could need gigabytes. The bytes are scanned here without parsing any message. Weights are
skipped by their length, so that the number of messages decides.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeAlias

from onnx import ModelProto

from enxuto.errors import ModelError

__all__ = ["check_wire"]

_FREE = 64 << 20
_PER_BYTE = 24
"""Bytes of memory that a byte of a model may pay for; honest graphs need up to 14, and below 1 for weights."""
_SMALL = 1 << 20  # bytes of a model that need not be looked at: whatever is in it takes little
_MOST_DEPTH = 100  # as protobuf's own limit

# Bytes that a message takes, measured with protobuf 7 (upb) and what walking over it adds; others take 64.
_COSTS = {
    "NodeProto": 200,
    "TensorProto": 800,
    "AttributeProto": 180,
    "GraphProto": 800,
    "FunctionProto": 800,
}
_Kind: TypeAlias = "tuple[int, dict[int, _Kind]]"


def check_wire(data: bytes, *, groups: bool = True) -> None:
    """Raise `ModelError` where parsing the serialized model would take far more memory than models of its size do.

    groups: whether protobuf groups, which no ONNX model has, are accepted. Damage is left to the parser.
    """
    small = len(data) <= _SMALL
    if small and groups:
        return
    left = _FREE + _PER_BYTE * len(data)
    # What the loop works on: position, end and kind of the innermost message, and those around it.
    at, end, (_, children) = 0, len(data), _kinds()[ModelProto.DESCRIPTOR.full_name]
    around: list[tuple[int, dict[int, _Kind]]] = []
    try:
        while True:
            if at >= end:
                if not around:
                    return
                end, children = around.pop()
                continue
            key = data[at]
            at += 1
            if key >= 0x80:
                key, at = _varint(data, at - 1)
            wire = key & 7
            if wire == 2:
                size = data[at]
                at += 1
                if size >= 0x80:
                    size, at = _varint(data, at - 1)
                inner = children.get(key >> 3)
                if inner is None:
                    at += size
                    continue
                left -= inner[0]
                if (left < 0 and not small) or len(around) > _MOST_DEPTH:
                    raise ModelError(
                        "far more nodes, tensors or subgraphs than a model of its size has; it was made to hurt",
                        code="E031",
                    )
                around.append((end, children))
                end, children = min(end, at + size), inner[1]
            elif wire == 0:
                while data[at] >= 0x80:
                    at += 1
                at += 1
            elif wire in (1, 5):
                at += 8 if wire == 1 else 4
            elif wire in (3, 4) and not groups:
                raise ModelError("it holds groups of protobuf, which ONNX does not have", code="E031")
            elif wire not in (3, 4):  # those are no more than a mark in front and one behind
                return  # no protobuf: the parser says so
    except IndexError:
        return  # cut short


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at that place and the place behind it; at most ten bytes are looked at."""
    value = 0
    for i in range(10):
        byte = data[at + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value, at + i + 1
    raise IndexError


@cache
def _kinds() -> dict[str, _Kind]:
    """By name, every message that a model can hold: its cost and, by field number, the kinds of those in it."""
    found: dict[str, _Kind] = {}
    waiting: list[Any] = [ModelProto.DESCRIPTOR]
    while waiting:
        descriptor = waiting.pop()
        if descriptor.full_name not in found:
            found[descriptor.full_name] = (_COSTS.get(descriptor.name, 64), {})
            waiting += [field.message_type for field in descriptor.fields if field.message_type is not None]
    for name, (_, children) in found.items():
        for field in ModelProto.DESCRIPTOR.file.pool.FindMessageTypeByName(name).fields:
            if field.message_type is not None:
                children[field.number] = found[field.message_type.full_name]
    return found
