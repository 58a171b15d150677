"""Coding of weights' levels by classes of scale and by their neighbours: smaller than order-0, a bit slower.

Every row, column and position of a kernel has a scale of its own, written in the payload's head, which makes the
class of each weight; kernels of more than one weight also look at neighbours already decoded. On a trellis the state
counts too, and a row is decoded from its beginning. Chunks of some 2**18 weights decode in parallel. `context_fit` fits
a model to levels. Layout: `docs/format.md`, "Coders contexts and trellis".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from enxuto.codec import kernel_rans as rans
from enxuto.codec.bits import read_varint, varint
from enxuto.codec.context_model import ContextModel, read_model, write_model
from enxuto.codec.kernel_encoder import encode
from enxuto.codec.layout import Layout, Pictures
from enxuto.codec.neighbours import look_around
from enxuto.errors import FormatError
from enxuto.quantize.trellis import MACHINES, states_before

__all__ = ["CHUNK", "LARGEST", "decode_contexts", "encode_contexts", "is_codable"]

CHUNK = 1 << 18  # weights, unless a single kernel (on a trellis: row) has more
LARGEST = (1 << 30) - 1  # magnitude that this coder takes
_MANY = 1 << 16  # chunks of this many weights have four states, smaller ones one
_STATE_BYTES = 8

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


def is_codable(levels: Int32) -> bool:
    """Say whether this coder takes the levels: some, and none beyond `LARGEST`."""
    return levels.size > 0 and int(levels.min()) >= -LARGEST and int(levels.max()) <= LARGEST


def encode_contexts(levels: Int32, layout: Layout, model: ContextModel, *, threads: int = 1) -> bytes:
    """Return `levels` (any shape, of that layout in C order, none of them beyond `LARGEST`) coded by `model`.

    A model with `firsts` takes them as levels on a trellis, whose layout has equal rows.
    """
    if levels.size == 0:
        return b""
    coder = _Coder(layout, model)
    kernels = np.ascontiguousarray(levels, np.int32).reshape(-1, layout.positions)
    chunks = _map_on_threads(lambda chunk: coder.encode(kernels[chunk], chunk.start), coder.chunks(), threads)
    return write_model(model) + b"".join(varint(len(body)) for body in chunks[:-1]) + b"".join(chunks)


def decode_contexts(data: bytes | memoryview, layout: Layout, *, trellis: int = 0, threads: int = 1) -> Int32:
    """Return the levels (n,) that `encode_contexts` turned into `data`; `FormatError` for any other bytes."""
    view = memoryview(data)
    out = np.empty((layout.kernels, layout.positions), np.int32)
    if out.size == 0:
        if len(view):
            raise FormatError("a payload for no levels is not empty")
        return out.reshape(-1)
    model, position = read_model(view, layout.sizes, trellis)
    coder = _Coder(layout, model)
    chunks = coder.chunks()
    lengths = []
    for _ in chunks[:-1]:
        length, position = read_varint(view, position)
        lengths.append(length)
    jobs = []
    for chunk, length in zip(chunks, [*lengths, len(view) - position - sum(lengths)], strict=True):
        if not 0 <= length <= len(view) - position:
            raise FormatError("a payload is shorter than its chunks", code="E051")
        jobs.append((view[position : position + length], chunk))
        position += length
    slots = rans.slot_table(
        np.concatenate(np.split(model.table, model.contexts), axis=1).reshape(-1, model.table.shape[1])
    )
    _map_on_threads(lambda job: coder.decode(job[0], out[job[1]], job[1].start, slots), jobs, threads)
    return out.reshape(-1)


def _map_on_threads(function: Callable[[_Job], _Result], jobs: Sequence[_Job], threads: int) -> list[_Result]:
    if threads > 1 and len(jobs) > 1:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(function, jobs))
    return [function(job) for job in jobs]


@dataclass(frozen=True)
class _Coder:
    """One payload's layout and model, and what follows from them."""

    layout: Layout
    model: ContextModel

    @property
    def strand(self) -> int:
        """Kernels that have to be decoded one after the other."""
        return self.layout.columns if self.model.trellis else 1

    def chunks(self) -> list[slice]:
        """Return which kernels each chunk has."""
        step = max(1, CHUNK // (self.strand * self.layout.positions)) * self.strand
        return [slice(i, min(i + step, self.layout.kernels)) for i in range(0, self.layout.kernels, step)]

    def encode(self, kernels: Int32, first: int) -> bytes:
        """Return the bytes of one chunk: states, then words."""
        model, pictures = self.model, Pictures.of(self.layout)
        around, sums = np.zeros(0, np.uint8), np.zeros(0, np.int16)
        if model.eighths is not None:
            around, sums = np.empty(kernels.size, np.uint8), np.empty(kernels.size, np.int16)
            look_around(kernels, pictures.cells, pictures.stride, pictures.size, model.weights, around, sums)
        before: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)
        if model.trellis:
            rows = kernels.reshape(-1, self.strand * kernels.shape[1])
            before = np.asarray(
                states_before(rows, model.trellis).reshape(-1) & (model.contexts - 1), np.uint8
            )
        escaped = int(np.count_nonzero(np.abs(kernels) > model.direct))
        states, words = (
            np.empty(_lane_count(kernels.size), np.int64),
            np.empty(kernels.size + 2 * escaped, np.uint32),
        )
        begin = encode(
            kernels, self._bases(kernels, first), model.offsets, pictures.around, around, sums,
            model.class_of, model.sure_of, model.table, model.direct, model.shares, self.strand, before, states, words,
        )  # fmt: skip
        body = words[begin:].astype("<u4").tobytes()
        if len(states) > 1:
            return states.astype("<i8").tobytes() + body
        state = int(states[0])
        least = (
            5 if body else 0
        )  # with words, a length of 5…8 can be told by what is left of the payload's by 4
        return state.to_bytes(max(least, (state.bit_length() + 7) // 8), "little") + body

    def decode(self, body: memoryview, out: Int32, first: int, slots: Int32) -> None:
        """Fill `out` (kernels, positions) from one chunk."""
        model, pictures = self.model, Pictures.of(self.layout)
        lanes = _lane_count(out.size)
        head = _STATE_BYTES * lanes if lanes > 1 else len(body) if len(body) < 5 else 5 + (len(body) - 5) % 4
        if len(body) < head or (len(body) - head) % 4:
            raise FormatError("a chunk's length is impossible")
        size = head // lanes
        read = [int.from_bytes(body[i : i + size], "little") for i in range(0, lanes * size, size or 1)] or [
            0
        ]
        words = np.frombuffer(body[head:], "<u4").astype(np.uint32)
        if max(read) >> 63 or (lanes > 1 and min(read) < rans.LOWER):
            raise FormatError("a chunk's state is out of range")
        states, bases = np.array(read, np.int64), self._bases(out, first)
        following = MACHINES[model.trellis].following.reshape(-1) if model.trellis else None
        if model.eighths is None:
            ended = rans.decode_alone(
                bases,
                model.offsets,
                slots,
                model.shares,
                model.direct,
                self.strand,
                following,
                states,
                words,
                out,
            )
        else:
            ended = rans.decode(
                bases, model.offsets, pictures.cells, pictures.around, pictures.stride, pictures.size,
                model.eighths, model.class_of, model.sure_of, slots, model.shares, model.direct, self.strand,
                following, states, words, out,
            )  # fmt: skip
        if not ended:
            raise FormatError("a payload's coded words do not decode", code="E052")

    def _bases(self, kernels: Int32, first: int) -> npt.NDArray[np.int16]:
        return self.layout.sums(*self.model.numbers[:2], first, first + len(kernels))


def _lane_count(weights: int) -> int:
    return 4 if weights >= _MANY else 1
