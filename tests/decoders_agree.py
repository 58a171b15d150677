"""Decoders on the same files: the package's compiled loops, `examples/decode_enx.py`, C, and its WebAssembly build.

`disagreements` counts what was read and names each file on which they differ, by the seed that makes it again.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper

import enx_variants
from c_decoder import Decoder, Verdict, in_webassembly
from enx_samples import Taken
from enx_variants import mutated, normal
from enxuto.codec import TRELLIS_CODERS, Coder
from enxuto.enx.file import CompressedModel
from enxuto.enx.payload import Payload
from enxuto.enx.table import TensorEntry
from enxuto.errors import FormatError
from enxuto.quantize.grid import Grid
from make_conformance import load_example

BATCH = 500
ROWS_KEPT = 4096  # of those that the example has decoded

example = load_example()


def once_for_each_row(decode_row: Callable[[Any, bytes], Iterable[Any]]) -> Callable[[Any, bytes], list[Any]]:
    """The example's `decode_row`, plain Python, which most of the time goes to, asked once about a row and its payload.

    Most rows of a mutated file are those of the file that it was made of. What is refused is not kept.
    """
    known: dict[tuple[str, bytes], list[Any]] = {}

    def decoded(row: Any, payload: bytes) -> list[Any]:
        key = (repr(row), bytes(payload))
        if key not in known:
            if len(known) >= ROWS_KEPT:
                known.clear()
            known[key] = list(decode_row(row, payload))
        return known[key]

    return decoded


vars(example)["decode_row"] = once_for_each_row(example.decode_row)


@contextmanager
def loops_only() -> Iterator[None]:
    """Have the package decode without the C decoder, which is what it is compared with."""
    before = os.environ.get("ENXUTO_DECODER")
    os.environ["ENXUTO_DECODER"] = "numba"
    try:
        yield
    finally:
        if before is None:
            del os.environ["ENXUTO_DECODER"]
        else:
            os.environ["ENXUTO_DECODER"] = before


def package_model(data: bytes, path: Path) -> bytes | str:
    """The ONNX model that the package's own loops read of a file, or what the package says against it."""
    path.write_bytes(data)
    with loops_only():
        try:
            return CompressedModel.read(path).to_model(threads=1).to_bytes()
        except FormatError as error:
            return str(error)


def example_model(data: bytes) -> bytes | str:
    """The ONNX model that `examples/decode_enx.py` reads of a file, or what it says against it."""
    try:
        model: bytes = example.restore(data)
        return model
    except ValueError as error:
        return str(error)


def same_model(one: bytes, other: bytes) -> bool:
    """Whether two ONNX files hold the same, however their fields are ordered."""
    return one == other or normal(ModelProto.FromString(one)) == normal(ModelProto.FromString(other))


def difference(data: bytes, verdict: Verdict, path: Path, *, ask_example: bool = True) -> str:
    """Say where the decoders differ on a file, nothing where they agree."""
    wanted, read = package_model(data, path), verdict.code == "OK"
    if read != isinstance(wanted, bytes) or (
        isinstance(wanted, bytes) and not same_model(verdict.model, wanted)
    ):
        return f"C says {verdict.code}, the package {wanted if isinstance(wanted, str) else 'another model'}"
    if ask_example and (found := example_model(data)) != verdict.model and (read or isinstance(found, bytes)):
        return f"C says {verdict.code}, the example {found if isinstance(found, str) else 'another model'}"
    return ""


def two_builds_differ(one: Verdict, other: Verdict) -> str:
    """Say where C and WebAssembly differ, which see at another moment that a file's length is not what it says."""
    if {one.code, other.code} & {"CUT_OFF", "TOO_LONG"} and "OK" not in (one.code, other.code):
        return ""
    same = (one.code, one.model) == (other.code, other.model)
    return "" if same else f"C says {one.code}, WebAssembly {other.code}, or they give different models"


def builds_disagree(decoder: Decoder, bases: dict[str, Taken], seed: str, count: int) -> list[str]:
    """Return a line for each of `count` mutated files on which C and WebAssembly differ."""
    files = list(islice(mutated(random.Random(seed), bases), count))
    both = zip(decoder.decode(files), in_webassembly(files), strict=True)
    return [f"file {i}: {said}" for i, pair in enumerate(both) if (said := two_builds_differ(*pair))]


def disagreements(
    decoder: Decoder,
    bases: dict[str, Taken],
    seed: str,
    count: int,
    path: Path,
    *,
    ask_example: bool = True,
    ask_webassembly: bool = False,
) -> tuple[int, list[str]]:
    """Return how many of `count` mutated files were read, and a line for each on which the decoders differ."""
    read, lines = 0, []
    for first in range(0, count, BATCH):
        files = list(islice(mutated(random.Random(f"{seed} {first}"), bases), min(BATCH, count - first)))
        verdicts = decoder.decode(files)
        others = in_webassembly(files) if ask_webassembly else verdicts
        for index, (data, verdict, other) in enumerate(zip(files, verdicts, others, strict=True)):
            read += verdict.code == "OK"
            if said := two_builds_differ(verdict, other) or difference(
                data, verdict, path, ask_example=ask_example
            ):
                lines.append(f"seed {seed}, file {first + index}: {said}")
    return read, lines


@cache
def large_bases() -> dict[str, Taken]:
    """Files whose payloads are long enough for four states, of every coder, for kernels and for a matrix."""
    rng = np.random.default_rng(5)
    levels = np.rint(rng.laplace(0, 1.2, (128, 64, 3, 3))).astype(np.int32)
    levels[3, :5] *= 4000  # raw bits
    shapes: Iterable[tuple[str, Coder, np.ndarray]] = (
        ("plain", "order0", levels), ("kernels", "contexts", levels), ("kernels, trellis", "trellis", levels),
        ("matrix", "contexts", levels.reshape(128, -1)), ("matrix, trellis", "trellis", levels.reshape(128, -1)),
        ("kernels, 32 states", "trellis-32", levels), ("matrix, 32 states", "trellis-32", levels.reshape(128, -1)),
    )  # fmt: skip
    return {name: Taken.apart(file_of(array, coder).to_bytes()) for name, coder, array in shapes}


def file_of(levels: np.ndarray, coder: Coder) -> CompressedModel:
    """A file of one quantized tensor."""
    tensor = TensorProto(name="w", data_type=1, dims=levels.shape, data_location=TensorProto.EXTERNAL)
    graph = helper.make_graph([], "g", [], [helper.make_tensor_value_info("w", 1, levels.shape)], [tensor])
    proto: ModelProto = helper.make_model(graph, ir_version=8)
    grid = Grid(0.01, trellis=TRELLIS_CODERS.get(coder, 0))
    entry = TensorEntry(name="w", shape=levels.shape, type=1)
    return CompressedModel(
        proto.SerializeToString(), (Payload.levels_of([entry], grid, levels, coder=coder),), {}
    )


@cache
def every_base() -> dict[str, Taken]:
    """What `disagreements` mutates where many files are tried."""
    return enx_variants.bases()
