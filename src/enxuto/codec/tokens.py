"""Levels of any int32 range ↔ tokens of a small alphabet and raw low bits.

A level v is split into q = v >> shift (arithmetic) and its `shift` low bits. Small |q| ≤ direct have a token of
their own, in the order 0, +1, −1, +2, −2, …; larger ones share a token per sign and power of two (Elias–gamma
classes of |q| − direct), the rest following as raw bits. Peaked tensors keep shift = 0 and a direct token for
every level, so that nothing is raw; wide ones pay a few near-uniform bits instead of a huge table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from enxuto.machine.kernels import compiled

__all__ = ["MARK", "Tokenizer", "histogram", "join", "split"]

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

MARK = -(1 << 31)  # the coder yields MARK + token where raw bits follow, and the level itself elsewhere
_MARK_END = MARK + (1 << 16)
_DENSE = 1 << 15  # levels within ±_DENSE are counted in an array, others by sorting


@dataclass(frozen=True)
class Tokenizer:
    """How levels become tokens: `shift` raw low bits, then direct tokens up to |q| = `direct`."""

    shift: int
    direct: int

    @property
    def first_class(self) -> int:
        """The first token that stands for a class of levels."""
        return 2 * self.direct + 1

    def tokens(self, levels: Int64) -> tuple[Int64, Int64]:
        """Return (token, number of raw bits) for each of `levels` (any shape, int64)."""
        q = levels >> self.shift
        size = np.abs(q)
        rest = np.maximum(size - self.direct, 1)
        order = np.frexp(rest.astype(np.float64))[1].astype(np.int64) - 1
        negative = (q < 0).astype(np.int64)
        direct = np.where(size == 0, 0, 2 * size - 1 + negative)
        grouped = self.first_class + 2 * order + negative
        is_direct = size <= self.direct
        return np.where(is_direct, direct, grouped), np.where(is_direct, 0, order) + self.shift

    def values(self, count: int) -> tuple[Int64, Int64]:
        """Return, for tokens 0…count−1, the level reached when all raw bits are 0 and the raw bits of q."""
        token = np.arange(count, dtype=np.int64)
        odd = token % 2 == 1
        direct = np.where(odd, (token + 1) // 2, -(token // 2))
        order = np.minimum((token - self.first_class) // 2, 40)
        negative = (token - self.first_class) % 2 == 1
        start = self.direct + (np.int64(1) << np.maximum(order, 0))
        is_direct = token < self.first_class
        q = np.where(is_direct, direct, np.where(negative, -start, start))
        return q, np.where(is_direct, 0, order)


def histogram(levels: Int32) -> tuple[Int64, Int64]:
    """Return the distinct levels, ascending, and how often each occurs. Memory: a few bytes per distinct level."""
    dense = np.zeros(2 * _DENSE + 1, np.int64)
    outside = _count_dense(levels.reshape(-1), dense)
    values = np.flatnonzero(dense) - _DENSE
    counts = dense[values + _DENSE]
    if outside:
        far = levels[np.abs(levels.astype(np.int64)) > _DENSE]
        far_values, far_counts = np.unique(far, return_counts=True)
        values = np.concatenate([values, far_values.astype(np.int64)])
        counts = np.concatenate([counts, far_counts.astype(np.int64)])
        order = np.argsort(values, kind="stable")
        values, counts = values[order], counts[order]
    return values, counts


@compiled
def _count_dense(levels: Int32, dense: Int64) -> int:
    """Count levels within ±_DENSE into `dense`; return how many are outside."""
    outside = 0
    half = dense.shape[0] // 2
    for i in range(levels.shape[0]):
        place = np.int64(levels[i]) + half
        if 0 <= place < dense.shape[0]:
            dense[place] += 1
        else:
            outside += 1
    return outside


@compiled
def split(
    levels: Int32,
    shift: int,
    direct: int,
    tokens: npt.NDArray[np.uint16],
    raw: npt.NDArray[np.uint64],
    widths: npt.NDArray[np.uint8],
) -> int:
    """Fill tokens, raw bits and their widths (all (n,)) for `levels` (n,); return the sum of the widths."""
    total = 0
    low_mask = (np.int64(1) << shift) - 1
    for i in range(levels.shape[0]):
        v = np.int64(levels[i])
        q = v >> shift
        low = v & low_mask
        negative = np.int64(1) if q < 0 else np.int64(0)
        size = -q if q < 0 else q
        if size <= direct:
            tokens[i] = np.uint16(0 if size == 0 else 2 * size - 1 + negative)
            raw[i] = np.uint64(low)
            widths[i] = np.uint8(shift)
            total += shift
        else:
            rest = size - direct
            order = np.int64(0)
            while rest >> (order + 1):
                order += 1
            tokens[i] = np.uint16(2 * direct + 1 + 2 * order + negative)
            raw[i] = np.uint64(low | ((rest - (np.int64(1) << order)) << shift))
            widths[i] = np.uint8(shift + order)
            total += int(shift + order)
    return total


@compiled
def join(
    levels: Int32,
    shift: int,
    starts: Int64,
    widths: npt.NDArray[np.uint8],
    packed: npt.NDArray[np.uint8],
) -> bool:
    """Replace, in place, every entry `MARK` + token of `levels` by its level, with raw bits from `packed`.

    `starts` and `widths` (both per token) are q and the number of raw bits. Returns False if a level leaves int32
    or `packed` does not end with the last raw bit.
    """
    low_mask = (np.int64(1) << shift) - 1
    held = np.uint64(0)
    filled = np.uint64(0)
    eight = np.uint64(8)
    one = np.uint64(1)
    position = 0
    for i in range(levels.shape[0]):
        if levels[i] >= _MARK_END:
            continue
        token = np.int64(levels[i]) - MARK
        width = np.uint64(widths[token])
        while filled < width:
            if position >= packed.shape[0]:
                return False
            held |= np.uint64(packed[position]) << filled
            filled += eight
            position += 1
        extra = np.int64(held & ((one << width) - one))
        held >>= width
        filled -= width
        q = starts[token]
        more = extra >> shift
        q = q - more if q < 0 else q + more
        level = (q << shift) | (extra & low_mask)
        if level < -2147483648 or level > 2147483647:
            return False
        levels[i] = np.int32(level)
    ended: bool = position == packed.shape[0] and held == np.uint64(0)
    return ended
