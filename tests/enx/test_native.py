"""The C decoder in place of Python's loops: the same values and levels, the same verdicts, and a cache that heals."""

from __future__ import annotations

import ctypes
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from enxuto import doctor
from enxuto.enx import native
from enxuto.enx.file import CompressedModel
from enxuto.enx.payload import Payload
from enxuto.errors import FormatError, UsageError
from enxuto.machine import c_library
from make_conformance import FOLDER
from make_golden import cases

DAMAGED = sorted(
    path
    for path in (FOLDER / "damaged").iterdir()
    if path.name.startswith(("a-flipped-bit-in-a-payload", "c"))
)
ADDER = "int add(int a, int b) { return a + b; }\n"


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.delenv("ENXUTO_DECODER", raising=False)
    native._load.cache_clear()
    yield monkeypatch
    native._load.cache_clear()


def loaded(source: Path, monkeypatch: pytest.MonkeyPatch, kept: Path) -> tuple[ctypes.CDLL, Path] | None:
    monkeypatch.setattr(c_library, "cache_place", lambda folder: kept)
    return c_library.load_library(source)


@pytest.mark.parametrize("name", list(cases()))
def test_it_gives_the_values_and_levels_of_the_loops(name: str, decoder: pytest.MonkeyPatch) -> None:
    for payload in cases()[name]().payloads:
        found: dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]] = {}
        for which in ("c", "numba"):
            decoder.setenv("ENXUTO_DECODER", which)
            quantized = payload.levels() if payload.row.coder != "planes" else {}
            found[which] = payload.arrays(), {key: tensor.levels for key, tensor in quantized.items()}
        for one, other in zip(found["c"], found["numba"], strict=True):
            assert list(one) == list(other)
            for key, array in one.items():
                assert (array.dtype, array.shape) == (other[key].dtype, other[key].shape)
                assert array.tobytes() == other[key].tobytes()
                assert array.flags.writeable


@pytest.mark.parametrize("path", DAMAGED, ids=lambda path: path.stem)
def test_what_is_damaged_is_refused_in_the_same_words(path: Path, decoder: pytest.MonkeyPatch) -> None:
    said = []
    for which in ("c", "numba"):
        decoder.setenv("ENXUTO_DECODER", which)
        with pytest.raises(FormatError) as error:
            CompressedModel.read(path).to_model(threads=1)
        said.append((error.value.code, str(error.value)))
    assert said[0] == said[1]


def test_it_is_taken_where_it_can_be_had(decoder: pytest.MonkeyPatch) -> None:
    assert native.decoder_name().startswith("C, compiled: ")
    decoder.setattr(Payload, "_exact_arrays", None)
    decoder.setattr(Payload, "levels", None)
    CompressedModel.read(FOLDER / "sound" / "digits.enx").to_model(threads=1)


def test_numba_stands_in(decoder: pytest.MonkeyPatch) -> None:
    decoder.setattr(c_library, "compiler", lambda: None)
    decoder.setattr(native, "compiler", lambda: None)
    decoder.setattr(c_library, "_is_whole", lambda library: False)
    assert native.decoder_name() == "Numba: no C compiler was found"
    CompressedModel.read(FOLDER / "sound" / "digits.enx").to_model(threads=1)
    decoder.setenv("ENXUTO_DECODER", "numba")
    assert native.decoder_name() == "Numba, as ENXUTO_DECODER says"
    decoder.setenv("ENXUTO_DECODER", "c")
    with pytest.raises(UsageError, match="install a C compiler") as error:
        native.decoder_name()
    assert error.value.code == "E090"
    report = doctor.examine(trial=False)
    assert (report.decoder, report.healthy) == ("none", False)


def test_another_name_is_an_error(decoder: pytest.MonkeyPatch) -> None:
    decoder.setenv("ENXUTO_DECODER", "rust")
    with pytest.raises(UsageError, match="ENXUTO_DECODER is 'rust'") as error:
        native.decoder_name()
    assert error.value.code == "E021"


def test_a_library_is_compiled_once_and_heals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, kept = tmp_path / "adder.c", tmp_path / "kept"
    source.write_text(ADDER)
    kept.mkdir(mode=0o700)
    first = loaded(source, monkeypatch, kept)
    assert first is not None
    assert first[0].add(2, 3) == 5
    library = first[1]
    assert stat.S_IMODE(library.stat().st_mode) == 0o700
    whole = library.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "run", None)  # nothing is compiled again
        assert loaded(source, patched, kept) is not None
    for damage in (b"", whole[:100], whole[:-1] + b"x"):
        library.unlink()
        library.write_bytes(damage)
        again = loaded(source, monkeypatch, kept)
        assert again is not None
        assert again[0].add(2, 3) == 5
    library.with_suffix(".sha256").unlink()
    assert loaded(source, monkeypatch, kept) is not None
    assert sorted(path.suffix for path in kept.iterdir()) == [".sha256", ".so"]


def test_another_source_is_another_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "adder.c"
    source.write_text(ADDER)
    one = loaded(source, monkeypatch, tmp_path)
    source.write_text(ADDER.replace("+ b", "- b"))
    other = loaded(source, monkeypatch, tmp_path)
    assert one is not None
    assert other is not None
    assert one[1] != other[1]
    assert other[0].add(2, 3) == -1


@pytest.mark.parametrize("what", ["does not compile", "no place", "no source", "no compiler"])
def test_there_may_be_no_library(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "adder.c"
    if what != "no source":
        source.write_text("int add(" if what == "does not compile" else ADDER)
    if what == "no compiler":
        monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(c_library, "cache_place", lambda folder: None if what == "no place" else tmp_path)
    assert c_library.load_library(source) is None
    assert [path.name for path in tmp_path.iterdir()] == ([] if what == "no source" else ["adder.c"])
