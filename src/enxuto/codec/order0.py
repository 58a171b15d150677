"""Order-0 coding of integer levels: one frequency table for a whole tensor, chunks that decode in parallel.

Cost: the empirical entropy of the levels, plus some 0.05 % for integer frequencies, three to eight bits per symbol
in use, and a few bytes per chunk of 2**18 levels. Layout: `docs/format.md`, "Coder order0".
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from enxuto.codec import rans
from enxuto.codec.bits import BitReader, BitWriter, pack_fields, read_varint, varint
from enxuto.codec.tables import MAX_SYMBOLS, FrequencyTable, best_table, read_table, write_table
from enxuto.codec.tokens import MARK, Tokenizer, histogram, join, split
from enxuto.errors import FormatError

__all__ = ["CHUNK", "decode_levels", "encode_levels", "entropy", "frame_length"]

CHUNK = 1 << 18
_MANY = 1 << 15  # chunks of this many levels have four interleaved states, smaller ones a single state
_MAX_SHIFT = 24
_FEW = 1 << 12  # so many distinct levels are worth a look at every shift
_DIRECT = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2047)

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


def entropy(levels: Int32) -> float:
    """Return the order-0 entropy of `levels` in bits per level: H = −Σ p log2 p (Shannon 1948); 0 for none."""
    if levels.size == 0:
        return 0.0
    _, counts = histogram(levels)
    # Of one level both terms are the same, but for rounding that would show as a negative size.
    return max(0.0, float(np.log2(levels.size) - np.sum(counts * np.log2(counts)) / levels.size))


def encode_levels(levels: Int32, *, threads: int = 1, frame: bytes | None = None) -> bytes:
    """Return `levels` (any shape, in C order) as bytes. The same levels give the same bytes, whatever `threads`.

    frame: the first `frame_length` bytes of other levels' code, whose tokens and table are used; `FormatError` where it
    is damaged or does not code these levels.
    """
    flat = np.ascontiguousarray(levels, dtype=np.int32).reshape(-1)
    if flat.size == 0:
        return b""
    counted = histogram(flat)
    tokenizer, table = _choose(*counted) if frame is None else _read_choice(frame, counted[0])
    head = BitWriter()
    head.write(tokenizer.shift, 5)
    head.write(tokenizer.direct, 11)
    pieces = [flat[i : i + CHUNK] for i in range(0, flat.size, CHUNK)]
    starts = np.cumsum(table.frequencies) - table.frequencies

    def encode(piece: Int32) -> tuple[int, bytes]:
        return _encode_chunk(piece, tokenizer, table, starts)

    if threads > 1 and len(pieces) > 1:
        with ThreadPoolExecutor(threads) as pool:
            chunks = list(pool.map(encode, pieces))
    else:
        chunks = [encode(piece) for piece in pieces]
    lengths = _lengths(
        [
            (words, len(body) - _words_end(piece.size, words))
            for piece, (words, body) in zip(pieces, chunks, strict=True)
        ]
    )
    return head.to_bytes() + write_table(table) + lengths + b"".join(body for _, body in chunks)


def decode_levels(data: bytes | memoryview, count: int, *, threads: int = 1) -> Int32:
    """Return the `count` levels (count,) that `encode_levels` turned into `data`.

    Raises `FormatError` for bytes that no encoder wrote; reads nothing outside `data`. Memory: 4 bytes per level.
    """
    view = memoryview(data)
    if count == 0:
        if len(view):
            raise FormatError("a payload for no levels is not empty")
        return np.zeros(0, np.int32)
    tokenizer, table, used = _read_frame(view)
    values, orders = tokenizer.values(len(table.frequencies))
    if tokenizer.shift + int(orders[-1]) > 32:
        raise FormatError("a payload's levels are wider than 32 bits")
    decoder = _ChunkDecoder(tokenizer, table, values, orders)
    out = np.empty(count, np.int32)
    jobs = _locate(view, used, out)
    if threads > 1 and len(jobs) > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda job: decoder.decode(*job), jobs))
    else:
        for job in jobs:
            decoder.decode(*job)
    return out


def frame_length(data: bytes | memoryview) -> int:
    """Return how many bytes of `encode_levels`' code, of some levels, say how they are coded."""
    return _read_frame(memoryview(data))[2]


def _read_frame(view: memoryview) -> tuple[Tokenizer, FrequencyTable, int]:
    """Read tokenizer and table; return them and their length in bytes."""
    head = BitReader(view[:2])
    tokenizer = Tokenizer(head.read(5), head.read(11))
    table, used = read_table(view[2:])
    return tokenizer, table, 2 + used


def _read_choice(frame: bytes, values: Int64) -> tuple[Tokenizer, FrequencyTable]:
    """Return the tokenizer and table of a frame that codes levels of these values."""
    tokenizer, table, used = _read_frame(memoryview(frame))
    tokens, raw = tokenizer.tokens(values)
    fits = used == len(frame) and int(tokens.max()) < len(table.frequencies) and int(raw.max()) <= 32
    if not fits or not table.frequencies[tokens].all():
        raise FormatError("a frame has no code for some of its levels")
    return tokenizer, table


def _choose(values: Int64, counts: Int64) -> tuple[Tokenizer, FrequencyTable]:
    """Return the tokenizer and table with the least total cost in bits for a histogram of levels."""
    ranked = sorted(_estimates(values, counts))[:3]
    best: tuple[float, Tokenizer, FrequencyTable] | None = None
    for _, shift, direct in ranked:
        tokenizer = Tokenizer(shift, direct)
        tokens, raw = tokenizer.tokens(values)
        summed = np.bincount(tokens, weights=counts).astype(np.int64)
        table = best_table(summed)
        total = table.cost(summed) + float(np.sum(raw * counts)) + 8 * len(write_table(table))
        if best is None or total < best[0]:
            best = (total, tokenizer, table)
    assert best is not None, "some shift always leaves few enough tokens"
    return best[1], best[2]


def _estimates(values: Int64, counts: Int64) -> Iterator[tuple[float, int, int]]:
    """Yield (estimated bits, shift, direct) for tokenizers worth a closer look."""
    width = int(np.abs(values).max()).bit_length()
    # Few levels need no shift; many cannot do without one, or the table would outweigh the tensor. What is many does
    # not follow from the width: a few outliers make a tensor wide that is best coded without any raw bits.
    needed = max(0, width - 11)
    q, q_counts = values, counts
    for shift in range(1 if len(values) <= 64 else min(_MAX_SHIFT, width) + 1):
        if shift:
            halved = q >> 1  # still ascending
            starts = np.flatnonzero(np.diff(halved, prepend=halved[0] - 1))
            q, q_counts = halved[starts], np.add.reduceat(q_counts, starts)
        if shift < needed and len(q) > _FEW:
            continue
        reach = int(np.abs(q).max())
        for direct in [d for d in _DIRECT if d < reach] + [min(reach, _DIRECT[-1])]:
            tokens, raw = Tokenizer(0, direct).tokens(q)
            summed = np.bincount(tokens, weights=q_counts)
            if len(summed) > MAX_SYMBOLS:
                continue
            used = summed[summed > 0]
            absent = len(summed) - len(used)
            ideal = used.sum() * np.log2(used.sum()) - np.sum(used * np.log2(used))
            table = 4.5 * len(used) + 1.2 * absent + 12 * min(len(used), absent)
            yield float(ideal + np.sum((raw + shift) * q_counts) + table), shift, direct


def _states(size: int) -> int:
    return 4 if size >= _MANY else 1


def _words_end(size: int, words: int) -> int:
    """Return where the raw bits of a chunk of `size` levels begin: behind its states and words."""
    return rans.STATE_BYTES * _states(size) + 2 * words


def _lengths(chunks: list[tuple[int, int]]) -> bytes:
    """Write each chunk's (words, bytes of raw bits); the last chunk's raw bits end with the payload, unsaid."""
    *others, (words, _) = chunks
    return b"".join(varint(words) + varint(raw) for words, raw in others) + varint(words)


def _encode_chunk(
    piece: Int32, tokenizer: Tokenizer, table: FrequencyTable, starts: Int64
) -> tuple[int, bytes]:
    """Return (number of words, states + words + raw bits) of one chunk."""
    size = piece.size
    tokens = np.empty(size, np.uint16)
    raw = np.empty(size, np.uint64)
    widths = np.empty(size, np.uint8)
    raw_bits = split(piece, tokenizer.shift, tokenizer.direct, tokens, raw, widths)
    packed = np.zeros((raw_bits + 7) // 8, np.uint8)
    if raw_bits:
        pack_fields(raw, widths, packed)
    words = np.empty(size, np.uint16)
    states = np.empty(_states(size), np.int64)
    begin = rans.encode(tokens, table.frequencies, starts, table.bits, states, words)
    state_bytes = b"".join(int(x).to_bytes(rans.STATE_BYTES, "little") for x in states)
    return size - begin, state_bytes + words[begin:].astype("<u2").tobytes() + packed.tobytes()


def _locate(view: memoryview, position: int, out: Int32) -> list[tuple[memoryview, int, Int32]]:
    """Read the chunks' lengths; return (bytes, number of words, where to decode to) for each chunk."""
    targets = [out[i : i + CHUNK] for i in range(0, out.size, CHUNK)]
    lengths = []
    for target in targets:
        words, position = read_varint(view, position)
        raw = -1
        if target is not targets[-1]:
            raw, position = read_varint(view, position)
        lengths.append((words, raw))
    jobs = []
    for target, (words, raw) in zip(targets, lengths, strict=True):
        words_end = position + _words_end(target.size, words)
        end = len(view) if raw < 0 else words_end + raw
        if not words_end <= end <= len(view):
            raise FormatError("a payload is shorter than its table of lengths says", code="E051")
        jobs.append((view[position:end], words, target))
        position = end
    return jobs


class _ChunkDecoder:
    """Decodes chunks of one tensor; holds its tables."""

    def __init__(self, tokenizer: Tokenizer, table: FrequencyTable, values: Int64, orders: Int64) -> None:
        self._shift = tokenizer.shift
        self._bits = table.bits
        self._values = values
        self._widths = (orders + tokenizer.shift).astype(np.uint8)
        marks = MARK + np.arange(len(values), dtype=np.int64)
        self._without_raw_bits = not self._widths[table.frequencies > 0].any()
        decoded = np.where(self._widths > 0, marks, values)
        self._table = rans.slot_table(table.frequencies, decoded.astype(np.int32))

    def decode(self, body: memoryview, words: int, out: Int32) -> None:
        """Fill `out` from one chunk: states, words, raw bits; `FormatError` where they do not end as they must."""
        lanes = _states(out.size)
        head = rans.STATE_BYTES * lanes
        states = np.array(
            [
                int.from_bytes(body[i : i + rans.STATE_BYTES], "little")
                for i in range(0, head, rans.STATE_BYTES)
            ],
            np.int64,
        )
        stream = np.frombuffer(body[head : head + 2 * words], "<u2").astype(np.uint16, copy=False)
        if states.min() < rans.LOWER or not rans.decode(self._table, self._bits, states, stream, out):
            raise FormatError("a payload's coded words do not decode", code="E052")
        packed = np.frombuffer(body[head + 2 * words :], np.uint8)
        if self._without_raw_bits:
            if packed.size:
                raise FormatError("a payload has raw bits where none belong")
        elif not join(out, self._shift, self._values, self._widths, packed):
            raise FormatError("a payload's raw bits do not decode", code="E052")
