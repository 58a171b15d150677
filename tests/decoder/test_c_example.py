"""`examples/decode.c`, compiled: it lists tensors, writes the model and refuses what is damaged."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from c_decoder import ROOT, compiled, plain_object, shared_folder
from make_conformance import FOLDER, load_example

EXAMPLE = ROOT / "examples" / "decode.c"
DIGITS = FOLDER / "sound" / "digits.enx"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("example") / "decode"
    made = plain_object(shared_folder(tmp_path_factory))
    return compiled(place, "-O2", "-I", ROOT / "decoder", EXAMPLE, made)


def run(program: Path, *arguments: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def test_it_lists_the_tensors(program: Path) -> None:
    tensors = load_example().decode(DIGITS.read_bytes())
    lines = run(program, DIGITS).stdout.splitlines()
    assert [line.split(": ")[0] for line in lines] == list(tensors)


def test_it_writes_the_model(program: Path, tmp_path: Path) -> None:
    assert run(program, DIGITS, tmp_path / "m.onnx").returncode == 0
    assert (tmp_path / "m.onnx").read_bytes() == load_example().restore(DIGITS.read_bytes())


def test_what_is_damaged_is_refused_in_one_line(program: Path) -> None:
    done = run(program, FOLDER / "damaged" / "cut-at-the-end.enx")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert done.stderr.endswith("the file was cut off: it is shorter than it says\n")


def test_it_is_short() -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 60
