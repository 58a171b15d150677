"""All of an `.enx` file but its values: table, graph, and the frames of those payloads that are made again.

Lengths and checksums of such payloads are left out of the table, since they follow from the values.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from enxuto.codec.bits import read_varint, varint
from enxuto.codec.recoding import frame_of_bytes, frame_of_levels
from enxuto.enx.file import CompressedModel
from enxuto.enx.payload import Payload
from enxuto.enx.table import ExactRow, Header, LevelsRow, dump_header, parse_header
from enxuto.errors import FormatError

__all__ = ["Sides", "frame_of"]

_FOLLOWING = ("bytes", "crc32")
_UNKNOWN = 1 << 40  # stands for the length until it is known


@dataclass(frozen=True)
class Sides:
    """table: JSON without the lengths and checksums that follow from values. frames: by the number of a payload."""

    table: bytes
    graph: bytes
    frames: Mapping[int, bytes]

    @classmethod
    def of(cls, model: CompressedModel, remade: Collection[int]) -> Sides:
        """Return the sides of a file of whose payloads those numbers are made again."""
        rows = tuple(payload.row for payload in model.payloads)
        fields = json.loads(dump_header(Header(metadata=model.metadata, parts=rows)))
        for number in remade:
            for name in _FOLLOWING:
                del fields["parts"][number][name]
        frames = {number: frame_of(model.payloads[number]) for number in sorted(remade)}
        return cls(_dump(fields), model.skeleton, frames)

    def to_bytes(self) -> bytes:
        """Return them one after the other."""
        return self.table + self.graph + self.frame_bytes

    @property
    def frame_bytes(self) -> bytes:
        """The frames, each behind its length."""
        return b"".join(varint(len(frame)) + frame for frame in self.frames.values())

    @classmethod
    def from_bytes(cls, data: bytes, table: int, graph: int, remade: Collection[int]) -> Sides:
        """Read what `to_bytes` wrote; `FormatError` where the frames do not fill it."""
        frames, position = {}, table + graph
        for number in sorted(remade):
            length, position = read_varint(data, position)
            frames[number] = data[position : position + length]
            position += length
        if position != len(data):
            raise FormatError("the frames of the difference file do not fill it", code="E052")
        return cls(data[:table], data[table : table + graph], frames)

    def header(self, rows: int) -> Header:
        """Return the table with lengths that stand for unknown ones; `FormatError` where it is damaged."""
        try:
            fields = json.loads(self.table)
        except (ValueError, RecursionError) as error:
            raise FormatError("the new file's table is damaged", code="E052") from error
        parts = fields.get("parts") if isinstance(fields, dict) else None
        if not isinstance(parts, list) or len(parts) != rows:
            raise FormatError("the new file's table has another number of payloads", code="E052")
        for number in self.frames:
            if not isinstance(parts[number], dict) or any(name in parts[number] for name in _FOLLOWING):
                raise FormatError("the new file's table says what follows from its values", code="E052")
            parts[number].update(bytes=_UNKNOWN, crc32="00000000")
        try:
            return parse_header(_dump(fields))
        except (RecursionError, ValueError) as error:
            raise FormatError("the new file's table is damaged", code="E052") from error


def frame_of(payload: Payload) -> bytes:
    """Return a payload's frame: a quantizer's steps and the coder's choices."""
    row, data = payload.row, memoryview(payload.data)[: payload.row.coded_bytes]
    try:
        if isinstance(row, ExactRow):
            return frame_of_bytes(data, row.items, row.item_bytes)
        assert isinstance(row, LevelsRow), "there are two kinds"
        shapes = [entry.shape for entry in row.tensors]
        return bytes(data[: row.steps_bytes]) + frame_of_levels(row.coder, data[row.steps_bytes :], shapes)
    except FormatError as error:
        raise FormatError(f"the payload of {row.label} is damaged: {error}", code=error.code) from error


def _dump(fields: Any) -> bytes:
    return json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
