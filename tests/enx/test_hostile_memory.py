"""Damaged files take no more memory than twice what the honest file takes, as Python and numpy count it."""

from __future__ import annotations

import copy
import random
import tracemalloc
from pathlib import Path

from onnx import TensorProto, helper, numpy_helper

from enx_samples import Taken, noise
from enxuto.compression.data_free import compress
from enxuto.enx.file import CompressedModel
from enxuto.errors import FormatError
from enxuto.onnx_model import Model
from enxuto.quantize.schemes import RangeSteps


def peak_of(path: Path) -> tuple[int, bool]:
    """(largest memory of reading and decoding, whether it was refused)"""
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    refused = False
    try:
        model = CompressedModel.read(path).to_model(threads=1)
        assert all(model.load(name).nbytes for name in model.weight_names)
    except FormatError:
        refused = True
    return tracemalloc.get_traced_memory()[1] - before, refused


def packed(path: Path, side: int) -> Path:
    kind = TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["t"]), helper.make_node("Add", ["t", "b"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", kind, ["n", side])],
        [helper.make_tensor_value_info("y", kind, ["n", side])],
        [numpy_helper.from_array(noise(side, side), "w"), numpy_helper.from_array(noise(side), "b")],
    )
    proto = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    compress(Model.from_proto(proto), RangeSteps(6, "channel")).save(path)
    return path


def test_memory_of_damaged_files(tmp_path: Path) -> None:
    """Checksums are in order, so that the damage reaches the decoders."""
    honest = packed(tmp_path / "honest.enx", 700)
    taken = Taken.apart(honest.read_bytes())
    taken.method = 0
    rng = random.Random(0)
    refusals = 0
    tracemalloc.start()
    try:
        peak_of(honest)
        allowed = 2 * peak_of(honest)[0] + (1 << 20)
        assert allowed < 30 << 20
        for _ in range(80):
            bad = copy.deepcopy(taken)
            which = rng.randrange(len(bad.payloads))
            payload = bytearray(bad.payloads[which])
            for _ in range(rng.randrange(1, 4)):
                payload[rng.randrange(min(len(payload), rng.choice([4, 60, 10**9])))] = rng.randrange(256)
            bad.payloads[which] = bytes(payload)
            (tmp_path / "bad.enx").write_bytes(bad.to_bytes())
            peak, refused = peak_of(tmp_path / "bad.enx")
            assert peak <= allowed
            refusals += refused
    finally:
        tracemalloc.stop()
    assert refusals > 40
