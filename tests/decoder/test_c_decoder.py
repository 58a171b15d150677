"""The C decoder gives the package's verdict on every file, and its model; compiled with sanitizers, no byte unread.

`make fuzz` tries many more mutated files, from another seed each time.
"""

from __future__ import annotations

import copy
import os
import struct
from pathlib import Path

import pytest

import enx_variants
from c_decoder import Decoder
from decoders_agree import difference, disagreements, large_bases, package_model, same_model
from enx_samples import DEMO, Taken, small_model
from enx_variants import BAD, GOOD, variant
from enxuto.compression.data_free import compress
from hostile_graphs import text
from make_golden import cases

SEED = int(os.environ.get("ENXUTO_FUZZ_SEED", "1"))
FILES = 2500 * int(os.environ.get("ENXUTO_FUZZ_FACTOR", "1"))


@pytest.fixture(scope="module")
def bases() -> dict[str, Taken]:
    return enx_variants.bases()


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
    read, lines = disagreements(decoder, bases, f"{SEED}", FILES, tmp_path / "m.enx", ask_example=False)
    assert not lines, "\n".join(lines)
    assert FILES // 100 < read < FILES


@pytest.mark.fuzz
def test_chance_finds_no_difference_with_the_example(
    decoder: Decoder, bases: dict[str, Taken], tmp_path: Path
) -> None:
    assert disagreements(decoder, bases, f"{SEED} example", FILES // 25, tmp_path / "m.enx")[1] == []


@pytest.mark.fuzz
def test_chance_finds_no_difference_in_long_payloads(decoder: Decoder, tmp_path: Path) -> None:
    """Payloads of four states, and their loops of their own."""
    bases, place = large_bases(), tmp_path / "m.enx"
    for taken, verdict in zip(
        bases.values(), decoder.decode(b.to_bytes() for b in bases.values()), strict=True
    ):
        assert verdict.code == "OK"
        assert not difference(taken.to_bytes(), verdict, place, ask_example=False)
    assert disagreements(decoder, bases, f"{SEED} long", FILES // 25, place, ask_example=False)[1] == []


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
