"""`Payload`: one payload of an `.enx` file and the row of the table that describes it.

It holds a quantized tensor's levels, or exact values, coded; it stays coded, in memory or in the file it was
read from, until its values are asked for. Everything a damaged payload can do ends in a `FormatError`.
"""

from __future__ import annotations

import tempfile
import threading
import weakref
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from enxuto.codec import Coder, decode, decode_bytes, decode_levels, encode, encode_bytes, encode_levels
from enxuto.enx import native
from enxuto.enx.quantizer_fields import describe
from enxuto.enx.table import ExactRow, LevelsRow, Row, TensorEntry
from enxuto.errors import DataError, FormatError, UsageError
from enxuto.quantize.grid import Grid
from enxuto.quantize.scalar import DeadZone, Quantizer
from enxuto.quantize.tensor import QuantizedTensor

__all__ = ["CodedInFile", "Payload", "Spool", "most_elements", "quantizers_of"]

_EXPANSION = 4096
_SLACK = 65536


def most_elements(payload_bytes: int) -> int:
    """Return how many elements that many bytes may stand for, so that memory stays bounded."""
    return _EXPANSION * payload_bytes + _SLACK


@dataclass(frozen=True)
class CodedInFile:
    """Bytes of a payload that still lie in the file it was opened from."""

    path: Path
    offset: int
    length: int

    def read(self) -> bytes:
        """Return them; `DataError` where the file has gone since."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                return file.read(self.length)
        except OSError as error:
            raise DataError(f"cannot read {self.path} any more: {error.strerror}", code="E011") from error


class Spool:
    """Puts payloads aside in a nameless temporary file once those in memory exceed `most` bytes.

    The file goes with the last payload that lies in it. Where there is no room for it, payloads stay in memory.
    """

    def __init__(self, most: int = 64 << 20) -> None:
        self._left = most
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None

    def put_aside(self, payload: Payload) -> Payload:
        """Return the payload, with its payload in memory or in the file."""
        self._left -= payload.row.bytes
        if self._left >= 0:
            return payload
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="enxuto.")  # noqa: SIM115 - lives as long as this does
                weakref.finalize(self, self._file.close)
            with self._lock:
                offset = self._file.seek(0, 2)
                self._file.write(payload.data)
                self._file.flush()
        except OSError:
            return payload
        return Payload(payload.row, CodedInSpool(self, offset, payload.row.bytes))

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of the file."""
        assert self._file is not None, "only slices of the file ask"
        with self._lock:
            self._file.seek(offset)
            return self._file.read(length)


@dataclass(frozen=True)
class CodedInSpool:
    """Bytes that were put aside."""

    spool: Spool
    offset: int
    length: int

    def read(self) -> bytes:
        """Return them."""
        return self.spool.read(self.offset, self.length)


@dataclass(frozen=True)
class Payload:
    """One row of the table and its payload, in memory or in the file it was read from."""

    row: Row
    _data: bytes | CodedInFile | CodedInSpool = field(repr=False)

    @classmethod
    def levels_of(
        cls,
        entries: Sequence[TensorEntry],
        quantizer: Quantizer,
        levels: np.ndarray,
        *,
        coder: Coder | None = None,
        threads: int = 1,
    ) -> Payload:
        """Code the levels (all tensors', one after the other) of tensors that share a quantizer.

        coder: one of `codec.CODERS`; by default whichever makes the payload shortest.
        """
        steps = _encode_steps(quantizer)
        shapes = [entry.shape for entry in entries]
        trellis = quantizer.trellis if isinstance(quantizer, Grid) else 0
        chosen, coded = encode(levels, shapes, coder=coder, trellis=trellis, threads=threads)
        data, padding = _pad(steps + coded, levels.size)
        row = LevelsRow(
            coder=chosen,
            tensors=tuple(entries),
            quantizer=describe(quantizer),
            steps_bytes=len(steps),
            bytes=len(data),
            padding=padding,
            crc32=f"{zlib.crc32(data):08x}",
        )
        return cls(row, data)

    @classmethod
    def exact_of(cls, entries: Sequence[TensorEntry], values: bytes) -> Payload:
        """Code values as they are: `values` holds the bytes of all tensors, one after the other."""
        item = entries[0].item_bytes
        data, padding = _pad(encode_bytes(values, item), len(values) // item)
        row = ExactRow(
            tensors=tuple(entries), bytes=len(data), padding=padding, crc32=f"{zlib.crc32(data):08x}"
        )
        return cls(row, data)

    @property
    def data(self) -> bytes:
        """Its bytes; `FormatError` where it does not match its checksum."""
        data = self._read()
        if len(data) != self.row.bytes or zlib.crc32(data) != int(self.row.crc32, 16):
            raise FormatError(
                f"the payload of {self.row.label} does not match its checksum: the file is damaged",
                code="E052",
            )
        if self.row.padding and np.frombuffer(data, np.uint8)[self.row.coded_bytes :].any():
            raise FormatError(
                f"the padding of {self.row.label} is not zero: the file is damaged", code="E052"
            )
        return data

    def _read(self) -> bytes:
        return self._data if isinstance(self._data, bytes) else self._data.read()

    def levels(self, *, threads: int = 1) -> dict[str, QuantizedTensor]:
        """Decode the integer levels of the quantized tensors in this payload."""
        row = self._levels_row()
        whole = self.data
        data = memoryview(whole)[: row.coded_bytes]
        levels = native.decode_levels(row, whole) if threads <= 1 else None
        try:
            quantizer = _read_quantizer(row, data)
            if levels is None:
                shapes = [entry.shape for entry in row.tensors]
                levels = decode(row.coder, data[row.steps_bytes :], shapes, threads=threads)
        except (FormatError, UsageError) as error:
            raise FormatError(f"the payload of {row.label} is damaged: {error}", code="E052") from error
        decoded = {}
        position = 0
        for index, entry in enumerate(row.tensors):
            own = levels[position : position + entry.elements].reshape(entry.shape)
            decoded[entry.name] = QuantizedTensor(own, _quantizer_of_tensor(row, quantizer, index))
            position += entry.elements
        return decoded

    def quantizer(self) -> Quantizer:
        """Decode the quantizer alone."""
        row = self._levels_row()
        try:
            return _read_quantizer(row, memoryview(self.data))
        except (FormatError, UsageError) as error:
            raise FormatError(f"the payload of {row.label} is damaged: {error}", code="E052") from error

    def _levels_row(self) -> LevelsRow:
        if not isinstance(self.row, LevelsRow):
            raise UsageError(f"{self.row.label} is stored exactly; it has no levels")
        return self.row

    def arrays(self, *, threads: int = 1) -> dict[str, np.ndarray]:
        """Decode the values of all tensors in this payload, in their own types.

        The C decoder does so where it is there (`native`); with `threads` Python's compiled loops share the work.
        """
        if threads <= 1 and (values := native.decode_values(self.row, self._read())) is not None:
            return values
        if isinstance(self.row, ExactRow):
            return self._exact_arrays(self.row)
        types = {entry.name: entry.dtype for entry in self.row.tensors}
        decoded = self.levels(threads=threads)
        try:
            with np.errstate(over="ignore"):
                return {
                    name: tensor.reconstruct().astype(types[name], copy=False)
                    for name, tensor in decoded.items()
                }
        except UsageError as error:
            raise FormatError(f"the payload of {self.row.label} is damaged: {error}", code="E052") from error

    def exact_bytes(self) -> bytes:
        """Decode exact values as ONNX files hold them, one tensor after the other."""
        row = self.row
        if not isinstance(row, ExactRow):
            raise UsageError(f"{row.label} is quantized; it has levels")
        try:
            return decode_bytes(memoryview(self.data)[: row.coded_bytes], row.items, row.item_bytes)
        except FormatError as error:
            raise FormatError(f"the payload of {row.label} is damaged: {error}", code="E052") from error

    def _exact_arrays(self, row: ExactRow) -> dict[str, np.ndarray]:
        data = self.exact_bytes()
        arrays = {}
        position = 0
        for entry in row.tensors:
            arrays[entry.name] = entry.from_bytes(data[position : position + entry.stored_bytes])
            position += entry.stored_bytes
        return arrays


def quantizers_of(row: LevelsRow, steps: bytes | memoryview) -> list[Quantizer]:
    """Return the quantizer of each tensor of a row whose payload begins with `steps`; `FormatError` for damage."""
    try:
        quantizer = _read_quantizer(row, memoryview(steps))
    except UsageError as error:
        raise FormatError(f"the payload of {row.label} is damaged: {error}", code="E052") from error
    return [_quantizer_of_tensor(row, quantizer, index) for index in range(len(row.tensors))]


def _encode_steps(quantizer: Quantizer) -> bytes:
    """Return what a payload says of the quantizer: steps per channel, a grid's exponents, or nothing."""
    if isinstance(quantizer, DeadZone) and isinstance(quantizer.step, tuple):
        return encode_bytes(np.asarray(quantizer.step, "<f4").tobytes(), 4)
    if isinstance(quantizer, Grid):
        return encode_levels(np.array((*quantizer.rows, *quantizer.columns), np.int32))
    return b""


def _read_quantizer(row: LevelsRow, data: memoryview) -> Quantizer:
    steps: np.ndarray = np.zeros(0, np.float32)
    stored = data[: row.steps_bytes]
    if row.steps_are_exponents:
        steps = decode_levels(stored, row.step_count)
    elif row.steps_bytes:
        steps = np.frombuffer(decode_bytes(stored, row.step_count, 4), "<f4")
    several = row.steps_are_for_tensors and row.steps_bytes
    return row.quantizer.build(steps, (row.step_count,) if several else row.tensors[0].shape)


def _quantizer_of_tensor(row: LevelsRow, quantizer: Quantizer, index: int) -> Quantizer:
    """Return the quantizer of one of a row's tensors: with a step of its own where each has one."""
    if not (row.steps_are_for_tensors and row.steps_bytes and isinstance(quantizer, Grid)):
        return quantizer
    try:
        return quantizer.of_row(index)
    except UsageError as error:
        raise FormatError(f"the payload of {row.label} is damaged: {error}", code="E052") from error


def _pad(payload: bytes, elements: int) -> tuple[bytes, int]:
    """Return the payload, lengthened where it is too short to stand for so many elements, and by how much."""
    padding = max(0, -(-(elements - _SLACK) // _EXPANSION) - len(payload))
    return payload + bytes(padding), padding
