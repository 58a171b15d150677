"""Encode kernels of weights by rANS, last weight first, for the decoder of `kernel_rans`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from enxuto.codec.kernel_rans import AROUND_ROW, HALF_ROW, LOWER, PIECE, SIGN_BITS, SIGN_TOTAL, SUM_ROW
from enxuto.codec.stop_odds import BITS
from enxuto.machine.kernels import clamp, compiled, inlined

__all__ = ["encode"]

Int16 = npt.NDArray[np.int16]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt32 = npt.NDArray[np.uint32]
Bytes = npt.NDArray[np.uint8]
Shares = npt.NDArray[np.uint16]
Words = npt.NDArray[np.uint32]


def encode(
    levels: Int32,
    bases: Int16,
    offsets: Int16,
    near: UInt32,
    around: Bytes,
    sums: Int16,
    class_of: Bytes,
    sure_of: Bytes,
    table: Int64,
    direct: int,
    signs: Shares,
    strand: int,
    before: Bytes,
    states: Int64,
    words: Words,
) -> int:
    """Encode `levels` (N, P) backwards; fill `states` (S,) and the end of `words`; return where the words begin.

    bases (N,), offsets (P,): their sum, kept within the classes, is a weight's class. near (P,): weights of the
    neighbours. around, sums (N · P,): from `look_around`, or both of size 0. signs (5 · 64,): of 256, how often the
    sign is the neighbours', by how sure they are and the magnitude's token. strand: kernels in each. before (N · P,):
    the trellis's state before each level, as far as coders tell it apart; of size 0 without one.
    """
    states[:] = 0 if len(states) == 1 else LOWER
    starts = np.cumsum(table, axis=1) - table
    begin: int = _encode(
        levels, bases, offsets, near, around, sums, class_of, sure_of, table, starts, direct, signs, strand,
        before, states, words,
    )  # fmt: skip
    return begin


@compiled
def _encode(
    levels: Int32,
    bases: Int16,
    offsets: Int16,
    near: UInt32,
    around: Bytes,
    sums: Int16,
    class_of: Bytes,
    sure_of: Bytes,
    table: Int64,
    starts: Int64,
    direct: int,
    signs: Shares,
    strand: int,
    before: Bytes,
    states: Int64,
    words: Words,
) -> int:
    """Do what `encode` says, from `states` as they begin; starts: where each token's slots begin, as `table`."""
    kernels, positions = levels.shape
    strands = kernels // strand
    lanes = states.shape[0]
    classes = np.int64(class_of.shape[0] // AROUND_ROW)
    top = classes - 1
    position: int = words.shape[0]
    for group in range((strands - 1) // lanes, -1, -1):
        for place in range(strand * positions - 1, -1, -1):
            k, p = place // positions, place % positions
            for lane in range(clamp(strands - group * lanes, 1, lanes) - 1, -1, -1):
                n = (group * lanes + lane) * strand + k
                at = n * positions + p
                base = clamp(np.int64(bases[n]) + offsets[p], np.int64(0), top)
                total = np.int64(sums[at]) if sums.shape[0] else np.int64(0)
                found = np.int64(around[at]) if around.shape[0] else np.int64(0)
                c = np.int64(class_of[base * AROUND_ROW + near[p] + found])
                if before.shape[0]:
                    c += classes * np.int64(before[at])
                sure = np.int64(sure_of[base * SUM_ROW + HALF_ROW + total])
                level = np.int64(levels[n, p])
                size = abs(level)
                x = states[lane]
                token = size
                if size > direct:
                    e, x, position = _put_raw(size - direct, x, position, words)
                    token = direct + 1 + e
                frequency = table[c, token]
                share = np.int64(signs[(sure << 6) + token])
                like = (level < 0) == (total < 0)
                share = share if like or level == 0 else SIGN_TOTAL - share
                if (x >> 43) >= frequency * share:
                    position -= 1
                    words[position] = np.uint32(x & 0xFFFFFFFF)
                    x >>= 32
                begin = np.int64(0) if like or level == 0 else SIGN_TOTAL - share
                quotient = x // share
                x = (quotient << SIGN_BITS) + (x - quotient * share) + begin
                quotient = x // frequency
                states[lane] = (quotient << BITS) + (x - quotient * frequency) + starts[c, token]
    return position


@inlined
def _put_raw(rest: np.int64, x: np.int64, position: int, words: Words) -> tuple[np.int64, np.int64, int]:
    """Encode the bits of `rest` below its leading one; return how many they are, the state, the words' begin."""
    e = np.int64(0)
    while rest >> (e + 1):
        e += 1
    done = e
    while done > 0:
        width = (done - 1) % PIECE + 1
        done -= width
        if x >> (63 - width):
            position -= 1
            words[position] = np.uint32(x & 0xFFFFFFFF)
            x >>= 32
        x = (x << width) | ((rest >> done) & ((np.int64(1) << width) - 1))
    return e, x, position
