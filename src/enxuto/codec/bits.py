"""Bit strings: small ones in Python (tables), long ones in Numba (the raw low bits of levels).

Bits fill bytes from the least significant end; a field's least significant bit comes first; what is left of the
last byte is zero.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from enxuto.errors import FormatError
from enxuto.machine.kernels import compiled

__all__ = ["FURTHEST", "BitReader", "BitWriter", "gamma_bits", "pack_fields", "read_varint", "varint"]

FURTHEST = 127  # from zero that `BitWriter.write_numbers` takes numbers of either sign
_ESCAPE = 12  # ones; numbers whose code would have more of them are eight plain bits behind so many


def gamma_bits(value: int) -> int:
    """Return how many bits `BitWriter.write_gamma` takes for a value ≥ 0."""
    return 2 * (value + 1).bit_length() - 1


class BitWriter:
    """Collect small fields and give them as bytes."""

    def __init__(self) -> None:
        self._value = 0
        self._length = 0

    def write(self, value: int, width: int) -> None:
        """Append the `width` low bits of `value`, which must fit."""
        if value < 0 or value >> width:
            raise ValueError(f"{value} does not fit {width} bits")
        self._value |= value << self._length
        self._length += width

    def write_unary(self, count: int) -> None:
        """Append `count` ones and a zero."""
        self.write((1 << count) - 1, count + 1)

    def write_gamma(self, value: int) -> None:
        """Append `value` ≥ 0 in Elias's gamma code: the bit length of value + 1 in unary, then its lower bits."""
        width = (value + 1).bit_length() - 1
        self.write_unary(width)
        self.write((value + 1) - (1 << width), width)

    def write_numbers(self, numbers: npt.ArrayLike) -> None:
        """Append small signed numbers (−127…127) in the Golomb–Rice code that suits them best; say first which.

        0, 1, −1, 2, −2, … count as u = 0, 1, 2, 3, 4, …: u >> low in unary, then the `low` bits, low being 0…3.
        Where u >> low reaches 12, those ones are followed by u in eight bits instead.
        """
        signed = np.asarray(numbers, np.int64)
        folded = np.where(signed > 0, 2 * signed - 1, -2 * signed)
        if folded.size and folded.max() > 2 * FURTHEST:
            raise ValueError("a number does not fit its code")
        lengths = [
            np.where(folded >> low < _ESCAPE, (folded >> low) + 1 + low, _ESCAPE + 8) for low in range(4)
        ]
        low = min(range(4), key=lambda low: int(lengths[low].sum()))
        self.write(low, 2)
        high, mask = folded >> low, (1 << low) - 1
        ones = (np.int64(1) << np.minimum(high, _ESCAPE)) - 1
        values = np.where(high < _ESCAPE, ones | (folded & mask) << high + 1, ones | folded << _ESCAPE)
        widths = lengths[low].astype(np.uint8)
        packed = np.zeros(int(widths.sum()) // 8 + 1, np.uint8)
        pack_fields(values.astype(np.uint64), widths, packed)
        self.write(int.from_bytes(packed.tobytes(), "little"), int(widths.sum()))

    def to_bytes(self) -> bytes:
        """Return what was written, the last byte filled up with zeros."""
        return self._value.to_bytes((self._length + 7) // 8, "little")


class BitReader:
    """Read small fields from bytes; `FormatError` when they run out."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = data
        self._position = 0

    def read(self, width: int) -> int:
        """Return the next `width` ≤ 32 bits as a number."""
        end = self._position + width
        if end > 8 * len(self._data):
            raise FormatError("a frequency table ends too early", code="E051")
        window = int.from_bytes(self._data[self._position >> 3 : (end + 7) >> 3], "little")
        field = (window >> (self._position & 7)) & ((1 << width) - 1)
        self._position = end
        return field

    def read_unary(self, limit: int) -> int:
        """Return how many ones stand before the next zero; more than `limit` is an error."""
        count = 0
        while self.read(1):
            count += 1
            if count > limit:
                raise FormatError("a frequency table holds an impossible number")
        return count

    def read_gamma(self) -> int:
        """Return a number of at most 32 bits in Elias's gamma code."""
        width = self.read_unary(32)
        return (1 << width) + self.read(width) - 1

    def read_numbers(self, count: int) -> npt.NDArray[np.int64]:
        """Return `count` numbers that `BitWriter.write_numbers` wrote."""
        low = self.read(2)
        numbers = np.empty(min(count, 8 * len(self._data) + 1), np.int64)
        self._position = _read_numbers(np.frombuffer(self._data, np.uint8), self._position, low, numbers)
        if self._position < 0 or len(numbers) < count:
            raise FormatError("a payload's head ends too early", code="E051")
        return numbers

    def finish(self) -> int:
        """Return how many bytes were used; what is left of the last one must be zeros."""
        if self.read(-self._position % 8):
            raise FormatError("a frequency table has stray bits at its end")
        return self._position // 8


@compiled
def _read_numbers(
    data: npt.NDArray[np.uint8], position: int, low: int, numbers: npt.NDArray[np.int64]
) -> int:
    """Fill `numbers` from the bits at `position`; return the position behind them, or −1 if they run out."""
    end = 8 * data.shape[0]
    for i in range(numbers.shape[0]):
        ones = 0
        while ones < _ESCAPE and position < end and (data[position >> 3] >> (position & 7)) & 1:
            ones += 1
            position += 1
        escaped = ones == _ESCAPE
        position += 0 if escaped else 1
        width = 8 if escaped else low
        if position + width > end:
            return -1
        value = 0 if escaped else ones << low
        for bit in range(width):
            value |= ((data[position >> 3] >> (position & 7)) & 1) << bit
            position += 1
        numbers[i] = (value + 1) // 2 if value & 1 else -(value // 2)
    return position


def varint(value: int) -> bytes:
    """Return `value` ≥ 0 in base 128, low group first, the high bit set on all bytes but the last (LEB128)."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """Return (number, position behind it); numbers of more than 63 bits and cut ones are a `FormatError`."""
    value = 0
    for shift in range(0, 63, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise FormatError("a payload's table of lengths is damaged", code="E052")


@compiled
def pack_fields(
    values: npt.NDArray[np.uint64], widths: npt.NDArray[np.uint8], out: npt.NDArray[np.uint8]
) -> int:
    """Write each value's `widths[i]` ≤ 32 low bits into `out` (zeroed, large enough); return the bytes used."""
    held = np.uint64(0)
    filled = np.uint64(0)
    position = 0
    eight = np.uint64(8)
    for i in range(values.shape[0]):
        held |= values[i] << filled
        filled += np.uint64(widths[i])
        while filled >= eight:
            out[position] = np.uint8(held & np.uint64(0xFF))
            held >>= eight
            filled -= eight
            position += 1
    if filled > np.uint64(0):
        out[position] = np.uint8(held & np.uint64(0xFF))
        position += 1
    return position
