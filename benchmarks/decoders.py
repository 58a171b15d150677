"""Decoding speed of the C decoder beside the Python package's compiled loops, on one core, in one run.

    python benchmarks/decoders.py [--rows 1024] [--first-use] [--wasm] [--files a.enx …] [--json decoders.json]

Levels of a matrix and of 3×3 kernels are coded by each coder; both decode the same payload, in turns. Times are
processor time, the best of several runs, and mean something only as ratios within one run. With --first-use also what
that of each costs, with nothing compiled: decoding the packaged network in a process of its own. With --wasm also the
WebAssembly build in Node, compiled in full before it runs, beside C: from a payload to float32 values, in turns.
Needs a C compiler (`cc`).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper

from enxuto.codec import TRELLIS_CODERS, Coder, decode
from enxuto.enx.file import CompressedModel
from enxuto.enx.payload import Payload
from enxuto.enx.table import TensorEntry
from enxuto.quantize.grid import Grid

SOURCE = Path(__file__).resolve().parents[1] / "decoder" / "enx.c"
CODERS: tuple[Coder, ...] = ("order0", "contexts", "trellis", "trellis-32")


def library(folder: Path) -> ctypes.CDLL:
    """The C decoder, compiled for this machine."""
    place = folder / "enx.so"
    subprocess.run(["cc", "-std=c99", "-O3", "-shared", "-fPIC", str(SOURCE), "-o", str(place)], check=True)
    return ctypes.CDLL(str(place))


def file_of(levels: np.ndarray, coder: Coder) -> CompressedModel:
    """A file of one quantized tensor."""
    tensor = TensorProto(name="w", data_type=1, dims=levels.shape, data_location=TensorProto.EXTERNAL)
    output = helper.make_tensor_value_info("w", 1, levels.shape)
    graph = helper.make_graph([], "g", [], [output], [tensor])
    proto: ModelProto = helper.make_model(graph, ir_version=8)
    entry = TensorEntry(name="w", shape=levels.shape, type=1)
    grid = Grid(0.01, trellis=TRELLIS_CODERS.get(coder, 0))
    part = Payload.levels_of([entry], grid, levels, coder=coder)
    return CompressedModel(proto.SerializeToString(), (part,), {})


def best(*decoders: Callable[[], object], repeats: int = 15) -> list[float]:
    """The least processor time of several runs of each, in seconds; they take turns, so that all meet the same load."""
    times: list[list[float]] = [[] for _ in decoders]
    for _ in range(repeats):
        for run, taken in zip(decoders, times, strict=True):
            start = time.process_time()
            run()
            taken.append(time.process_time() - start)
    return [max(min(taken), 1e-9) for taken in times]


def first_use(decoder: str, folder: Path) -> float:
    """Processor seconds of a process that decodes the packaged network, its compilers among them; nothing is kept."""
    package = folder / decoder / "enxuto"
    shutil.copytree(
        SOURCE.parents[1] / "src" / "enxuto", package, ignore=shutil.ignore_patterns("__pycache__")
    )
    program = "from enxuto import load; import sys; load(sys.argv[1], threads=1)"
    file = SOURCE.parents[1] / "tests" / "conformance" / "sound" / "digits.enx"
    environment = os.environ | {
        "PYTHONPATH": str(package.parent), "ENXUTO_DECODER": decoder, "NUMBA_CACHE_DIR": str(folder / f"{decoder}-kept")
    }  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program, str(file)], check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(enx: ctypes.CDLL, levels: np.ndarray, coder: Coder) -> tuple[float, float]:
    """Million weights a second in C and in the package's own loops; both must give the levels back."""
    compressed = file_of(levels, coder)
    data, (part,), file = compressed.to_bytes(), compressed.payloads, ctypes.c_void_p()
    found = np.empty(levels.size, np.int32)
    place = found.ctypes.data_as(ctypes.c_void_p)
    assert enx.enx_open(ctypes.byref(file), data, ctypes.c_size_t(len(data)), None) == 0
    payload, shapes = part.data, [levels.shape]
    coded = memoryview(payload)[: part.row.coded_bytes]
    np.testing.assert_array_equal(decode(coder, coded, shapes).reshape(levels.shape), levels)
    in_c, in_package = best(
        lambda: enx.enx_levels(file, ctypes.c_size_t(0), payload, place), lambda: decode(coder, coded, shapes)
    )
    enx.enx_close(file)
    np.testing.assert_array_equal(found, levels.reshape(-1))
    return levels.size / in_c / 1e6, levels.size / in_package / 1e6


def measure_wasm(enx: ctypes.CDLL, levels: np.ndarray, coder: Coder, folder: Path) -> tuple[float, float]:
    """Million weights a second from a payload to values, in C and in WebAssembly, each the best of three turns."""
    compressed, file = file_of(levels, coder), ctypes.c_void_p()
    data, payload = compressed.to_bytes(), compressed.payloads[0].data
    place = folder / "levels.enx"
    place.write_bytes(data)
    values = np.empty(levels.size, np.float32)
    out = (ctypes.c_void_p * 1)(values.ctypes.data)
    assert enx.enx_open(ctypes.byref(file), data, ctypes.c_size_t(len(data)), None) == 0
    in_c = in_wasm = float("inf")
    for _ in range(3):
        in_c = min(in_c, *best(lambda: enx.enx_decode(file, ctypes.c_size_t(0), payload, out), repeats=40))
        in_wasm = min(in_wasm, in_node(place, 40))
    enx.enx_close(file)
    return levels.size / in_c / 1e6, levels.size / in_wasm / 1e6


def milliseconds_of_file(enx: ctypes.CDLL, path: Path) -> tuple[float, float]:
    """Milliseconds from a whole file in memory to ONNX bytes, its graph apart: in C and in WebAssembly."""
    data, file = path.read_bytes(), ctypes.c_void_p()
    assert enx.enx_open(ctypes.byref(file), data, ctypes.c_size_t(len(data)), None) == 0
    for name in ("enx_head_size", "enx_row_size", "enx_onnx_size"):
        getattr(enx, name).restype = ctypes.c_uint64
    enx.enx_rows.restype = ctypes.c_size_t
    held = ctypes.create_string_buffer(data, len(data))
    at = enx.enx_head_size(data, ctypes.c_size_t(len(data)))
    model = np.empty(enx.enx_onnx_size(file), np.uint8)
    out = ctypes.c_void_p(model.ctypes.data)
    payloads = []
    for row in range(enx.enx_rows(file)):
        payloads.append(ctypes.c_void_p(ctypes.addressof(held) + at))
        at += enx.enx_row_size(file, ctypes.c_size_t(row))
    assert enx.enx_onnx_begin(file, out) == 0

    def in_c() -> None:
        for row, payload in enumerate(payloads):
            assert enx.enx_onnx_row(file, ctypes.c_size_t(row), payload, out) == 0

    (seconds,) = best(in_c)
    enx.enx_close(file)
    return 1000 * seconds, 1000 * in_node(path, 15)


def in_node(path: Path, runs: int) -> float:
    """Seconds of decoding a file's payloads in WebAssembly, compiled in full before."""
    script = [shutil.which("node") or "node", "--no-liftoff", "--no-wasm-tier-up",
              str(Path(__file__).with_name("wasm_rows.mjs")), str(path), str(runs)]  # fmt: skip
    return float(subprocess.run(script, check=True, capture_output=True, text=True).stdout) / 1000


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1024, help="rows of the matrix (default: %(default)s)")
    parser.add_argument("--first-use", action="store_true", help="time the first use of both, too")
    parser.add_argument("--wasm", action="store_true", help="time WebAssembly in Node, too")
    parser.add_argument("--files", nargs="*", default=[], type=Path, help="also time these .enx files, whole")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    scales = np.exp(rng.normal(0, 0.5, (options.rows, 1)))
    matrix = np.rint(rng.laplace(0, 1, (options.rows, 900)) * scales).astype(np.int32)
    results = []
    print(f"{'levels':<14}{'coder':<10}{'C, M/s':>9}{'package, M/s':>14}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as folder:
        enx = library(Path(folder))
        for name, levels in (("matrix", matrix), ("3×3 kernels", matrix.reshape(options.rows, 100, 3, 3))):
            for coder in CODERS:
                in_c, in_package = measure(enx, levels, coder)
                results.append({"levels": name, "coder": coder, "c": in_c, "package": in_package})
                print(f"{name:<14}{coder:<10}{in_c:>9.1f}{in_package:>14.1f}{in_c / in_package:>8.2f}")
                if options.wasm:
                    in_c, in_wasm = measure_wasm(enx, levels, coder, Path(folder))
                    results.append(
                        {"levels": name, "coder": coder, "c, values": in_c, "wasm, values": in_wasm}
                    )
                    print(f"  to values: C {in_c:.1f}, WebAssembly {in_wasm:.1f} M/s, {in_wasm / in_c:.2f}")
        for decoder in ("c", "numba") if options.first_use else ():
            seconds = first_use(decoder, Path(folder))
            results.append({"first use": decoder, "seconds": seconds})
            print(f"first use, {decoder}: {seconds:.1f} s of processor time")
        for path in options.files:
            in_c, in_wasm = milliseconds_of_file(enx, path)
            results.append({"file": path.name, "c, ms": in_c, "wasm, ms": in_wasm})
            print(f"{path.name}: C {in_c:.1f} ms, WebAssembly {in_wasm:.1f} ms, {in_c / in_wasm:.2f}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
