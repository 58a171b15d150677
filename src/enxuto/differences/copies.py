"""One text as pieces of another: what to copy from the old one, and what stands between the copies.

Instructions: a varint and so many new bytes; a varint n and, for n > 0, a varint that says where the n bytes to copy
begin: u = 2·x for x ≥ 0, else −2·x − 1, x being how much further than where the last copy ended, or, for what is new,
than that plus the new bytes since. n = 0 ends the list. `docs/format.md` has them too.

Source: as in VCDIFF (RFC 3284), without its cache of addresses.
"""

from __future__ import annotations

from enxuto.codec.bits import read_varint, varint
from enxuto.errors import FormatError

__all__ = ["apply_copies", "find_copies"]

_BLOCK, _STRIDE = 12, 4
_LARGEST = 8 << 20  # beyond, only what begins and ends alike is copied


def find_copies(old: bytes, new: bytes) -> bytes:
    """Return instructions that make `new` of `old`."""
    out = bytearray()
    index: dict[bytes, int] = {}
    if max(len(old), len(new)) <= _LARGEST:
        for start in range(len(old) - _BLOCK, -1, -_STRIDE):
            index[old[start : start + _BLOCK]] = start
    written, expected, position = 0, 0, 0
    while position < len(new):
        start = expected + position - written  # as if as much had been replaced
        length = _common(old, start, new, position)
        if length < _BLOCK and (found := index.get(new[position : position + _BLOCK])) is not None:
            start, length = found, _common(old, found, new, position)
        if length < _BLOCK and (position + length < len(new) or length < 4):
            position += 1
            if not index and length < _BLOCK:  # of what is too large to search, the end may be the same
                position = max(position, len(new) - _common_end(old, new, position))
            continue
        back = 0
        while (
            position - back > written
            and start - back > 0
            and old[start - back - 1] == new[position - back - 1]
        ):
            back += 1
        fresh = new[written : position - back]
        out += varint(len(fresh)) + fresh + varint(length + back)
        out += varint(_fold(start - back - (expected + len(fresh))))
        position += length
        written, expected = position, start + length
    out += varint(len(new) - written) + new[written:] + varint(0)
    return bytes(out)


def apply_copies(old: bytes, instructions: bytes, length: int) -> bytes:
    """Return the `length` bytes that instructions make of `old`; `FormatError` where they do not make so many.

    Memory is bounded by `length`.
    """
    out, position, expected = bytearray(), 0, 0
    while True:
        fresh, position = read_varint(instructions, position)
        if fresh > len(instructions) - position or fresh > length - len(out):
            raise FormatError("the list of copies is damaged", code="E052")
        out += instructions[position : position + fresh]
        position += fresh
        copied, position = read_varint(instructions, position)
        if not copied:
            break
        step, position = read_varint(instructions, position)
        start = expected + fresh + (step // 2 if step % 2 == 0 else -(step + 1) // 2)
        if copied > length - len(out) or start < 0 or start + copied > len(old):
            raise FormatError("the list of copies is damaged", code="E052")
        out += old[start : start + copied]
        expected = start + copied
    if len(out) != length or position != len(instructions):
        raise FormatError("the list of copies does not make what it should", code="E052")
    return bytes(out)


def _fold(step: int) -> int:
    return 2 * step if step >= 0 else -2 * step - 1


def _common(old: bytes, start: int, new: bytes, position: int) -> int:
    """Return how many bytes are the same from there on."""
    if start < 0 or start >= len(old):
        return 0
    most = min(len(old) - start, len(new) - position)
    length, step = 0, 64
    while length < most:
        size = min(step, most - length)
        if old[start + length : start + length + size] == new[position + length : position + length + size]:
            length += size
            step *= 2
        elif size == 1:
            break
        else:
            step = size // 2
    return length


def _common_end(old: bytes, new: bytes, position: int) -> int:
    """Return how many bytes from the end are the same, of those behind a position."""
    most, length = min(len(old), len(new) - position), 0
    while length < most and old[-1 - length] == new[-1 - length]:
        length += 1
    return length
