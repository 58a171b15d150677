"""`CompressedModel` and its one file, `.enx`.

File: a 36-byte prefix, a compressed head (readable JSON table, then the ONNX graph without its weights), and one
payload per row of the table. `docs/format.md` defines every byte. Bytes are hostile until checked: lengths against
the file, the head against its checksum, counts and shapes against lengths, before memory is taken for them.

Not here: how tensors become payloads (`enx.payload`), which quantizer a tensor gets (`quantize.schemes`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from enxuto.codec import TRELLIS_CODERS
from enxuto.enx.container import LIMIT, PREFIX, errors_name, pack_head, read_head
from enxuto.enx.head import pack
from enxuto.enx.payload import CodedInFile, Payload, most_elements
from enxuto.enx.signature import MAGIC, PATCH_MAGIC
from enxuto.enx.table import Header, LevelsRow, Row, TensorEntry, check_metadata, dump_header, parse_header
from enxuto.errors import FormatError
from enxuto.files import atomic_write, check_ending, open_regular_file, to_path
from enxuto.machine.processors import processors
from enxuto.onnx_model import Model, fill, skeleton_slots, write_streaming
from enxuto.onnx_model.carried import write_carried
from enxuto.onnx_model.messages import looks_like_onnx

__all__ = ["FORMAT_VERSION", "CompressedModel", "check_rows"]

FORMAT_VERSION = 4
"""The newest; files that an older reader understands too say an older one."""
_PLAIN = 1  # files without coder `contexts` and quantizer `grid`
_CONTEXTS = 2  # files without a trellis
_EIGHT_STATES = 3  # files with no larger trellis
_LIMIT = LIMIT
_IN_MEMORY = 1 << 26  # files up to this are read whole, larger ones payload by payload


@dataclass(frozen=True, repr=False)
class CompressedModel:
    """A compressed model: the ONNX graph without its weights, the payloads that hold them, and facts about it.

    Payloads stay encoded (in memory, or in the file) until asked for, so that the whole is as small as the file.
    """

    skeleton: bytes = field(repr=False)
    payloads: tuple[Payload, ...]
    metadata: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | Path) -> CompressedModel:
        """Read the head of an `.enx` file; payloads are read and checked when asked for.

        Raises `DataError` where there is no such file and `FormatError` where it is not what the format says.
        """
        place = to_path(path, "the path of an .enx file")
        with errors_name(place, "an .enx file"), open_regular_file(place) as file:
            return _read(file, place)

    def save(self, path: str | Path) -> int:
        """Write the file, whole or not at all; return its length in bytes.

        Raises `UsageError` for a name of another kind of file, such as `model.onnx`.
        """
        target = to_path(path)
        check_ending(target, (".enx",), "write_onnx makes an ONNX file")
        with atomic_write(target) as file:
            length = 0
            for piece in self.pieces():
                file.write(piece)
                length += len(piece)
            return length

    def to_bytes(self) -> bytes:
        """Return the file's bytes."""
        return b"".join(self.pieces())

    @property
    def file_bytes(self) -> int:
        """Length of the file that `save` writes."""
        return len(self._head()) + sum(payload.row.bytes for payload in self.payloads)

    @property
    def head_bytes(self) -> int:
        """Length of what is in the file besides payloads: prefix, table and graph, compressed."""
        return len(self._head())

    def entries(self) -> Iterator[tuple[TensorEntry, Payload]]:
        """All tensors with the payload that holds them, in the file's order."""
        return ((entry, payload) for payload in self.payloads for entry in payload.row.tensors)

    def to_model(self, *, threads: int = 0) -> Model:
        """Decode everything; `threads` = 0 takes one per processor.

        Preprocessing, labels and kinds of outputs of the metadata are in the model's own, in place of others.
        """
        return fill(write_carried(self.skeleton, self.metadata, add=True), self._decoded(threads))

    def write_onnx(self, path: str | Path, *, threads: int = 0) -> None:
        """Decode to an ONNX file, tensor by tensor where the model is too large for one file (2 GB)."""
        if sum(entry.stored_bytes for entry, _ in self.entries()) < _LIMIT // 2:
            self.to_model(threads=threads).write(path)
            return
        holder = {entry.name: payload for entry, payload in self.entries()}
        lanes = threads or processors()
        graph = write_carried(self.skeleton, self.metadata, add=True)
        write_streaming(path, graph, lambda name: holder[name].arrays(threads=lanes)[name])

    def __repr__(self) -> str:
        tensors = sum(len(payload.row.tensors) for payload in self.payloads)
        quantized = sum(payload.row.items for payload in self.payloads if isinstance(payload.row, LevelsRow))
        return f"<CompressedModel: {self.file_bytes:,} B, {tensors} tensors, {quantized:,} values quantized>"

    def _decoded(self, threads: int) -> dict[str, np.ndarray]:
        lanes = threads or processors()
        arrays: dict[str, np.ndarray] = {}
        # Large tensors first, each by itself on one thread: the small ones fill the gaps at the end.
        order = sorted(self.payloads, key=lambda payload: -payload.row.bytes)
        if lanes > 1 and len(order) > 1:
            with ThreadPoolExecutor(lanes) as pool:
                for decoded in pool.map(Payload.arrays, order):
                    arrays.update(decoded)
        else:
            for payload in order:
                arrays.update(payload.arrays())
        return arrays

    def pieces(self) -> Iterator[bytes]:
        """Yield the file's bytes: the head, then each payload."""
        yield self._head()
        for payload in self.payloads:
            yield payload.data

    def _head(self) -> bytes:
        check_metadata(self.metadata)
        text = dump_header(
            Header(metadata=self.metadata, parts=tuple(payload.row for payload in self.payloads))
        )
        unpacked = text + self.skeleton
        packed: tuple[bytes, bytes] = self.__dict__.get("_packed", (b"", b""))
        if (
            packed[0] != text
        ):  # the metadata may have changed since; packing takes seconds where weights are inside
            packed = text, pack(unpacked)
            self.__dict__["_packed"] = packed
        version = max((_version(payload.row) for payload in self.payloads), default=_PLAIN)
        payload_bytes = sum(payload.row.bytes for payload in self.payloads)
        return pack_head(MAGIC, version, text, self.skeleton, payload_bytes, packed[1])


def _version(row: Row) -> int:
    """Return the format version whose readers can decode a payload."""
    if not isinstance(row, LevelsRow):
        return _PLAIN
    if states := max(TRELLIS_CODERS.get(row.coder, 0), row.trellis):
        return _EIGHT_STATES if states == 8 else FORMAT_VERSION
    if row.steps_are_for_tensors and row.steps_bytes:
        return FORMAT_VERSION
    return _CONTEXTS if row.coder == "contexts" or row.quantizer.kind == "grid" else _PLAIN


def _read(file: BinaryIO, path: Path) -> CompressedModel:
    """Read and check everything but the payloads."""
    prefix = file.read(PREFIX.size)
    if not prefix.startswith(MAGIC[: max(1, len(prefix))]):
        if looks_like_onnx(prefix):
            raise FormatError("not an .enx file but an ONNX model; compress makes .enx files of it")
        if prefix.startswith(PATCH_MAGIC):
            raise FormatError(
                "not an .enx file but a difference file; `enxuto apply OLD.enx` makes a new file of it"
            )
        raise FormatError("not an .enx file (it does not start with the format's signature)")
    head = read_head(file, prefix, FORMAT_VERSION)
    header = parse_header(head.table)
    skeleton, total, position = head.body, head.length, head.end
    check_rows(header.parts, total - position, skeleton)
    payloads = []
    for row in header.parts:
        payloads.append(
            Payload(
                row, file.read(row.bytes) if total <= _IN_MEMORY else CodedInFile(path, position, row.bytes)
            )
        )
        position += row.bytes
    return CompressedModel(skeleton, tuple(payloads), header.metadata)


def check_rows(rows: Sequence[Row], payload_bytes: int, skeleton: bytes) -> None:
    """Check the table against the file's length and against the graph."""
    if sum(row.bytes for row in rows) != payload_bytes:
        raise FormatError("the table's payloads do not fill the file")
    for row in rows:
        if row.items > most_elements(row.bytes):
            raise FormatError(f"{row.label} claims more elements than its payload can hold")
    entries = [entry for row in rows for entry in row.tensors]
    table = {entry.name: (entry.shape, entry.data_type) for entry in entries}
    if len(table) != len(entries):
        raise FormatError("the table names a tensor twice")
    if table != skeleton_slots(skeleton):
        raise FormatError("the table and the model graph do not agree on the tensors")
