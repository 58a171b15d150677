"""Weights that repeat, such as a Fourier transform's sines, stay exact in the graph where that is shorter."""

from __future__ import annotations

import lzma

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import enxuto
from enxuto.enx.exact import repeats
from enxuto.enx.inside import tensors_inside
from enxuto.onnx_model import Model
from enxuto.quantize.scalar import DeadZone

FRAMES, BINS = 256, 129


def transform(*, noise: float = 0.0) -> ModelProto:
    """A spectrum by two matrices of cosines and sines, and a layer behind it; noise: of what repeats no more."""
    angle = 2 * np.pi * np.outer(np.arange(FRAMES), np.arange(BINS)) / FRAMES
    random = np.random.default_rng(0)
    arrays = {"re": np.cos(angle), "im": np.sin(angle), "w": random.standard_normal((BINS, 24)) / 12}
    if noise:
        arrays |= {name: arrays[name] + noise * random.standard_normal(angle.shape) for name in ("re", "im")}
    nodes = [
        helper.make_node(*made)
        for made in (
            ("MatMul", ["x", "re"], ["a"]), ("MatMul", ["x", "im"], ["b"]), ("Mul", ["a", "a"], ["c"]),
            ("Mul", ["b", "b"], ["d"]), ("Add", ["c", "d"], ["e"]), ("MatMul", ["e", "w"], ["y"]),
        )
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", FRAMES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 24])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_transform_stays_exact_and_the_file_is_below_xz() -> None:
    proto = transform()
    made = enxuto.compress(proto, threads=1)
    assert {entry.name for entry, _ in tensors_inside(made.compressed)} == {"re", "im"}
    for name in ("re", "im"):
        assert np.array_equal(made.model.load(name), Model.from_proto(proto).load(name))
    assert made.file_bytes < len(lzma.compress(proto.SerializeToString(), preset=9))
    rows = {row["name"]: row for row in enxuto.inspect(made.compressed).tensors}
    assert (rows["re"]["quantizer"], rows["re"]["coder"], rows["re"]["bytes"]) == ("exact", "graph", None)
    assert rows["w"]["quantizer"] == "grid"


def test_the_ledger_counts_them() -> None:
    made = enxuto.compress(transform(), threads=1)
    (bound,) = (row.bytes for row in enxuto.inspect(made.compressed).ledger.rows if "entropy" in row.name)
    planes = [
        np.frombuffer(data, np.uint8).reshape(-1, 4)[:, place] for _, data in tensors_inside(made.compressed)
        for place in range(4)
    ]  # fmt: skip
    alone = 0.0
    for first in (0, 4):
        for plane in planes[first : first + 4]:
            shares = np.unique(plane, return_counts=True)[1] / plane.size
            alone -= plane.size / 8 * float(np.sum(shares * np.log2(shares)))
    assert alone < bound < alone + 4 * BINS * 24


def test_weights_that_do_not_repeat_are_quantized() -> None:
    made = enxuto.compress(transform(noise=0.01), threads=1)
    assert not list(tensors_inside(made.compressed))


def test_a_quantizer_that_is_asked_for_is_used() -> None:
    made = enxuto.compress(transform(), DeadZone(0.001, 0.5), threads=1)
    assert not list(tensors_inside(made.compressed))


@pytest.mark.parametrize(("kind", "may"), [("sines", True), ("noise", False), ("halves", False)])
def test_what_is_tried(kind: str, may: bool) -> None:
    """Trained weights are not, nor those that were float16 once, half of whose bytes are zero."""
    model = Model.from_proto(transform())
    noise = np.random.default_rng(1).standard_normal((FRAMES, BINS)).astype(np.float16).astype(np.float32)
    data = {"sines": model.load("re"), "noise": noise + np.float32(1e-5) * np.sin(noise), "halves": noise}[
        kind
    ]
    assert repeats(model.info("re"), 7 * FRAMES * BINS // 8, lambda info: data.tobytes()) == may
