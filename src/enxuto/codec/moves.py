"""Integers that are mostly what is expected of them ↔ bytes: where and how they moved, by adaptive binary rANS.

Whoever decodes knows an earlier version of the integers, so only what changed is coded: for each integer whether it is
as expected, and if not the sign and size of the difference. Every such choice is a bit whose odds are learned on the
way, apart for how large the expected number is, for what moved lately and, on a trellis, for whether the path of states
has left the old one. There, what an old number of steps would be as a level follows from the state. Nothing is written
but the bits, so that a tensor of few changes takes few bytes. Layout: `docs/format.md`, "Moves".

Odds as in adaptive binary coders (Rissanen & Langdon 1981): with n₀ zeros among n choices (n₀ + ¼)/(n + ½), where
Krichevsky & Trofimov 1981 have ½ and 1, as most choices are nearly certain; later the last 256 weigh most. rANS:
`codec.rans`.
All arithmetic is on integers: the same on every machine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from enxuto.codec.bits import read_varint, varint
from enxuto.errors import FormatError
from enxuto.machine.kernels import compiled, inlined
from enxuto.quantize.trellis import MACHINES

__all__ = ["FURTHEST", "Moves"]

FURTHEST = 1 << 32
"""Differences are smaller."""

_BLOCK = 1 << 16  # integers that share a stream of words
_LENGTHS = 33  # of differences in bits
_PATHS, _SIZES, _LATELY = 3, 6, 8
_SIGNS = _PATHS * _SIZES * _LATELY
_WIDTHS = _SIGNS + 3 * _PATHS
_TOPS = _WIDTHS + _PATHS * _LENGTHS
_CONTEXTS = _TOPS + _LENGTHS
_MOST = 2 * (_LENGTHS + 1) + 2  # choices for an integer
_ODDS = 22  # bits of an estimate, of which 16 code
_PATIENCE = 255  # choices that an estimate looks back on

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint32]


class Moves:
    """Codes arrays one after the other; the odds learned from one hold for the next.

        data = Moves().encode(np.array([3, 0, -2]), expected=np.array([3, 1, -2]))
        assert Moves().decode(data, expected=np.array([3, 1, -2])).tolist() == [3, 0, -2]

    An encoder and its decoder see the same arrays in the same order.
    """

    def __init__(self) -> None:
        self._odds = np.zeros((_CONTEXTS, 2), np.int64)
        self._odds[:, 0] = 1 << (_ODDS - 1)

    def copy(self) -> Moves:
        """Return one that has learned the same."""
        other = Moves()
        other._odds[:] = self._odds
        return other

    def encode(
        self,
        values: npt.NDArray[Any],
        expected: npt.NDArray[Any],
        *,
        columns: int = 0,
        before: Bytes | None = None,
        trellis: int = 0,
    ) -> bytes:
        """Return integers as bytes.

        Args:
            values: (n,), each less than `FURTHEST` from what is expected.
            expected: (n,), within ±2^31; on a trellis in steps.
            columns: length of a row, in which what moved lately counts; 0: all are one row.
            before: on a trellis, the states of the old path (n,).
            trellis: how many states the levels' trellis has, 0 without one.
        """
        walk = _Walk(values.astype(np.int64).reshape(-1), expected, columns, before, trellis)
        pieces = []
        for start in range(0, values.size, _BLOCK):
            stop = min(start + _BLOCK, values.size)
            record = np.empty((stop - start) * _MOST, np.int64)
            count = walk.run(False, start, stop, self._odds, record, np.zeros(2, np.int64), _NO_WORDS)
            words = np.empty(count + 1, np.uint32)
            state, begin = _put_bits(record, count, words)
            body = words[begin:].astype("<u4").tobytes()
            least = 5 if body else 0  # then the state's length is told by that of the whole
            head = state.to_bytes(max(least, (state.bit_length() + 7) // 8), "little")
            pieces.append(varint(len(head) + len(body)) + head + body)
        return b"".join(pieces)

    def decode(
        self,
        data: bytes | memoryview,
        expected: npt.NDArray[Any],
        *,
        columns: int = 0,
        before: Bytes | None = None,
        trellis: int = 0,
    ) -> Int64:
        """Return the integers (n,) that `encode` made `data` of; `FormatError` for any other bytes."""
        view, position = memoryview(data), 0
        values = np.empty(expected.size, np.int64)
        walk = _Walk(values, expected, columns, before, trellis)
        for start in range(0, values.size, _BLOCK):
            length, position = read_varint(view, position)
            body = view[position : position + length]
            position += length
            head = length if length < 5 else 5 + (length - 5) % 4
            state = int.from_bytes(body[:head], "little")
            if len(body) < length or state >> 63:
                raise FormatError("a stream of moves is cut off", code="E051")
            coder = np.array([state, 0], np.int64)
            words = np.frombuffer(body[head:], "<u4").astype(np.uint32)
            stop = min(start + _BLOCK, values.size)
            ended = walk.run(True, start, stop, self._odds, np.empty(0, np.int64), coder, words)
            if ended < 0 or coder[0] != 0 or coder[1] != len(words):
                raise FormatError("a stream of moves does not decode", code="E052")
        if position != len(view):
            raise FormatError("a stream of moves is too long")
        return values


_NO_WORDS = np.zeros(0, np.uint32)


class _Walk:
    """The way through an array: what is expected, and the trellis's states along it."""

    def __init__(
        self, values: Int64, expected: npt.NDArray[Any], columns: int, before: Bytes | None, trellis: int
    ) -> None:
        self._values = values
        self._expected = expected.astype(np.int64).reshape(-1)
        self._columns = columns or max(1, values.size)
        none = np.zeros(0, np.uint8)
        self._before = none if before is None or not trellis else before.reshape(-1)
        self._following = MACHINES[trellis].following if trellis else np.zeros((1, 2), np.int64)
        self._memory = np.zeros(2, np.int64)

    def run(
        self, decoding: bool, start: int, stop: int, odds: Int64, record: Int64, coder: Int64, words: Words
    ) -> int:
        """Code integers `start`…`stop`−1; return how many choices were recorded, or −1 for damage."""
        found: int = _walk(
            decoding, self._values, self._expected, self._before, self._following, self._columns, start, stop,
            self._memory, odds, record, coder, words,
        )  # fmt: skip
        return found


@compiled
def _walk(
    decoding: bool,
    values: Int64,
    expected: Int64,
    before: Bytes,
    following: Int64,
    columns: int,
    start: int,
    stop: int,
    memory: Int64,
    odds: Int64,
    record: Int64,
    coder: Int64,
    words: Words,
) -> int:
    """Choices are taken from `coder` (state, position in `words`), or recorded: 2·frequency of 0 + the bit.

    The five choices (moved, sign, longer, first bit below the leading one, further bits) are one loop, so that the code
    that makes them is there once.
    """
    state, lately, count = memory[0], memory[1], np.int64(0)
    on_trellis = before.shape[0] > 0
    for i in range(start, stop):
        if i % columns == 0:
            state, lately = np.int64(0), np.int64(0)
        sought, path = expected[i], np.int64(0)
        among = min(abs(sought), np.int64(_SIZES - 1)) * _LATELY
        if on_trellis:
            old = np.int64(before[i])
            path = np.int64(0) if state == old else np.int64(1) + ((state ^ old) & 1)
            reached = (abs(sought) + (state & 1)) >> 1
            sought = -reached if sought < 0 else reached
        side = np.int64(1) if sought == 0 else np.int64(0) if sought < 0 else np.int64(2)
        difference = np.int64(0) if decoding else values[i] - sought
        size, width, found = abs(difference), np.int64(0), np.int64(1)
        negative = difference < 0
        left, stage = np.int64(0), 0
        while stage < 5:
            if stage == 0:
                seen = (lately >> 1) & 127
                seen -= (seen >> 1) & 0x55
                seen = (seen & 0x33) + ((seen >> 2) & 0x33)
                seen = (seen + (seen >> 4)) & 15
                context = path * _SIZES * _LATELY + among + 2 * min(seen, np.int64(3)) + (lately & 1)
                bit = np.int64(difference != 0)
            elif stage == 1:
                context, bit = _SIGNS + 3 * path + side, np.int64(negative)
            elif stage == 2:
                context, bit = _WIDTHS + _LENGTHS * path + width, np.int64((size >> (width + 1)) != 0)
            else:
                context, bit = _TOPS + width if stage == 3 else np.int64(-1), (size >> left) & 1
            bit = _choose(context, bit, decoding, odds, record, count, coder, words)
            count += 1
            if stage == 0:
                lately = ((lately << 1) | bit) & 255
                stage = 1 if bit else 6
            elif stage == 1:
                negative, stage = bit == 1, 2
            elif stage == 2:
                width += bit
                if width >= _LENGTHS - 1:
                    return -1
                left = width - 1
                stage = 2 if bit else 3 if width else 5
            else:
                found = (found << 1) | bit
                left -= 1
                stage = 4 if left >= 0 else 5
        if decoding:
            values[i] = sought + (np.int64(0) if stage == 6 else -found if negative else found)
        if on_trellis:
            state = following[state, values[i] & 1]
    memory[0], memory[1] = state, lately
    return int(count)


@inlined
def _choose(
    context: np.int64,
    bit: np.int64,
    decoding: bool,
    odds: Int64,
    record: Int64,
    count: np.int64,
    coder: Int64,
    words: Words,
) -> np.int64:
    """Record a bit, or take one; learn from it. Without a context (−1) both values are equally likely."""
    zero = np.int64(1 << 15)
    if context >= 0:
        zero = odds[context, 0] >> (_ODDS - 16)
        zero = np.int64(16) if zero < 16 else np.int64(65520) if zero > 65520 else zero
    if decoding:
        x = coder[0]
        slot = x & 65535
        bit = np.int64(slot >= zero)
        x = ((65536 - zero) * (x >> 16) + slot - zero) if bit else zero * (x >> 16) + slot
        if x < (1 << 31) and coder[1] < words.shape[0]:
            x = (x << 32) | np.int64(words[coder[1]])
            coder[1] += 1
        coder[0] = x
    else:
        record[count] = 2 * zero + bit
    if context >= 0:
        goal = np.int64(0) if bit else np.int64(1 << _ODDS)
        odds[context, 0] += (goal - odds[context, 0]) * 2 // (2 * odds[context, 1] + 3)
        if odds[context, 1] < _PATIENCE:
            odds[context, 1] += 1
    return bit


def _put_bits(record: Int64, count: int, words: Words) -> tuple[int, int]:
    """Encode recorded bits, last first, from state 0; return the state, and where the words begin."""
    state = np.zeros(1, np.int64)
    begin = _put(record, count, state, words)
    return int(state[0]), int(begin)


@compiled
def _put(record: Int64, count: int, state: Int64, words: Words) -> int:
    position: int = words.shape[0]
    x = state[0]
    for i in range(count - 1, -1, -1):
        zero, bit = record[i] >> 1, record[i] & 1
        frequency = 65536 - zero if bit else zero
        if (x >> 47) >= frequency:
            position -= 1
            words[position] = np.uint32(x & 0xFFFFFFFF)
            x >>= 32
        quotient = x // frequency
        x = (quotient << 16) + (x - quotient * frequency) + (zero if bit else 0)
    state[0] = x
    return position
