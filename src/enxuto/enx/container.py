"""The frame that files of this project share: a prefix, a compressed head of a table and a body, then payloads.

`.enx` files and difference files (`enxuto.differences`) have it. `docs/format.md` defines every byte. Lengths are
checked against the file, and the head against its checksum, before memory is taken for them.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from enxuto.enx.head import lzma_filters, pack
from enxuto.errors import DataError, FormatError, does_not_exist

__all__ = ["LIMIT", "PREFIX", "Head", "errors_name", "most_unpacked", "pack_head", "read_head", "unpack"]

PREFIX = struct.Struct("<8sHHQIIII")  # magic, version, method, file length, stored, table, body, crc
_STORED, _LZMA = 0, 1
_HEAD_EXPANSION, _HEAD_SLACK = 64, 1 << 18
LIMIT = 1 << 31


@dataclass(frozen=True)
class Head:
    """What a file begins with. length: of the whole file; end: where the payloads begin."""

    table: bytes
    body: bytes
    length: int
    end: int


@contextmanager
def errors_name(place: Path, what: str) -> Iterator[None]:
    """Inside, errors of reading a file become one line that names it. what: such a file, as "an .enx file"."""
    try:
        yield
    except IsADirectoryError as error:
        raise DataError(f"{place} is a folder; name {what}", code="E011") from error
    except FileNotFoundError as error:
        raise DataError(does_not_exist(place, what.partition(" ")[2]), code="E010") from error
    except OSError as error:
        raise DataError(f"cannot read {place}: {error.strerror}; check the path", code="E011") from error
    except FormatError as error:
        raise FormatError(f"{place}: {error}", code=error.code) from error


def most_unpacked(stored: int) -> int:
    """Return how many bytes of table and graph a head of `stored` bytes may unfold to.

    Far more than any network needs (its head shrinks to a tenth), and few enough that what a reader makes of them,
    up to 150 times as much for messages of two bytes, stays small for a small file.
    """
    return _HEAD_EXPANSION * stored + _HEAD_SLACK


def pack_head(
    magic: bytes, version: int, table: bytes, body: bytes, payload_bytes: int, packed: bytes | None = None
) -> bytes:
    """Return prefix and head of a file with so many bytes of payloads; packed: `pack(table + body)`, if it is known."""
    unpacked = table + body
    stored, method = pack(unpacked) if packed is None else packed, _LZMA
    if len(stored) >= len(unpacked) or len(unpacked) > most_unpacked(len(stored)):
        stored, method = unpacked, _STORED
    total = PREFIX.size + len(stored) + payload_bytes
    fields = (magic, version, method, total, len(stored), len(table), len(body))
    checksum = zlib.crc32(PREFIX.pack(*fields, 0)[:-4] + stored)
    return PREFIX.pack(*fields, checksum) + stored


def read_head(file: BinaryIO, prefix: bytes, newest: int) -> Head:
    """Read and check the head.

    Args:
        file: stands behind the prefix; afterwards where the payloads begin.
        prefix: the first `PREFIX.size` bytes or fewer, whose signature is known to be right.
        newest: the newest version that the caller knows.

    Raises:
        FormatError: the file was cut off, is damaged or newer.
    """
    if len(prefix) < PREFIX.size:
        raise FormatError("the file ends within its first bytes; it was cut off", code="E051")
    _, version, method, total, stored, table_bytes, body_bytes, checksum = PREFIX.unpack(prefix)
    if not 1 <= version <= newest:
        raise FormatError(
            f"format version {version} is not known here; a newer enxuto may read it", code="E053"
        )
    actual = file.seek(0, 2)
    if actual != total:
        raise FormatError(
            f"the file has {actual} bytes where it says {total}; it was cut off or added to", code="E051"
        )
    unpacked_bytes = table_bytes + body_bytes
    if PREFIX.size + stored > total or unpacked_bytes > most_unpacked(stored) or unpacked_bytes >= LIMIT:
        raise FormatError("the lengths in the file's first bytes contradict each other")
    file.seek(PREFIX.size)
    head = file.read(stored)
    if zlib.crc32(prefix[:-4] + head) != checksum:
        raise FormatError("the head does not match its checksum: the file is damaged", code="E052")
    unpacked = unpack(head, method, unpacked_bytes)
    return Head(unpacked[:table_bytes], unpacked[table_bytes:], total, PREFIX.size + stored)


def unpack(head: bytes, method: int, length: int) -> bytes:
    """Return the head's `length` unpacked bytes; memory is bounded by `length`."""
    if method == _STORED:
        unpacked = head
    elif method == _LZMA:
        decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=lzma_filters(length))
        try:
            unpacked = decoder.decompress(head, max_length=length + 1)
        except lzma.LZMAError as error:
            raise FormatError("the head does not decompress: the file is damaged", code="E052") from error
    else:
        raise FormatError(
            f"compression method {method} is not known here; a newer enxuto may read it", code="E053"
        )
    if len(unpacked) != length:
        raise FormatError("the head is not as long as the file says")
    if method == _LZMA and (not decoder.eof or decoder.unused_data):
        raise FormatError(
            "the head does not end where its compression ends: the file is damaged", code="E052"
        )
    return unpacked
