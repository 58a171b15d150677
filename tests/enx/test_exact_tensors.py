"""Tensors kept exactly: never larger than what xz or zstd make of the model, and equal bit for bit when decoded."""

from __future__ import annotations

import lzma
from typing import Any

import numpy as np
import pytest
import zstandard
from onnx import ModelProto, TensorProto, helper, numpy_helper

from enxuto.compression.data_free import compress
from enxuto.enx.file import CompressedModel
from enxuto.enx.table import ExactRow
from enxuto.enx.verify import verify
from enxuto.onnx_model import Model

RANDOM = np.random.default_rng(3)


def rounded(array: np.ndarray, kind: Any = np.int8) -> np.ndarray:
    limits = np.iinfo(kind)
    return np.clip(np.rint(array), limits.min, limits.max).astype(kind)


def gaussian(*shape: int) -> np.ndarray:
    """Weights of a quantized layer with a scale of its own."""
    return rounded(30 * RANDOM.standard_normal(shape))


def rows_of_several_scales(*shape: int) -> np.ndarray:
    """One scale for all rows, so that most rows use few of the levels."""
    spread = np.exp(1.5 * RANDOM.standard_normal((shape[0], 1)))
    return rounded(6 * spread * RANDOM.standard_normal(shape))


def tokens(*shape: int) -> np.ndarray:
    """Text: words of a small dictionary, one after the other."""
    words = [RANDOM.integers(97, 123, RANDOM.integers(3, 9)).astype(np.uint8) for _ in range(300)]
    chosen = [words[n] for n in RANDOM.zipf(1.3, 40000) % 300]
    return np.concatenate(chosen)[: int(np.prod(shape))].reshape(shape)


def causal_mask(size: int) -> np.ndarray:
    return np.where(np.tri(size, dtype=bool), 0, -np.inf).astype(np.float32)[None, None]


def packed_nibbles(*shape: int) -> np.ndarray:
    """Two four-bit weights a byte, as MatMulNBits keeps them."""
    low, high = (rounded(2 * RANDOM.standard_normal(shape) + 8, np.uint8) & 15 for _ in range(2))
    return low | (high << 4)


TENSORS: dict[str, list[np.ndarray]] = {
    "gaussian": [gaussian(256, 300), gaussian(64, 128)],
    "zero-points": [rounded(20 * RANDOM.standard_normal((200, 200)) + 131, np.uint8)],
    "several-scales": [rows_of_several_scales(200, 400)],
    "copies": [shared := gaussian(200, 200), shared.copy(), shared.copy()],
    "pruned": [np.where(RANDOM.random((300, 300)) < 0.9, 0, gaussian(300, 300)).astype(np.int8)],
    "blocks": [np.repeat(gaussian(20, 300), 12, axis=0)],
    "nibbles": [packed_nibbles(300, 4, 64)],
    "text": [tokens(300, 400)],
    "indices": [np.arange(20000, dtype=np.int64), np.tile(np.arange(64, dtype=np.int32), 300)],
    "bias": [RANDOM.integers(-(2**20), 2**20, 3000).astype(np.int32)],
    "mask": [causal_mask(200)],
    "constant": [np.full((700, 700), 7, np.int8), gaussian(50, 50)],
    "booleans": [np.tri(300, dtype=bool)],
    "unlike": [
        gaussian(60, 60) // 8,
        gaussian(60, 60) + 0,
        rounded(5 * RANDOM.standard_normal((90, 90)) + 90),
    ],
    "small": [gaussian(4, 9) for _ in range(40)],
}


def model_of_tensors(arrays: list[np.ndarray]) -> ModelProto:
    """A model that puts out each of the arrays."""
    names = [f"layer.{n}.weight_quantized" for n in range(len(arrays))]
    nodes = [helper.make_node("Identity", [name], [f"y{n}"]) for n, name in enumerate(names)]
    outputs = [helper.make_tensor_value_info(f"y{n}", helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
               for n, array in enumerate(arrays)]  # fmt: skip
    given = [numpy_helper.from_array(array, name) for name, array in zip(names, arrays, strict=True)]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])], outputs, given
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize("kind", TENSORS)
def test_no_general_packer_makes_less_of_it(kind: str) -> None:
    proto = model_of_tensors(TENSORS[kind])
    plain = proto.SerializeToString()
    file = compress(Model.from_proto(proto), threads=1).to_bytes()
    best = min(
        len(lzma.compress(plain, preset=9 | lzma.PRESET_EXTREME)),
        len(zstandard.ZstdCompressor(level=19).compress(plain)),
    )
    assert len(file) <= best + 400, "the prefix, the table's fixed keys and the metadata take no more"


@pytest.mark.parametrize("shape", [(64, 128), (16, 256), (24, 2048), (400, 96)])
def test_rows_that_have_a_scale_each_take_no_more_than_the_best_packer(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(shape)
    weight = rounded(generator.laplace(size=shape) * np.exp2(generator.uniform(1, 4.5, (shape[0], 1))))
    proto = model_of_tensors([weight, generator.lognormal(size=shape[0]).astype(np.float32)])
    plain = proto.SerializeToString()
    file = compress(Model.from_proto(proto), threads=1)
    best = min(
        len(lzma.compress(plain, preset=9 | lzma.PRESET_EXTREME)),
        len(zstandard.ZstdCompressor(level=22).compress(plain)),
    )
    assert file.file_bytes <= best + 100, "the prefix and the metadata of a small file"
    assert file.file_bytes <= best or len(plain) < 1 << 14
    assert np.array_equal(file.to_model().load("layer.0.weight_quantized"), weight)


def quantized_model(form: str, layers: int = 3, width: int = 192) -> ModelProto:
    """A chain of int8 layers in one of the forms that quantizers write, with a scale and a zero point each."""
    nodes, given, last = [], [], "x"
    for n in range(layers):
        weight, scale, zero = f"w{n}_quantized", f"w{n}_scale", f"w{n}_zero_point"
        given += [
            numpy_helper.from_array(gaussian(width, width), weight),
            numpy_helper.from_array(np.float32(0.01 * (n + 1)).reshape(()), scale),
            numpy_helper.from_array(np.int8(0).reshape(()), zero),
        ]
        made = f"y{n}"
        if form == "QDQ":
            nodes += [helper.make_node("DequantizeLinear", [weight, scale, zero], [f"w{n}"]),
                      helper.make_node("MatMul", [last, f"w{n}"], [made])]  # fmt: skip
        elif form == "QOperator":
            nodes += [helper.make_node("QuantizeLinear", [last, scale, zero], [f"q{n}"]),
                      helper.make_node("QLinearMatMul", [f"q{n}", scale, zero, weight, scale, zero, scale, zero],
                                       [f"r{n}"]),
                      helper.make_node("DequantizeLinear", [f"r{n}", scale, zero], [made])]  # fmt: skip
        else:
            nodes += [helper.make_node("DynamicQuantizeLinear", [last], [f"q{n}", f"s{n}", f"z{n}"]),
                      helper.make_node("MatMulInteger", [f"q{n}", weight, f"z{n}", zero], [f"i{n}"]),
                      helper.make_node("Cast", [f"i{n}"], [f"f{n}"], to=TensorProto.FLOAT),
                      helper.make_node("Mul", [f"f{n}", scale], [made])]  # fmt: skip
        last = made
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width]) for name in ("x", last)]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], given)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize("form", ["QDQ", "QOperator", "dynamic"])
def test_no_general_packer_makes_less_of_a_quantized_network(form: str) -> None:
    proto = quantized_model(form)
    plain = proto.SerializeToString()
    made = compress(Model.from_proto(proto), threads=1, steps="checked")
    best = min(
        len(lzma.compress(plain, preset=9 | lzma.PRESET_EXTREME)),
        len(zstandard.ZstdCompressor(level=19).compress(plain)),
    )
    assert len(made.to_bytes()) <= best
    assert all(isinstance(payload.row, ExactRow) for payload in made.payloads)
    assert verify(made, Model.from_proto(proto)).ok


@pytest.mark.parametrize("kind", TENSORS)
def test_every_value_comes_back(kind: str, tmp_path: Any) -> None:
    original = Model.from_proto(model_of_tensors(TENSORS[kind]))
    place = tmp_path / "a.enx"
    compress(original, threads=1).save(place)
    compressed = CompressedModel.read(place)
    assert verify(compressed, original).ok
    decoded = compressed.to_model()
    for name, array in zip(original.weight_names, TENSORS[kind], strict=True):
        assert decoded.load(name).dtype == array.dtype
        assert np.array_equal(decoded.load(name), array)


def test_the_file_does_not_depend_on_threads() -> None:
    chosen = ("several-scales", "copies", "nibbles", "unlike", "small")
    model = Model.from_proto(model_of_tensors([array for kind in chosen for array in TENSORS[kind]]))
    assert compress(model, threads=1).to_bytes() == compress(model, threads=3).to_bytes()


def test_a_graph_that_would_unfold_too_far_keeps_its_weights_outside() -> None:
    repeated = [np.tile(gaussian(1, 64), (1500, 1)), np.tile(np.arange(200, dtype=np.int64), 600)]
    file = compress(Model.from_proto(model_of_tensors(repeated)), threads=1)
    assert any(isinstance(payload.row, ExactRow) for payload in file.payloads)
    assert len(file.to_bytes()) < 60_000 + sum(payload.row.bytes for payload in file.payloads)
    assert file.head_bytes < 60_000


def test_tensors_unlike_each_other_have_tables_of_their_own() -> None:
    file = compress(Model.from_proto(model_of_tensors(TENSORS["unlike"])), threads=1)
    assert [len(payload.row.tensors) for payload in file.payloads] == [1, 1, 1]
    alike = compress(Model.from_proto(model_of_tensors([gaussian(36, 36) for _ in range(8)])), threads=1)
    assert [len(payload.row.tensors) for payload in alike.payloads] == [8]
