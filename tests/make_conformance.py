"""Make `tests/conformance/`: small `.enx` files and what every decoder must say of them.

    PYTHONPATH=src:tests python tests/make_conformance.py

`sound/*.enx` must be read. `expected.json` holds for each the SHA-256 of the ONNX model and, for each tensor, its type,
its shape, the SHA-256 of its bytes and its integer levels (of more than 300, the SHA-256 of them as int32).
`damaged/*.enx` must be refused; `expected.json` says what is wrong, in the words of `enum enx_code` of decoder/enx.h.
What is expected comes from the package and from `examples/decode_enx.py`, never from the C decoder.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from onnx import TensorProto, helper

import enx_variants
from enx_samples import DEMO, Taken
from enxuto.compression.data_free import compress
from enxuto.enx.file import CompressedModel
from enxuto.enx.payload import Payload
from enxuto.enx.table import TensorEntry
from enxuto.onnx_model import Model, array_bytes, skeleton
from enxuto.quantize.grid import Grid
from make_golden import cases, model, more_of_32_states, quantized, ramp

FOLDER = Path(__file__).parent / "conformance"
EXAMPLE = Path(__file__).parents[1] / "examples" / "decode_enx.py"
MOST_LEVELS = 300


def load_example() -> ModuleType:
    """`examples/decode_enx.py` as a module."""
    spec = importlib.util.spec_from_file_location("decode_enx", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def every_type() -> CompressedModel:
    """A weight of each type that ONNX has for numbers and truth values, kept exactly."""
    packed = {21: 2, 22: 2, 23: 2, 25: 4, 26: 4}
    widths = {
        1: 4,
        2: 1,
        3: 1,
        4: 2,
        5: 2,
        6: 4,
        7: 8,
        9: 1,
        10: 2,
        11: 8,
        12: 4,
        13: 8,
        14: 8,
        15: 16,
        16: 2,
    }
    weights, parts = {}, []
    for kind in (*widths, *range(17, 27)):
        count = 7
        size = -(-count // packed[kind]) if kind in packed else count * widths.get(kind, 1)
        values = bytes((i * 37 + kind) % (2 if kind == 9 else 127) for i in range(size))
        if kind in packed:  # the last byte has room for one element more, which is zero
            values = values[:-1] + bytes([values[-1] & (0x0F if packed[kind] == 2 else 0x3F)])
        one = TensorProto(name=f"type{kind}", data_type=kind, dims=[count], raw_data=values)
        weights[one.name] = one
        parts.append(Payload.exact_of([TensorEntry(name=one.name, shape=(count,), type=kind)], values))
    graph = skeleton(Model.from_proto(model(weights)), list(weights))
    return CompressedModel(graph, tuple(parts), {"made_by": "hand"})


def on_types() -> dict[str, CompressedModel]:
    """Every type that a quantized tensor may have."""
    weight = np.float32(ramp(8, 8))
    brain = helper.make_tensor("w", TensorProto.BFLOAT16, [8, 8], weight.reshape(-1).tolist())
    arrays = {
        "float32": weight,
        "float16": np.float16(weight),
        "float64": np.float64(weight),
        "bfloat16": brain,
    }
    return {f"quantized {name}": quantized(Grid(0.03), model({"w": array})) for name, array in arrays.items()}


def sound() -> dict[str, bytes]:
    """All files that must be read, by name."""
    files = {name: make().to_bytes() for name, make in cases().items()}
    files |= {name: one.to_bytes() for name, one in (on_types() | more_of_32_states()).items()}
    files["every type"] = every_type().to_bytes()
    files["digits"] = compress(DEMO, bits=3).to_bytes()
    bases = enx_variants.bases()
    for name in enx_variants.GOOD:
        files[f"good {name}"] = folded(enx_variants.variant(name, bases))
    return files


def folded(data: bytes) -> bytes:
    """The same file with its head compressed, which is shorter."""
    taken = Taken.apart(data)
    length = struct.unpack_from("<I", data, 24)[0]
    taken.table = data[36 : 36 + length]
    taken.method = 1
    return taken.to_bytes(fix_rows=False)


def damaged(bases: dict[str, Taken]) -> dict[str, tuple[bytes, str]]:
    """All files that must be refused, by name, and the code of what is wrong."""
    data = bases["half"].to_bytes()
    files: dict[str, tuple[bytes, str]] = {
        "empty": (b"", "NOT_ENX"),
        "a page": (b"<!doctype html><title>404</title>\n", "NOT_ENX"),
        "a Git LFS pointer": (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n",
            "NOT_ENX",
        ),
        "cut in the prefix": (data[:20], "CUT_OFF"),
        "cut at the end": (data[:-1], "CUT_OFF"),
        "too long": (data + b"\0", "TOO_LONG"),
        "version 9": (data[:8] + struct.pack("<H", 9) + data[10:], "VERSION"),
        "a flipped bit in the head": (data[:60] + bytes([data[60] ^ 1]) + data[61:], "HEAD"),
        "a flipped bit in a payload": (data[:-1] + bytes([data[-1] ^ 1]), "PAYLOAD"),
    }
    payloads = {"padding that is not zero", "levels outside a minifloat", "bytes for no elements", "a truth value of 2",
                "filled with ones", "level beyond a trellis", "steps of tensors that no float32 has",
                "steps of tensors beyond float32"}  # fmt: skip
    graphs = list(enx_variants.BAD)[list(enx_variants.BAD).index("emptied and not listed") :]
    graphs += ["type in the table alone", "shape in the table alone"]
    for name in enx_variants.BAD:
        code = "PAYLOAD" if name in payloads else "GRAPH" if name in graphs else "TABLE"
        files[name] = (enx_variants.variant(name, bases), code)
    for name, base in (
        ("order0", "dead zone"),
        ("contexts", "contexts"),
        ("trellis", "trellis"),
        ("trellis of 32", "trellis of 32"),
    ):
        taken = copy.deepcopy(bases[base])
        payload = bytearray(taken.payloads[0])
        payload[len(payload) // 2] ^= 16
        taken.payloads[0] = bytes(payload)
        files[f"{name} that does not end as it should"] = (taken.to_bytes(), "PAYLOAD")
    return files


def expected_of(data: bytes, path: Path, example: ModuleType) -> dict[str, Any]:
    """What a decoder must find in a sound file."""
    path.write_bytes(data)
    tensors = {}
    for part in CompressedModel.read(path).payloads:
        exact = part.row.coder == "planes"
        levels = {} if exact else part.levels()
        for entry, array in zip(part.row.tensors, part.arrays().values(), strict=True):
            values = bytes(array_bytes(array, entry.data_type))
            found = {"type": entry.data_type, "shape": list(entry.shape), "sha256": sha256(values)}
            if not exact:
                flat = levels[entry.name].levels.reshape(-1).astype("<i4")
                found["levels"] = flat.tolist() if len(flat) <= MOST_LEVELS else sha256(flat.tobytes())
            tensors[entry.name] = found
    restored = example.restore(data)
    return {"onnx_bytes": len(restored), "onnx_sha256": sha256(restored), "tensors": tensors}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def file_name(name: str) -> str:
    kept = "".join(c if c.isalnum() else " " for c in name)
    return "-".join(kept.split()) + ".enx"


def main() -> None:
    example = load_example()
    found: dict[str, dict[str, Any]] = {"sound": {}, "damaged": {}}
    for kind in found:
        (FOLDER / kind).mkdir(parents=True, exist_ok=True)
        for path in (FOLDER / kind).glob("*.enx"):
            path.unlink()
    for name, data in sound().items():
        path = FOLDER / "sound" / file_name(name)
        found["sound"][path.name] = expected_of(data, path, example)
    for name, (data, code) in damaged(enx_variants.bases()).items():
        path = FOLDER / "damaged" / file_name(name)
        path.write_bytes(data)
        found["damaged"][path.name] = code
    lines = json.dumps(found, ensure_ascii=False, separators=(",", ":")).replace('}},"', '}},\n"')
    (FOLDER / "expected.json").write_text(lines + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
