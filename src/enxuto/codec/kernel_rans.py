"""Decode rANS of kernels of weights: magnitude by class, then sign by what the neighbours say, in one pass.

The state x lives in [2**31, 2**63) and 32-bit words move at a time. A weight is a magnitude token (frequencies of
12 bits, of the weight's class), a sign (8 bits; certain for a 0) and for shared tokens raw bits; one word at most
is read behind the first two, one behind each 16 raw bits. Kernels come in strands: single kernels, or with a
trellis whole rows. Strand n belongs to state n mod S; S strands advance together, position by position, so that a
processor works on S chains although each weight waits for the last. With a trellis each class is there twice or four
times, by the last bits of the state.

A single state starts at 0 when encoding: rANS is a bijection of all natural numbers, so nothing is lost, and a
small payload saves the four bytes that a state of 2**31 would stand for. Where words are used up, none is read.
The encoder is in `kernel_encoder`. Sources: see `rans`; contexts: `neighbours`; trellis: `enxuto.quantize.trellis`.
int64 throughout.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from enxuto.codec.neighbours import CLIP, MOST_AROUND, MOST_SUM
from enxuto.codec.stop_odds import BITS
from enxuto.machine.kernels import clamp, compiled, inlined

__all__ = [
    "AROUND_ROW",
    "HALF_ROW",
    "LOWER",
    "PIECE",
    "SIGN_BITS",
    "SIGN_TOTAL",
    "SUM_ROW",
    "decode",
    "decode_alone",
    "slot_table",
]

LOWER = 1 << 31
SIGN_BITS = 8
_LOWER = np.int64(LOWER)
_SIGN_MASK = np.int64((1 << SIGN_BITS) - 1)
SIGN_TOTAL = np.int64(1 << SIGN_BITS)
_SLOTS = np.int64(1 << BITS)
_SLOT_MASK = np.int64((1 << BITS) - 1)
_FIELD = np.int64(0x1FFF)
_ONE, _TWO = np.uint32(1), np.uint32(2)
_HALF = np.int64(1 << 31)
AROUND_ROW = np.int64(7 * (MOST_AROUND + 1))
SUM_ROW = np.int64(2 * MOST_SUM + 2)
HALF_ROW = np.int64(MOST_SUM + 1)
_CLIP = np.int64(CLIP)
_CENTRE = np.int64(256)  # more than the numbers of row, column and position and their offset add up to
PIECE = 16  # raw bits move in pieces of so many

Int16 = npt.NDArray[np.int16]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt32 = npt.NDArray[np.uint32]
UInt64 = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]
Shares = npt.NDArray[np.uint16]
Words = npt.NDArray[np.uint32]


def slot_table(table: Int64) -> Int32:
    """Return the decoder's table (rows · 4096,): bits 0–12 frequency, 13–24 place within the token, 25–30 token.

    table (rows, tokens): with a trellis each class's rows by the last bits of the state.
    """
    tokens = np.arange(table.shape[1], dtype=np.int64)
    rows = []
    for frequencies in table:
        starts = np.cumsum(frequencies) - frequencies
        place = np.arange(int(_SLOTS)) - np.repeat(starts, frequencies)
        rows.append(np.repeat(tokens << 25 | frequencies, frequencies) | place << 13)
    return np.concatenate(rows).astype(np.int32)


def decode_alone(
    bases: Int16,
    offsets: Int16,
    slots: Int32,
    signs: Shares,
    direct: int,
    strand: int,
    following: Int64 | None,
    states: Int64,
    words: Words,
    out: Int32,
) -> bool:
    """Decode as `decode` does, weights that do not look at their neighbours."""
    paths, own, spots = _allocate_lanes(len(states))
    class_of_sum = _classes_of_sums(len(slots), following)
    ended: bool = _decode_alone(
        bases, offsets, class_of_sum, slots, signs, direct, strand, following, states, paths, own, spots, words,
        out.shape[1], out.reshape(-1),
    )  # fmt: skip
    return ended


@compiled
def _decode_alone(
    bases: Int16,
    offsets: Int16,
    class_of_sum: Int64,
    slots: Int32,
    signs: Shares,
    direct: int,
    strand: int,
    following: Int64 | None,
    states: Int64,
    paths: Int64,
    own: Int64,
    spots: UInt64,
    words: Words,
    positions: int,
    flat: Int32,
) -> bool:
    strands, lanes = flat.shape[0] // (strand * positions), states.shape[0]
    told = _bits_told(following)
    last = (np.int64(1) << told) - 1
    position: Any = np.int64(0)
    for first in range(0, strands, lanes):
        paths[:] = 0
        busy = clamp(strands - first, 1, lanes)
        for k in range(strand):
            _begin_kernels(bases, first, strand, k, positions, busy, own, spots)
            for p in range(positions):
                offset, cell = np.int64(offsets[p]), np.uint64(p)
                for lane in range(busy):
                    c = class_of_sum[np.uint32(own[lane] + offset)]
                    if following is not None:
                        c = (c << told) + (paths[lane] & last)
                    x = states[lane]
                    entry = np.int64(slots[np.uint32((c << BITS) + (x & _SLOT_MASK))])
                    token = entry >> 25
                    x, like = _take_symbols(x, entry, np.int64(signs[np.uint32(token)]))
                    if x < _LOWER and position < words.shape[0]:
                        x = (x << 32) | np.int64(words[np.uint64(position)])
                        position += 1
                    if token > direct:
                        token, x, position = _read_raw(token - direct - 1, x, position, words)
                        token += direct
                    if following is not None:
                        paths[lane] = following[np.uint32((paths[lane] << 1) + (token & 1))]
                    flat[spots[lane] + cell] = (token ^ ~like) - ~like
                    states[lane] = x
    return _has_ended(states, position, words)


@inlined
def _take_symbols(x: np.int64, entry: np.int64, share: np.int64) -> tuple[np.int64, np.int64]:
    """Take a token and a sign off a state; return it, and −1 where the sign is the expected one, else 0."""
    x = (entry & _FIELD) * (x >> BITS) + ((entry >> 13) & _SLOT_MASK)
    slot = x & _SIGN_MASK
    like = (slot - share) >> 63
    rest = SIGN_TOTAL - share
    return (x >> SIGN_BITS) * (rest + (like & (share - rest))) + slot - (share & ~like), like


@inlined
def _read_raw(width: np.int64, x: np.int64, position: int, words: Words) -> tuple[np.int64, np.int64, int]:
    """Read `width` raw bits in pieces; return 2**width + them, state and position."""
    value = np.int64(1) << width
    done = np.int64(0)
    while done < width:
        piece = width - done if width - done < PIECE else np.int64(PIECE)
        value += (x & ((np.int64(1) << piece) - 1)) << done
        x >>= piece
        done += piece
        if x < _LOWER and position < words.shape[0]:
            x = (x << 32) | np.int64(words[position])
            position += 1
    return value, x, position


@inlined
def _bits_told(following: Int64 | None) -> np.int64:
    """Return how many of the last bits of a trellis's state a class is told apart by: one of 8 states, two of 32."""
    return np.int64(0) if following is None else np.int64(1 if following.shape[0] == 16 else 2)


@inlined
def _has_ended(states: Int64, position: int, words: Words) -> bool:
    end = np.int64(0) if states.shape[0] == 1 else _LOWER
    for lane in range(states.shape[0]):
        if states[lane] != end:
            return False
    ended: bool = position == words.shape[0]
    return ended


def decode(
    bases: Int16,
    offsets: Int16,
    cells: UInt32,
    near: UInt32,
    stride: np.uint32,
    size: int,
    eighths: Int64,
    class_of: Bytes,
    sure_of: Bytes,
    slots: Int32,
    signs: Shares,
    direct: int,
    strand: int,
    following: Int64 | None,
    states: Int64,
    words: Words,
    out: Int32,
) -> bool:
    """Decode `out` (N, P) from `words`; return whether words and states ended exactly as they must.

    `states` (S,) is overwritten; `slots` from `slot_table`; `cells` … `size` from `Pictures`; `following` (16,
    or 64): the trellis, by twice the state plus the parity, None without one; the others as in `encode`. Never reads
    outside `words`, whatever they hold. Choices that no processor predicts are arithmetic; whether to read a word is a
    branch (as arithmetic, in a function of its own, it made each state wait for the others: half the speed).
    """
    lanes = len(states)
    paths, own, spots = _allocate_lanes(lanes)
    pictures = np.zeros(lanes * size, np.int64)  # of |level|·2**32 + level: both weighted sums in one
    starts = (np.arange(lanes) * size).astype(np.uint32)
    class_of_sum = _classes_of_sums(len(slots), following)
    ended: bool = _decode(
        bases, offsets, class_of_sum, cells, near, stride, eighths, class_of, sure_of, slots, signs, direct, strand,
        following, states, pictures, starts, paths, own, spots, words, out.shape[1], out.reshape(-1),
    )  # fmt: skip
    return ended


@compiled
def _decode(
    bases: Int16,
    offsets: Int16,
    class_of_sum: Int64,
    cells: UInt32,
    near: UInt32,
    stride: np.uint32,
    eighths: Int64,
    class_of: Bytes,
    sure_of: Bytes,
    slots: Int32,
    signs: Shares,
    direct: int,
    strand: int,
    following: Int64 | None,
    states: Int64,
    pictures: Int64,
    starts: UInt32,
    paths: Int64,
    own: Int64,
    spots: UInt64,
    words: Words,
    positions: int,
    flat: Int32,
) -> bool:
    strands, lanes = flat.shape[0] // (strand * positions), states.shape[0]
    told = _bits_told(following)
    last = (np.int64(1) << told) - 1
    position: Any = np.int64(0)
    unclipped = (
        np.int64(direct) if direct < _CLIP else _CLIP
    )  # above, a token is no magnitude, or clipped for neighbours
    w0, w1, w2, w3 = eighths[0], eighths[1], eighths[2], eighths[3]
    for first in range(0, strands, lanes):
        paths[:] = 0
        busy = clamp(strands - first, 1, lanes)
        for k in range(strand):
            _begin_kernels(bases, first, strand, k, positions, busy, own, spots)
            for p in range(positions):
                place, weight, offset, cell = cells[p], near[p], np.int64(offsets[p]), np.uint64(p)
                for lane in range(busy):
                    base = np.uint32(class_of_sum[np.uint32(own[lane] + offset)])
                    at = starts[lane] + place  # above left
                    found, total = _around(pictures, at, stride, w0, w1, w2, w3)
                    at += stride
                    c = np.int64(class_of[np.uint32(base * AROUND_ROW + weight + found)])
                    if following is not None:
                        c = (c << told) + (paths[lane] & last)
                    sure = np.int64(sure_of[np.uint32(base * SUM_ROW + HALF_ROW + total)])
                    x = states[lane]
                    entry = np.int64(slots[np.uint32((c << BITS) + (x & _SLOT_MASK))])
                    token = entry >> 25
                    x, like = _take_symbols(x, entry, np.int64(signs[np.uint32((sure << 6) + token)]))
                    if x < _LOWER and position < words.shape[0]:
                        x = (x << 32) | np.int64(words[np.uint64(position)])
                        position += 1
                    seen = token
                    if token > unclipped:
                        if token > direct:
                            token, x, position = _read_raw(token - direct - 1, x, position, words)
                            token += direct
                        seen = token if token < _CLIP else _CLIP
                    if following is not None:
                        paths[lane] = following[np.uint32((paths[lane] << 1) + (token & 1))]
                    negative = ~like ^ (total >> 63)
                    flat[spots[lane] + cell] = (token ^ negative) - negative
                    pictures[at + _ONE] = ((seen ^ negative) - negative) + (seen << 32)
                    states[lane] = x
    return _has_ended(states, position, words)


@inlined
def _around(
    pictures: Int64, at: np.uint32, stride: np.uint32, w0: np.int64, w1: np.int64, w2: np.int64, w3: np.int64
) -> tuple[np.uint32, np.int64]:
    """Return weighted magnitudes and the weighted sum of the neighbours of a weight, the first of them at `at`."""
    before, above, behind = pictures[at], pictures[at + _ONE], pictures[at + _TWO]
    left = pictures[at + stride]
    found = np.uint32((2 * (left + above) + before + behind + _HALF) >> 32)
    return found, np.int64(np.int32(w0 * left + w1 * above + w2 * before + w3 * behind))


def _allocate_lanes(lanes: int) -> tuple[Int64, Int64, UInt64]:
    """Return arrays with an entry for each state: trellis state, number of its scale, index in the output."""
    return np.zeros(lanes, np.int64), np.zeros(lanes, np.int64), np.zeros(lanes, np.uint64)


@inlined
def _begin_kernels(
    bases: Int16, first: int, strand: int, k: int, positions: int, busy: int, own: Int64, spots: UInt64
) -> None:
    """Set, for the k-th kernel of each strand, the number of its scale and the index of its first level."""
    for lane in range(busy):
        n = (first + lane) * strand + k
        own[lane] = bases[n] + _CENTRE
        spots[lane] = n * positions


def _classes_of_sums(slots: int, following: Int64 | None) -> Int64:
    """Return, for sums of numbers and offset from −`_CENTRE` on, the class they stand for, within 0…K−1."""
    classes = slots // (_SLOTS << (0 if following is None else 1 if len(following) == 16 else 2))
    return np.clip(np.arange(-_CENTRE, _CENTRE), 0, classes - 1).astype(np.int64)
