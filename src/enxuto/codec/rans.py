"""rANS: a range asymmetric numeral system, the entropy coder proper.

A coder turns symbols and their integer frequencies (they sum to 2**k) into 16-bit words, and back, exactly. It
knows nothing of levels, tables' bytes or files. The state x lives in [2**24, 2**40); one word is moved at a time.
Several states take turns (symbol i belongs to state i mod S), so that a processor works on S chains at once; the
words of all of them form one stream, read in the order of the symbols. The encoder therefore runs backwards.

Source: Duda, "Asymmetric numeral systems" (arXiv:1311.2540); interleaving: Giesen (arXiv:1402.3392).
All arithmetic is on integers below 2**41 held in int64: the same on every machine.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from enxuto.machine.kernels import compiled

__all__ = ["LOWER", "STATE_BYTES", "decode", "encode", "slot_table"]

LOWER = 1 << 24  # the state never falls below this between symbols; encoding starts and decoding ends here
STATE_BYTES = 5  # a state is below 2**40
_FREQUENCY_MASK = 0xFFFF
_LOWER = np.int64(LOWER)

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint16]


def slot_table(frequencies: Int64, values: Int32) -> Int64:
    """Return the decoder's table: for each of the 2**k slots one packed integer.

    Bits 0–15 hold the frequency, 16–31 the slot's place within its symbol, 32–63 the symbol's value (signed).
    `frequencies` (A,) sum to 2**k, k ≤ 15; `values` (A,) are what decoding yields.
    """
    repeats = frequencies.astype(np.int64)
    starts = np.cumsum(repeats) - repeats
    place = np.arange(int(repeats.sum()), dtype=np.int64) - np.repeat(starts, repeats)
    packed = (np.repeat(values.astype(np.int64), repeats) << 32) | (place << 16) | np.repeat(repeats, repeats)
    return np.ascontiguousarray(packed, dtype=np.int64)


@compiled
def encode(
    tokens: npt.NDArray[np.uint16], frequencies: Int64, starts: Int64, bits: int, states: Int64, words: Words
) -> int:
    """Encode `tokens` (n,) backwards; fill `states` (S,) and the end of `words`; return where the words begin.

    `words` must hold at least n entries. Every token's frequency must be at least 1.
    """
    count = states.shape[0]
    for j in range(count):
        states[j] = _LOWER
    position: int = words.shape[0]
    lane = (tokens.shape[0] - 1) % count
    for i in range(tokens.shape[0] - 1, -1, -1):
        token = tokens[i]
        frequency = frequencies[token]
        x = states[lane]
        if x >= frequency << (40 - bits):
            position -= 1
            words[position] = np.uint16(x & 0xFFFF)
            x >>= 16
        quotient = x // frequency
        states[lane] = (quotient << bits) + (x - quotient * frequency) + starts[token]
        lane = lane - 1 if lane > 0 else count - 1
    return position


@compiled
def decode(table: Int64, bits: int, states: Int64, words: Words, out: Int32) -> bool:
    """Decode `out.size` values from `words`; return whether words and states ended exactly as they must.

    `states` (S,) is overwritten. Never reads outside `words`, whatever they hold.
    """
    count = states.shape[0]
    size = out.shape[0]
    position = 0
    done = 0
    if count == 4:
        done, position = _decode_four(table, bits, states, words, out)
    lane = done % count
    mask = (np.int64(1) << bits) - 1
    for i in range(done, size):
        x = states[lane]
        entry = table[x & mask]
        out[i] = np.int32(entry >> 32)
        x = (entry & _FREQUENCY_MASK) * (x >> bits) + ((entry >> 16) & _FREQUENCY_MASK)
        if x < _LOWER:
            if position >= words.shape[0]:
                return False
            x = (x << 16) | np.int64(words[position])
            position += 1
        states[lane] = x
        lane = lane + 1 if lane + 1 < count else 0
    for j in range(count):
        if states[j] != _LOWER:
            return False
    ended: bool = position == words.shape[0]
    return ended


@compiled
def _decode_four(table: Int64, bits: int, states: Int64, words: Words, out: Int32) -> tuple[int, int]:
    """Decode with four states in registers while four more words are certain to be there."""
    a, b, c, d = states[0], states[1], states[2], states[3]
    mask = (np.int64(1) << bits) - 1
    position = 0
    i = 0
    last = words.shape[0] - 4
    stop = out.shape[0] - 3
    while i < stop and position <= last:
        ea, eb, ec, ed = table[a & mask], table[b & mask], table[c & mask], table[d & mask]
        out[i] = np.int32(ea >> 32)
        out[i + 1] = np.int32(eb >> 32)
        out[i + 2] = np.int32(ec >> 32)
        out[i + 3] = np.int32(ed >> 32)
        a = (ea & _FREQUENCY_MASK) * (a >> bits) + ((ea >> 16) & _FREQUENCY_MASK)
        b = (eb & _FREQUENCY_MASK) * (b >> bits) + ((eb >> 16) & _FREQUENCY_MASK)
        c = (ec & _FREQUENCY_MASK) * (c >> bits) + ((ec >> 16) & _FREQUENCY_MASK)
        d = (ed & _FREQUENCY_MASK) * (d >> bits) + ((ed >> 16) & _FREQUENCY_MASK)
        # Selections instead of branches: whether a word is due is close to a coin flip, which no processor predicts.
        due = a < _LOWER
        a = (a << 16) | np.int64(words[position]) if due else a
        position += 1 if due else 0
        due = b < _LOWER
        b = (b << 16) | np.int64(words[position]) if due else b
        position += 1 if due else 0
        due = c < _LOWER
        c = (c << 16) | np.int64(words[position]) if due else c
        position += 1 if due else 0
        due = d < _LOWER
        d = (d << 16) | np.int64(words[position]) if due else d
        position += 1 if due else 0
        i += 4
    states[0], states[1], states[2], states[3] = a, b, c, d
    return i, position
