"""The package and `examples/decode_enx.py` say the same of every file: the page's verdict, and the same values.

What the page (docs/format.md) allows both read alike, what it does not both refuse.
"""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import ModelProto
from test_golden import decode_enx

import enx_variants
from enx_samples import Taken
from enx_variants import BAD, GOOD, mutated, normal, variant
from enxuto.enx.file import CompressedModel
from enxuto.errors import FormatError
from enxuto.onnx_model import array_bytes


@pytest.fixture(scope="module")
def bases() -> dict[str, Taken]:
    return enx_variants.bases()


def verdicts(data: bytes, path: Path) -> tuple[dict[str, Any] | None, dict[str, Any] | None, str]:
    """What the package and the example read: shapes, types, bytes by name and the restored model; None if refused."""
    path.write_bytes(data)
    said = ""
    first: dict[str, Any] | None = None
    second: dict[str, Any] | None = None
    try:
        read = CompressedModel.read(path)
        model = read.to_model(threads=1)
        first = {
            entry.name: (
                entry.shape,
                entry.data_type,
                bytes(array_bytes(model.load(entry.name), entry.data_type)),
            )
            for entry, _ in read.entries()
        } | {"": ModelProto.FromString(model.to_bytes())}
    except FormatError as error:
        said += f"package: {error}; "
    try:
        tensors = decode_enx.decode(data)
        restored = ModelProto.FromString(decode_enx.restore(data))
        second = {name: (tuple(t.shape), t.type, bytes(t.data)) for name, t in tensors.items()} | {
            "": restored
        }
    except ValueError as error:
        said += f"example: {error}"
    return first, second, said


def agreed(data: bytes, path: Path) -> dict[str, Any] | None:
    """What both read; the test fails where they differ."""
    first, second, said = verdicts(data, path)
    assert (first is None) == (second is None), said
    if first is not None and second is not None:
        models = first.pop(""), second.pop("")
        assert first == second
        assert len({normal(model) for model in models}) == 1
        first[""] = models[0]
    return first


@pytest.mark.parametrize("name", GOOD)
def test_what_the_page_allows_both_read_alike(name: str, bases: dict[str, Taken], tmp_path: Path) -> None:
    assert agreed(variant(name, bases), tmp_path / "m.enx") is not None


@pytest.mark.parametrize("name", BAD)
def test_what_the_page_forbids_both_refuse(name: str, bases: dict[str, Taken], tmp_path: Path) -> None:
    first, second, said = verdicts(variant(name, bases), tmp_path / "m.enx")
    assert first is None, said
    assert second is None, said


def test_the_bases_are_sound_and_their_models_too(bases: dict[str, Taken], tmp_path: Path) -> None:
    for taken in bases.values():
        found = agreed(taken.to_bytes(), tmp_path / "m.enx")
        assert found is not None
        onnx.checker.check_model(found[""], full_check=True)


def test_lzma_ends_where_it_says(bases: dict[str, Taken], tmp_path: Path) -> None:
    """Bytes behind the end marker, and a stream without one."""
    taken = copy.deepcopy(bases["half"])
    taken.method = 1
    assert agreed(taken.to_bytes(), tmp_path / "m.enx") is not None
    data = taken.to_bytes()
    stored = int.from_bytes(data[20:24], "little")
    for head in (data[36 : 36 + stored] + b"\0", data[36 : 36 + stored - 1], data[36 : 36 + stored - 5]):
        changed = copy.deepcopy(taken)
        changed.stored = head
        assert verdicts(changed.to_bytes(), tmp_path / "m.enx")[:2] == (None, None)


NESTED = (60, 95, 96, 97, 98, 99, 100, 101, 102, 103, 110)


@pytest.mark.parametrize("depth", NESTED)
def test_both_go_as_deep(depth: int, bases: dict[str, Taken], tmp_path: Path) -> None:
    """Types in types: one message each."""
    inner = b""
    for _ in range(depth):
        inner = b"\x0a" + decode_enx.leb128(len(inner)) + inner
        inner = b"\x22" + decode_enx.leb128(len(inner)) + inner
    value = b"\x0a\x01v\x12" + decode_enx.leb128(len(inner)) + inner
    taken = copy.deepcopy(bases["half"])
    proto = ModelProto.FromString(taken.graph)
    graph_bytes = proto.graph.SerializeToString() + b"\x6a" + decode_enx.leb128(len(value)) + value
    proto.ClearField("graph")
    taken.graph = proto.SerializeToString() + b"\x3a" + decode_enx.leb128(len(graph_bytes)) + graph_bytes
    agreed(taken.to_bytes(), tmp_path / "m.enx")


def test_chance_finds_no_difference(bases: dict[str, Taken], tmp_path: Path) -> None:
    for _, data in zip(range(400), mutated(random.Random(1), bases), strict=False):
        agreed(data, tmp_path / "m.enx")
