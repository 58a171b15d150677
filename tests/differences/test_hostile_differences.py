"""Difference files made to hurt: cut, changed, changed with all checksums in order. All end in a `FormatError`."""

from __future__ import annotations

import json
import random
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import enxuto
from enx_samples import small_model
from enxuto.codec.bits import varint
from enxuto.codec.moves import Moves
from enxuto.compression.data_free import compress
from enxuto.differences.patch import Patch
from enxuto.differences.table import parse_table
from enxuto.enx.file import CompressedModel
from enxuto.errors import EnxutoError, FormatError


@pytest.fixture(scope="module")
def old() -> CompressedModel:
    return compress(small_model())


@pytest.fixture(scope="module")
def patch(old: CompressedModel) -> Patch:
    """Levels and exact values that moved."""
    model = small_model()
    names = [info.name for info in model.infos() if info.dtype == np.float32]
    moved = {name: model.load(name) * np.float32(1.03) for name in names}
    found = enxuto.diff(old, model.replace_weights(moved))
    assert {change.how for change in found.table.changed} >= {"moves", "differences"}
    return found


def outcome(patch: Patch, old: CompressedModel, path: Path) -> bool:
    """Whether a difference is read and applied; False for a `FormatError`, and any other exception fails the test."""
    try:
        path.write_bytes(patch.to_bytes() if isinstance(patch, Patch) else patch)
        made = Patch.read(path).apply(old)
    except FormatError:
        return False
    return bool(made.to_bytes())


def test_every_truncation(patch: Patch, old: CompressedModel, tmp_path: Path) -> None:
    data, path = patch.to_bytes(), tmp_path / "p.enxd"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(FormatError):
            Patch.read(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(FormatError):
        Patch.read(path)


def test_every_changed_byte(patch: Patch, tmp_path: Path) -> None:
    data, path = patch.to_bytes(), tmp_path / "p.enxd"
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        with pytest.raises(FormatError):
            Patch.read(path)


def test_changes_with_all_checksums_in_order(patch: Patch, old: CompressedModel, tmp_path: Path) -> None:
    """What is behind the checksums is hostile too: instructions, frames, streams of moves."""
    generator = random.Random(0)
    for _ in range(150):
        part = generator.choice(("instructions", "payloads"))
        data = bytearray(getattr(patch, part))
        for _ in range(generator.choice((1, 1, 3))):
            data[generator.randrange(len(data))] = generator.randrange(256)
        changed = replace(patch, **{part: bytes(data)})
        checksum = f"{zlib.crc32(changed.payloads):08x}"
        changed = replace(changed, table=changed.table.model_copy(update={"crc32": checksum}))
        if bytes(data) != getattr(patch, part):
            assert not outcome(changed, old, tmp_path / "p.enxd")


def read_with(patch: Patch, fields: dict[str, Any], path: Path) -> Patch:
    replace(patch, table=parse_table(json.dumps(fields).encode())).save(path)
    return Patch.read(path)


@pytest.mark.parametrize(
    "lie",
    [
        {"table": (1 << 31) - 1},
        {"graph": (1 << 31) - 1},
        {"frames": 0},
        {"rows": (1 << 31) - 1},
        {"rows": 0},
        {"rows": 1 << 31},
        {"changed": []},
        {"changed": [{"row": 0, "how": "moves", "bytes": 1 << 39}]},
        {"changed": [{"row": 0, "how": "same", "of": 9}]},
        {"changed": [{"row": 1, "how": "same"}, {"row": 0, "how": "same"}]},
        {"changed": [{"row": 0, "how": "magic"}]},
        {"crc32": "00000000"},
        {"result": "0" * 64, "content": "0" * 64},
        {"base": "not a hash"},
        {"more": 1},
    ],
)
def test_tables_that_lie_take_no_memory(
    lie: dict[str, Any], patch: Patch, old: CompressedModel, tmp_path: Path
) -> None:
    fields = {**json.loads(patch.table.model_dump_json(exclude_defaults=True)), **lie}
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            read_with(patch, fields, tmp_path / "p.enxd").apply(old)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_copies_that_grow_are_bounded(patch: Patch, old: CompressedModel) -> None:
    """A few bytes that copy the old file over and over do not fill memory."""
    many = b"".join(varint(0) + varint(1000) + varint(1999) for _ in range(10_000)) + varint(0) + varint(0)
    table = patch.table.model_copy(update={"table": 10_000_000})
    with pytest.raises(FormatError, match="large"):
        replace(patch, table=table, instructions=many).apply(old)


def test_rows_that_claim_padding(patch: Patch, old: CompressedModel) -> None:
    """A long padding in a row of the new table is refused before it is made."""
    made = patch.apply(old)
    number = next(change.row for change in patch.table.changed if change.how == "moves")
    row = made.payloads[number].row
    wide = replace(made.payloads[number], row=row.model_copy(update={"padding": 1 << 39}))
    payloads = (*made.payloads[:number], wide, *made.payloads[number + 1 :])
    with pytest.raises(EnxutoError):
        Patch.between(old, CompressedModel(made.skeleton, payloads, made.metadata)).apply(old)


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x7f" * 9, b"\x09" + b"\xff" * 9, b"\xff" * 20])
def test_streams_of_moves_that_nobody_wrote(data: bytes) -> None:
    with pytest.raises(FormatError):
        Moves().decode(data, np.arange(100))


@pytest.mark.parametrize("file", ["old.enx", "model.onnx", "empty", "absent", "."])
def test_files_that_are_none(file: str, old: CompressedModel, tmp_path: Path) -> None:
    old.save(tmp_path / "old.enx")
    small_model().write(tmp_path / "model.onnx")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(EnxutoError) as caught:
        enxuto.apply(tmp_path / "old.enx", tmp_path / file)
    assert "\n" not in str(caught.value)
