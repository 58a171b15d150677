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
    if max(len(old), len(new)) > _LARGEST:
        return _copy_ends(old, new)
    out = bytearray()
    index: dict[bytes, int] = {}
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
            continue
        back = 0
        while (
            position - back > written
            and start - back > 0
            and old[start - back - 1] == new[position - back - 1]
        ):
            back += 1
        fresh = new[written : position - back]
        out += _instruction(fresh, length + back, start - back - (expected + len(fresh)))
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


def _copy_ends(old: bytes, new: bytes) -> bytes:
    """Return instructions that copy what both begin and end with; each byte is looked at once."""
    first = _common(old, 0, new, 0)
    last = _common_end(old, new, first)
    fresh = new[first : len(new) - last]
    begin = _instruction(b"", first, 0) if first else b""
    end = _instruction(fresh, last, len(old) - last - first - len(fresh)) if last else b""
    return begin + end + (b"\0" if last else varint(len(fresh)) + fresh) + varint(0)


def _instruction(fresh: bytes, copied: int, further: int) -> bytes:
    """Return new bytes, then how many to copy, and how much further than expected these begin."""
    folded = 2 * further if further >= 0 else -2 * further - 1
    return varint(len(fresh)) + fresh + varint(copied) + varint(folded)


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
    """Return how many bytes from the end are the same, of those behind a position of both."""
    most = max(0, min(len(old), len(new)) - position)
    return _common(old[len(old) - most :][::-1], 0, new[len(new) - most :][::-1], 0)
