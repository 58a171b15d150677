"""The C decoder gives the package's verdict on every file, and its model; compiled with sanitizers, no byte unread.

`make fuzz` tries many more mutated files, from another seed each time.
"""

from __future__ import annotations

import copy
import os
import random
import struct
from itertools import islice
from pathlib import Path

import pytest
from onnx import ModelProto

import enx_variants
from c_decoder import Decoder
from enx_samples import DEMO, Taken, small_model
from enx_variants import BAD, GOOD, mutated, normal, variant
from enxuto.compression.data_free import compress
from enxuto.enx.file import CompressedModel
from enxuto.errors import FormatError
from hostile_graphs import text
from make_golden import cases

SEED = int(os.environ.get("ENXUTO_FUZZ_SEED", "1"))
FILES = 2500 * int(os.environ.get("ENXUTO_FUZZ_FACTOR", "1"))


@pytest.fixture(scope="module")
def bases() -> dict[str, Taken]:
    return enx_variants.bases()


def package_model(data: bytes, path: Path) -> bytes | str:
    """The ONNX model that the package reads of a file, or what it says against it."""
    path.write_bytes(data)
    try:
        return CompressedModel.read(path).to_model(threads=1).to_bytes()
    except FormatError as error:
        return str(error)


def same_model(one: bytes, other: bytes) -> bool:
    return one == other or normal(ModelProto.FromString(one)) == normal(ModelProto.FromString(other))


@pytest.mark.parametrize("name", list(cases()))
def test_files_of_every_kind_give_the_package_s_model(name: str, decoder: Decoder, tmp_path: Path) -> None:
    data = cases()[name]().to_bytes()
    (verdict,) = decoder.decode([data])
    wanted = package_model(data, tmp_path / "m.enx")
    assert isinstance(wanted, bytes)
    assert verdict.code == "OK"
    assert same_model(verdict.model, wanted)


def test_a_real_network(decoder: Decoder, tmp_path: Path) -> None:
    for compressed in (compress(DEMO), compress(DEMO, bits=3)):
        data = compressed.to_bytes()
        (verdict,) = decoder.decode([data])
        wanted = package_model(data, tmp_path / "m.enx")
        assert isinstance(wanted, bytes)
        assert same_model(verdict.model, wanted)


def test_what_the_page_allows_is_read_and_what_it_forbids_refused(
    decoder: Decoder, bases: dict[str, Taken], tmp_path: Path
) -> None:
    names = [*GOOD, *BAD]
    for name, verdict in zip(names, decoder.decode(variant(n, bases) for n in names), strict=True):
        assert (verdict.code == "OK") == (name in GOOD), f"{name}: {verdict.code}"
        if name in GOOD:
            wanted = package_model(variant(name, bases), tmp_path / "m.enx")
            assert isinstance(wanted, bytes), name
            assert same_model(verdict.model, wanted), name


@pytest.mark.fuzz
def test_chance_finds_no_difference(decoder: Decoder, bases: dict[str, Taken], tmp_path: Path) -> None:
    read = 0
    for first in range(0, FILES, 2500):
        files = list(islice(mutated(random.Random(f"{SEED} {first}"), bases), min(2500, FILES - first)))
        for index, (data, verdict) in enumerate(zip(files, decoder.decode(files), strict=True)):
            wanted = package_model(data, tmp_path / "m.enx")
            at = f"ENXUTO_FUZZ_SEED={SEED}, file {first + index}"
            assert (verdict.code == "OK") == isinstance(wanted, bytes), f"{at}: {verdict.code}, {wanted!r}"
            if isinstance(wanted, bytes):
                read += 1
                assert same_model(verdict.model, wanted), at
    assert FILES // 100 < read < FILES


def test_codes_tell_what_is_wrong(decoder: Decoder, bases: dict[str, Taken]) -> None:
    data = bases["dead zone"].to_bytes()
    payload = bytearray(data)
    payload[-1] ^= 1
    head = bytearray(data)
    head[40] ^= 1
    newer = data[:8] + struct.pack("<H", 9) + data[10:]
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    expected = {
        b"": "NOT_ENX",
        b"<!doctype html><title>404</title>" * 9: "NOT_ENX",
        pointer: "NOT_ENX",
        DEMO.read_bytes(): "NOT_ENX",
        data[:20]: "CUT_OFF",
        data[:-1]: "CUT_OFF",
        data + b"\0": "TOO_LONG",
        newer: "VERSION",
        bytes(head): "HEAD",
        bytes(payload): "PAYLOAD",
        variant("no coder", bases): "TABLE",
        variant("two graphs", bases): "GRAPH",
        data: "OK",
    }
    assert [verdict.code for verdict in decoder.decode(expected)] == list(expected.values())


def test_every_cut_is_noticed(decoder: Decoder, bases: dict[str, Taken]) -> None:
    data = bases["trellis"].to_bytes()
    codes = {verdict.code for verdict in decoder.decode(data[:end] for end in range(len(data)))}
    assert codes == {"NOT_ENX", "CUT_OFF"}


def test_every_allocation_may_fail(decoder: Decoder, bases: dict[str, Taken]) -> None:
    files = [bases[name].to_bytes() for name in ("channels", "contexts", "trellis", "half")]
    codes: list[str] = []
    for number in range(1, 200):
        codes = [verdict.code for verdict in decoder.decode(files, str(number))]
        assert set(codes) <= {"OK", "NO_MEMORY"}
        if set(codes) == {"OK"}:
            break
        assert number > 1 or set(codes) == {"NO_MEMORY"}
    assert set(codes) == {"OK"}


def test_memory_stays_within_what_a_file_may_claim(decoder: Decoder, bases: dict[str, Taken]) -> None:
    """A short file of many elements, of a long head, and one whose table claims what is not there."""
    taken = copy.deepcopy(bases["dead zone"])
    taken.table["parts"][0]["tensors"][0]["shape"] = [1 << 40]
    head = Taken.apart(compress(small_model(), rounding="nearest").to_bytes())
    head.graph += text(1000, "a" * 200_000)
    files = [taken.to_bytes(), head.to_bytes()]
    for data, verdict in zip(files, decoder.decode(files), strict=True):
        assert verdict.memory < 64 * len(data) + (1 << 20)
    assert [verdict.code for verdict in decoder.decode(files)] == ["TABLE", "OK"]
