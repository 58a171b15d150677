"""Tell whether a model's bytes are those that protobuf writes: numbers as short as can be, packed where they should be.

Parsers take more than that, and differ in what: a number with bytes to spare, a field given twice, numbers packed where
the definition has them apart. A file that every decoder reads alike has none of them (`docs/format.md`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from onnx import ModelProto

from enxuto.errors import ModelError

__all__ = ["check_exact"]

_SHORTEST = rb"(?:[\x80-\xff]{0,8}[\x01-\x7f]|[\x80-\xff]{9}\x01|\0)"
_NUMBER = re.compile(_SHORTEST)
_NUMBERS = re.compile(_SHORTEST + rb"+")
_ANY = re.compile(rb"[\x80-\xff]{0,9}[\0-\x7f]")
_WIRES = {"double": 1, "float": 5, "number": 0}  # how a field begins; all others with 2
_WIDTHS = {1: 8, 5: 4}  # bytes of a field that begins so


@dataclass(frozen=True, slots=True)
class _Field:
    """kind: a key of `_WIRES`, "message" or "bytes"; message: the full name of the kind of message."""

    kind: str
    repeated: bool
    packed: bool
    message: str


def check_exact(data: bytes) -> None:
    """Raise `ModelError` where bytes that parse as a model are not those that protobuf would write.

    `wire.check_wire` comes first, which bounds how deep messages lie in each other. Damage is left to the parser.
    """
    try:
        _walk(data)
    except IndexError:
        return  # cut short


def _walk(data: bytes) -> None:
    at, end, known, seen = 0, len(data), _fields_of(ModelProto.DESCRIPTOR.full_name), set[int]()
    around: list[tuple[int, dict[int, _Field], set[int]]] = []
    while True:
        if at >= end:
            if not around:
                return
            end, known, seen = around.pop()
            continue
        key, at = (data[at], at + 1) if data[at] < 0x80 else _number(data, at)
        field = known.get(key >> 3)
        wire, begun = key & 7, at
        if wire == 2:
            size, begun = (data[at], at + 1) if data[at] < 0x80 else _number(data, at)
            at = begun + size
        elif wire == 0:
            at = at + 1 if data[at] < 0x80 else _number(data, at)[1]
        else:
            at += _WIDTHS.get(wire, end)
        if at > end:
            raise IndexError
        if field is None:
            continue
        expected = _WIRES.get(field.kind, 2)
        if field.repeated and field.kind in _WIRES and wire in (2, expected):
            if field.packed != (wire == 2) or (wire == 2 and not _are_whole(data, begun, at, expected)):
                raise ModelError("numbers are packed where they should not be, or damaged", code="E031")
        elif wire == expected and not field.repeated:
            if key in seen:
                raise ModelError("a field occurs twice", code="E031")
            seen.add(key)
        if wire == 2 and field.kind == "message":
            around.append((end, known, seen))
            at, end, known, seen = begun, at, _fields_of(field.message), set()


def _are_whole(data: bytes, begun: int, end: int, wire: int) -> bool:
    """Say whether packed numbers, of which each would begin so alone, are whole; there is at least one."""
    if wire in _WIDTHS:
        return end > begun and not (end - begun) % _WIDTHS[wire]
    return _NUMBERS.fullmatch(data, begun, end) is not None


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at that place and the place behind it."""
    found = _NUMBER.match(data, at)
    if found is None:
        if _ANY.match(data, at) is None:
            raise IndexError
        raise ModelError("a number takes more bytes than it needs", code="E031")
    value = 0
    for place, byte in enumerate(found.group()):
        value |= (byte & 0x7F) << 7 * place
    return value, found.end()


@cache
def _fields_of(name: str) -> dict[int, _Field]:
    """Return the fields of a kind of message by their numbers."""
    descriptor = ModelProto.DESCRIPTOR.file.pool.FindMessageTypeByName(name)
    return {field.number: _field(field) for field in descriptor.fields}


def _field(field: Any) -> _Field:
    kinds = {
        field.TYPE_MESSAGE: "message",
        field.TYPE_STRING: "bytes",
        field.TYPE_BYTES: "bytes",
        field.TYPE_DOUBLE: "double",
        field.TYPE_FLOAT: "float",
    }
    # Newer versions of protobuf warn of `label`, older ones have nothing else.
    repeated = field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
    message = field.message_type.full_name if field.message_type is not None else ""
    return _Field(kinds.get(field.type, "number"), repeated, bool(field.GetOptions().packed), message)
