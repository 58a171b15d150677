"""`Patch` and its one file, `.enxd`: an `.enx` file as what changed in another one.

The file has the frame of `.enx` files (`enx.container`): a prefix, a compressed head and payloads. The head is a table
(`differences.table`) and the instructions that make the new file's table, graph and frames of the old one's. A payload
holds what moved among the values of one payload of the old file, or a whole new payload. `docs/format.md` defines
every byte. All is hostile until checked; what is made is bounded by the old file's size and the difference file's.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from enxuto.differences.copies import apply_copies, find_copies
from enxuto.differences.sides import Sides, frame_of
from enxuto.differences.table import Change, How, PatchTable, parse_table
from enxuto.differences.values import ValueCoder, can_follow, is_remade, remake
from enxuto.enx.container import LIMIT, PREFIX, errors_name, most_unpacked, pack_head, read_head
from enxuto.enx.file import CompressedModel, check_rows
from enxuto.enx.payload import Payload, Spool
from enxuto.enx.signature import MAGIC, PATCH_MAGIC
from enxuto.enx.table import Header, LevelsRow, dump_header
from enxuto.errors import FormatError
from enxuto.files import atomic_write, check_ending, open_regular_file, to_path

__all__ = ["PATCH_VERSION", "Patch", "hash_of_file"]

PATCH_VERSION = 1

_MOST_GROWTH = (
    4  # times the old file's table, graph and frames that the new ones take, besides what the file says
)


@dataclass(frozen=True, repr=False)
class Patch:
    """What changed between two `.enx` files. `Patch.read` opens a file, `apply` makes the new one.

    table: what it is for. instructions: how table, graph and frames come about. payloads: bytes, one after the other.
    """

    table: PatchTable
    instructions: bytes
    payloads: bytes

    @classmethod
    def between(cls, old: CompressedModel, new: CompressedModel, *, base: str | None = None) -> Patch:
        """Return the difference between two files.

        base: SHA-256 of the old file in hexadecimal digits, where it is not the one that `old.save` would write.
        """
        table_of = {payload.row.tensors: number for number, payload in enumerate(old.payloads)}
        coder, changed, pieces = ValueCoder(), [], []
        for number, payload in enumerate(new.payloads):
            of = table_of.get(payload.row.tensors)
            how, data, coder = _shortest(payload, None if of is None else old.payloads[of], coder)
            if how != "same" or of != number:
                changed.append(Change(row=number, how=how, of=of or 0, bytes=len(data)))
                pieces.append(data)
        remade = {change.row: change.of for change in changed if change.how in ("moves", "differences")}
        sides = Sides.of(new, remade.keys())
        payloads = b"".join(pieces)
        result, content = _hashes(new)
        table = PatchTable(
            base=base or _hashes(old)[0], result=result, content=content, table=len(sides.table),
            graph=len(sides.graph), frames=len(sides.frame_bytes), rows=len(new.payloads), changed=tuple(changed),
            crc32=f"{zlib.crc32(payloads):08x}",
        )  # fmt: skip
        return cls(table, find_copies(_side(old, remade), sides.to_bytes()), payloads)

    @classmethod
    def read(cls, path: str | Path) -> Patch:
        """Read a difference file; `DataError` where there is none, `FormatError` where it is not what it should be."""
        place = to_path(path, "the path of a difference file")
        with errors_name(place, "a difference file"), open_regular_file(place) as file:
            prefix = file.read(PREFIX.size)
            if not prefix.startswith(PATCH_MAGIC[: max(1, len(prefix))]):
                also = ", but an .enx file" if prefix.startswith(MAGIC) else ""
                raise FormatError(f"not a difference file (.enxd){also}; `enxuto diff` makes one")
            head = read_head(file, prefix, PATCH_VERSION)
            table = parse_table(head.table)
            found = cls(table, head.body, file.read(head.length - head.end))
            found._check()
        return found

    def save(self, path: str | Path) -> int:
        """Write the file, whole or not at all; return its length in bytes.

        Raises `UsageError` for a name of another kind of file.
        """
        data, target = self.to_bytes(), to_path(path)
        check_ending(target, (".enxd",), "apply makes the new file with it")
        with atomic_write(target) as file:
            file.write(data)
        return len(data)

    def to_bytes(self) -> bytes:
        """Return the file's bytes."""
        return self._head + self.payloads

    @property
    def file_bytes(self) -> int:
        """Length of the file that `save` writes."""
        return len(self._head) + len(self.payloads)

    @cached_property
    def _head(self) -> bytes:
        text = self.table.model_dump_json(exclude_defaults=True).encode()
        return pack_head(PATCH_MAGIC, PATCH_VERSION, text, self.instructions, len(self.payloads))

    def apply(self, old: CompressedModel, *, base: str | None = None) -> CompressedModel:
        """Return the new file.

        Args:
            old: the file that this is the difference to.
            base: its SHA-256, where it is not the one that `old.save` would write.

        Raises:
            FormatError: this is the difference to another file, or it is damaged.
        """
        if (base or _hashes(old)[0]) != self.table.base:
            raise FormatError(
                f"the difference is to another file, of SHA-256 {self.table.base[:16]}…; apply it to that one",
                code="E054",
            )
        made = self._rebuild(old)
        result, content = _hashes(made)
        # Where liblzma packs the head otherwise, the file differs in that alone.
        if result != self.table.result and content != self.table.content:
            raise FormatError(
                "the new file is not the one that was meant: the difference is damaged", code="E052"
            )
        return made

    def _check(self) -> None:
        """Check the payloads' bytes against the table."""
        if sum(change.bytes for change in self.table.changes().values()) != len(self.payloads):
            raise FormatError("the payloads do not fill the file")
        if zlib.crc32(self.payloads) != int(self.table.crc32, 16):
            raise FormatError("the payloads do not match their checksum: the file is damaged", code="E052")

    def _rebuild(self, old: CompressedModel) -> CompressedModel:
        table, changes = self.table, self.table.changes()
        remade = {row: change.of for row, change in changes.items() if change.how in ("moves", "differences")}
        if any(of >= len(old.payloads) for of in remade.values()):
            raise FormatError("the difference names a payload that the old file does not have", code="E052")
        side = _side(old, remade)
        most = _MOST_GROWTH * len(side) + most_unpacked(self.file_bytes)
        # A row of the table takes more than a byte.
        if table.sides > most or table.sides >= LIMIT or table.rows > table.table:
            raise FormatError("the new file's table and graph are impossibly large", code="E052")
        made = apply_copies(side, self.instructions, table.sides)
        sides = Sides.from_bytes(made, table.table, table.graph, remade.keys())
        header = sides.header(table.rows)
        payloads, position, coder, spool = [], 0, ValueCoder(), Spool()
        view = memoryview(self.payloads)
        for number, row in enumerate(header.parts):
            how: How = changes[number].how if number in changes else "same"
            length = changes[number].bytes if number in changes else 0
            data = view[position : position + length]
            position += length
            if how == "stored":
                payloads.append(Payload(row, bytes(data)))
                continue
            of = changes[number].of if number in changes else number
            if of >= len(old.payloads):
                raise FormatError(
                    "the difference names a payload that the old file does not have", code="E052"
                )
            earlier = old.payloads[of]
            if row.tensors != earlier.row.tensors:
                raise FormatError("the difference takes a payload for that of other tensors", code="E052")
            if how == "same":
                payloads.append(replace(earlier, row=row))
                continue
            if not can_follow(row, earlier.row):
                raise FormatError(f"the difference of {row.label} does not fit the old file", code="E052")
            values = coder.decode(data, row, sides.frames[number], earlier)
            payloads.append(spool.put_aside(remake(row, sides.frames[number], values)))
        rows = tuple(payload.row for payload in payloads)
        check_rows(rows, sum(row.bytes for row in rows), sides.graph)
        return CompressedModel(sides.graph, tuple(payloads), header.metadata)

    def __repr__(self) -> str:
        changed = sum(change.how != "same" for change in self.table.changed)
        return f"<Patch: {self.file_bytes:,} B, {changed} of {self.table.rows} payloads changed>"


def hash_of_file(path: str | Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    found = hashlib.sha256()
    with open_regular_file(path) as file:
        while piece := file.read(1 << 20):
            found.update(piece)
    return found.hexdigest()


def _shortest(payload: Payload, old: Payload | None, coder: ValueCoder) -> tuple[How, bytes, ValueCoder]:
    """Return how a payload is told shortest, in which bytes, and the coder that has learned from it."""
    if old is not None and payload.row == old.row and payload.data == old.data:
        return "same", b"", coder
    if old is not None and can_follow(payload.row, old.row):
        learning = coder.copy()
        moved = learning.encode(payload, old)
        if len(moved) < payload.row.bytes and is_remade(payload, frame_of(payload)):
            return "moves" if isinstance(payload.row, LevelsRow) else "differences", moved, learning
    return "stored", payload.data, coder


def _side(old: CompressedModel, remade: dict[int, int]) -> bytes:
    """Return the old file's table, graph and frames as they are copied from."""
    return Sides.of(old, set(remade.values())).to_bytes()


def _hashes(model: CompressedModel) -> tuple[str, str]:
    """Return SHA-256 of the file, and of its table, graph and payloads."""
    whole, content = hashlib.sha256(), hashlib.sha256()
    rows = tuple(payload.row for payload in model.payloads)
    content.update(dump_header(Header(metadata=model.metadata, parts=rows)) + model.skeleton)
    for number, piece in enumerate(model.pieces()):
        whole.update(piece)
        if number:
            content.update(piece)
    return whole.hexdigest(), content.hexdigest()
