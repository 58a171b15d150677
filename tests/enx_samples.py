"""Small models and `.enx` files taken apart and put together by hand, for the tests of this folder.

Nothing here uses the package to read or write the format: offsets and checksums are those of `docs/format.md`.
"""

from __future__ import annotations

import json
import lzma
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from enxuto.enx.file import CompressedModel
from enxuto.onnx_model import Model

DEMO = Path(__file__).parents[1] / "src" / "enxuto" / "demo" / "digits.onnx"
MAGIC = b"\x89ENX\r\n\x1a\n"


def noise(*shape: int, seed: int = 0, scale: float = 0.1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def small_proto(width: int = 6) -> ModelProto:
    """Conv (kernel in a Constant node) → BatchNorm → Relu → Flatten → Gemm; input (n, 2, 4, 4)."""
    kind = TensorProto.FLOAT
    weights = {
        "conv.b": noise(width, seed=1),
        "bn.scale": np.abs(noise(width, seed=2)) + 1,
        "bn.shift": noise(width, seed=3),
        "bn.mean": noise(width, seed=4),
        "bn.var": np.abs(noise(width, seed=5)) + 0.5,
        "fc.w": noise(5, 16 * width, seed=6),
        "fc.b": noise(5, seed=7),
        "fine": np.array([0, -1], np.int64),
    }
    nodes = [
        helper.make_node(
            "Constant", [], ["conv.w"], value=numpy_helper.from_array(noise(width, 2, 3, 3, seed=8), "k")
        ),
        helper.make_node("Conv", ["x", "conv.w", "conv.b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "bn.scale", "bn.shift", "bn.mean", "bn.var"], ["n"]),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("Reshape", ["r", "fine"], ["f"]),
        helper.make_node("Gemm", ["f", "fc.w", "fc.b"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, ["n", 2, 4, 4])],
        [helper.make_tensor_value_info("y", kind, ["n", 5])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def small_model(width: int = 6) -> Model:
    return Model.from_proto(small_proto(width))


def head_filters(length: int) -> list[dict[str, Any]]:
    window = 4096
    while window < length:
        window *= 2
    return [{"id": lzma.FILTER_LZMA1, "dict_size": min(window, 2**26), "lc": 1, "lp": 0, "pb": 0}]


@dataclass
class Taken:
    """An `.enx` file in pieces. `to_bytes` puts them together with right lengths and checksums."""

    table: Any
    graph: bytes
    payloads: list[bytes]
    method: int = 1
    stored: bytes | None = field(default=None)
    """The head as it is in the file, where it is not to be made from table and graph."""

    @classmethod
    def apart(cls, data: bytes) -> Taken:
        magic, version, method, total, stored, json_bytes, graph_bytes, crc = struct.unpack(
            "<8sHHQIIII", data[:36]
        )
        assert (magic, total) == (MAGIC, len(data))
        assert version in (1, 2, 3, 4)
        head = data[36 : 36 + stored]
        assert crc == zlib.crc32(data[:32] + head)
        length = json_bytes + graph_bytes
        if method == 1:
            head = lzma.decompress(head, lzma.FORMAT_RAW, filters=head_filters(length))
        assert len(head) == length
        table = json.loads(head[:json_bytes])
        payloads, position = [], 36 + stored
        for row in table["parts"]:
            payload = data[position : position + row["bytes"]]
            assert zlib.crc32(payload) == int(row["crc32"], 16)
            payloads.append(payload)
            position += row["bytes"]
        assert position == len(data)
        return cls(table, head[json_bytes:], payloads, method)

    def to_bytes(self, *, fix_rows: bool = True) -> bytes:
        if fix_rows and isinstance(self.table, dict) and isinstance(self.table.get("parts"), list):
            for row, payload in zip(self.table["parts"], self.payloads, strict=False):
                if isinstance(row, dict):
                    row["bytes"] = len(payload)
                    row["crc32"] = f"{zlib.crc32(payload):08x}"
        text = self.table if isinstance(self.table, bytes) else json.dumps(self.table).encode()
        plain = text + self.graph
        stored = self.stored
        if stored is None:
            stored = plain
            if self.method == 1:
                stored = lzma.compress(plain, lzma.FORMAT_RAW, filters=head_filters(len(plain)))
        return with_prefix(stored, len(text), len(self.graph), b"".join(self.payloads), self.method)


def with_prefix(
    stored: bytes, json_bytes: int, graph_bytes: int, payloads: bytes, method: int, version: int = 1
) -> bytes:
    total = 36 + len(stored) + len(payloads)
    prefix = struct.pack("<8sHHQIII", MAGIC, version, method, total, len(stored), json_bytes, graph_bytes)
    return prefix + struct.pack("<I", zlib.crc32(prefix + stored)) + stored + payloads


def decoded(path: Path, data: bytes) -> dict[str, bytes]:
    """Write `data`, read it as `.enx`, decode everything; type, shape and bytes of every weight by name."""
    path.write_bytes(data)
    return weights_of(CompressedModel.read(path).to_model(threads=1))


def weights_of(model: Model) -> dict[str, bytes]:
    found = {}
    for name in model.weight_names:
        array = model.load(name)
        found[name] = f"{array.dtype}{array.shape}".encode() + array.tobytes()
    return found
