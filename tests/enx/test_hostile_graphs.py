"""Small files that ask for much (`hostile_graphs`) take little, whichever way they come in.

Each is read in a process of its own, which the system measures: memory beyond what the loaded package takes, and
seconds of a processor. The answer is a model, or a refusal in one line; never an error of another kind.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from onnx import ModelProto, TensorProto

from enx_samples import Taken, small_model, small_proto
from enxuto.compression.data_free import compress
from hostile_graphs import KINDS, TABLES, enx_of, onnx_of
from measured_runs import WAYS

MOST = 200 << 20  # bytes, for files of some hundred bytes to a megabyte; before, gigabytes
SECONDS = 20.0  # of the processor, on a machine that is busy otherwise; a second or two on an idle one
ENX, ONNX = 80_000, 250_000  # bytes of the graph
PLACES = [*((kind, "onnx") for kind in KINDS), *((kind, "enx") for kind in [*KINDS, *TABLES])]
TELLING = ["long label", "empty initializers", "subgraphs", "weights of no elements", "opset imports"]

Runs = Callable[[str, Path], dict[str, Any]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Run one of `WAYS` on a file and return what it took."""
    script = Path(__file__).parents[1] / "measured_runs.py"
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=tmp_path_factory.mktemp("here"),
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["ready"]

        def run(way: str, path: Path) -> dict[str, Any]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"way": way, "path": str(path)}) + "\n")
            process.stdin.flush()
            return dict(json.loads(process.stdout.readline()))

        yield run
        process.stdin.close()


def harmless(found: dict[str, Any], most: int = MOST) -> None:
    said = found["said"]
    assert found["code"] in (0, 1, 2), said
    assert "Traceback" not in said
    assert "internal error" not in said
    assert found["memory"] < most, (found["memory"] >> 20, said)
    assert found["seconds"] < SECONDS, (found["seconds"], said)
    if found["code"] == 2:
        assert said.count("\n") <= 1, said
        assert found["length"] < 3000


@pytest.mark.parametrize(("kind", "form"), PLACES)
def test_reading_takes_little(kind: str, form: str, runs: Runs, tmp_path: Path) -> None:
    path = tmp_path / f"m.{form}"
    path.write_bytes(onnx_of(kind, ONNX) if form == "onnx" else enx_of(kind, ENX))
    harmless(runs("load", path))


@pytest.mark.parametrize("way", [way for way in WAYS if way != "load"])
@pytest.mark.parametrize("form", ["onnx", "enx"])
@pytest.mark.parametrize("kind", TELLING)
def test_every_way_in_takes_little(kind: str, form: str, way: str, runs: Runs, tmp_path: Path) -> None:
    path = tmp_path / f"m.{form}"
    path.write_bytes(onnx_of(kind, ONNX) if form == "onnx" else enx_of(kind, ENX))
    harmless(runs(way, path))


@pytest.mark.parametrize(
    "kind", ["empty initializers", "nodes", "subgraphs", "a list of subgraphs", "attributes"]
)
def test_millions_end_in_seconds(kind: str, runs: Runs, tmp_path: Path) -> None:
    """Sixteen megabytes: 1.3 to 8 million of them."""
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_of(kind, 16_000_000))
    found = runs("load", path)
    harmless(found)
    assert found["code"] == 2
    path = tmp_path / "m.enx"
    path.write_bytes(enx_of(kind, 16_000_000))
    found = runs("load", path)
    harmless(found)
    assert found["code"] == 2
    assert path.stat().st_size < 10_000


@pytest.mark.parametrize("way", ["load", "inspect", "verify", "decompress"])
@pytest.mark.parametrize("shape", [[200_000_000, 0], [2**39, 0], [2, 2**30, 0], [0, 2**39]], ids=str)
def test_rows_of_no_elements(shape: list[int], way: str, runs: Runs, tmp_path: Path) -> None:
    """900 bytes: a quantized tensor of rows without number, of no elements."""
    taken = Taken.apart(compress(small_model(), rounding="nearest").to_bytes())
    index = next(i for i, row in enumerate(taken.table["parts"]) if row["tensors"][0]["name"] == "fc.w")
    row = taken.table["parts"][index]
    row["tensors"][0]["shape"] = shape
    row["quantizer"] = {"kind": "grid", "step": 0.1, "trellis": True}
    row["coder"] = "order0"
    row.pop("steps_bytes", None)
    taken.payloads[index] = b""
    proto = ModelProto.FromString(taken.graph)
    tensor = next(one for one in proto.graph.initializer if one.name == "fc.w")
    del tensor.dims[:]
    tensor.dims.extend(shape)
    taken.graph = proto.SerializeToString()
    path = tmp_path / "m.enx"
    path.write_bytes(taken.to_bytes())
    found = runs(way, path)
    harmless(found, 64 << 20)
    assert found["code"] == 0, found["said"]


@pytest.mark.parametrize("shape", [[200_000_000, 0], [2**40, 2**40, 0], [0, 2**62], [1] * 70 + [0]], ids=str)
@pytest.mark.parametrize("way", ["load", "inspect", "compress", "summary"])
def test_onnx_weights_of_no_elements(shape: list[int], way: str, runs: Runs, tmp_path: Path) -> None:
    proto = small_proto()
    tensor = next(one for one in proto.graph.initializer if one.name == "fc.w")
    del tensor.dims[:]
    tensor.dims.extend(shape)
    tensor.raw_data = b""
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    harmless(runs(way, path), 100 << 20)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = os.open(".", os.O_RDONLY)
        try:
            os.chdir(path.parent)  # paths of sockets are short
            one.bind(path.name)
        finally:
            os.fchdir(here)
            os.close(here)


def loop(path: Path) -> None:
    path.symlink_to(path.name)


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a device": (device, "a device"),
    "a pipe": (pipe, "a pipe"),
    "a socket": (listening, "a socket"),
    "a folder": (Path.mkdir, "folder"),
    "a link to itself": (loop, "links"),
    "nothing": (lambda path: None, ""),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", ["onnx", "enx"])
@pytest.mark.parametrize("what", NO_FILES)
def test_what_is_no_file_is_not_read(what: str, form: str, way: str, runs: Runs, tmp_path: Path) -> None:
    make, word = NO_FILES[what]
    path = tmp_path / f"m.{form}"
    make(path)
    found = runs(way, path)
    harmless(found, 64 << 20)
    assert found["code"] == 2
    assert word in found["said"]
    assert found["seconds"] < SECONDS / 2


@pytest.mark.parametrize("what", NO_FILES)
@pytest.mark.parametrize("way", ["load", "compress"])
def test_external_data_that_is_no_file(what: str, way: str, runs: Runs, tmp_path: Path) -> None:
    proto = small_proto()
    tensor = next(one for one in proto.graph.initializer if one.name == "fc.w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    NO_FILES[what][0](tmp_path / "w.bin")
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    found = runs(way, path)
    harmless(found, 64 << 20)
    assert found["code"] == 2
