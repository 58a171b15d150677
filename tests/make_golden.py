"""Tiny deterministic models, and how the golden files of `test_golden.py` are made of them.

    python tests/make_golden.py      # rewrites the literals in tests/enx/test_golden.py

Only a deliberate change of the format is a reason to run it, and `docs/format.md` then has a new version number.
"""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from enxuto import CompressedModel
from enxuto.codec import Coder
from enxuto.compression.data_free import compress
from enxuto.enx.fingerprint import FINGERPRINT_KEY
from enxuto.enx.payload import Payload
from enxuto.enx.table import ExactRow, TensorEntry
from enxuto.onnx_model import Model, array_bytes, skeleton
from enxuto.quantize.grid import Grid
from enxuto.quantize.scalar import DeadZone, Half, Minifloat, MuLaw, Quantizer
from enxuto.quantize.schemes import SameQuantizer

INFO = {"made_by": "golden"}  # in place of the version, which changes


def ramp(*shape: int, seed: int = 37) -> np.ndarray:
    """Multiples of 1/64 from −50/64 to 50/64, the small ones more often."""
    numbers = np.arange(int(np.prod(shape))) * seed % 101 - 50
    return (numbers * np.abs(numbers) / 50 // 1 / 64).reshape(shape)


def model(weights: dict[str, np.ndarray | TensorProto], nodes: list[NodeProto] | None = None) -> ModelProto:
    """A graph that multiplies by each matrix; other weights have no use."""
    tensors = [
        value if isinstance(value, TensorProto) else numpy_helper.from_array(value, name)
        for name, value in weights.items()
    ]
    products = [
        helper.make_node("MatMul", [f"x_{tensor.name}", tensor.name], [f"y_{tensor.name}"])
        for tensor in tensors
        if len(tensor.dims) == 2
    ]
    inputs = [helper.make_tensor_value_info(node.input[0], 1, None) for node in products]
    outputs = [helper.make_tensor_value_info(node.output[0], 1, None) for node in products]
    inputs.append(helper.make_tensor_value_info("x", 1, None))
    outputs.append(helper.make_tensor_value_info("y", 1, None))
    nodes = [*products, *(nodes or [helper.make_node("Relu", ["x"], ["y"])])]
    graph = helper.make_graph(nodes, "golden", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def quantized(quantizer: Quantizer, proto: ModelProto) -> CompressedModel:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "golden.onnx"
        path.write_bytes(proto.SerializeToString(deterministic=True))
        made = compress(path, SameQuantizer(quantizer), metadata=INFO)
    parts = tuple(with_coder("order0", part) for part in made.payloads)
    # Without the hash of the original, which `tests/enx/test_verify.py` works out by hand.
    known = {key: value for key, value in made.metadata.items() if key != FINGERPRINT_KEY}
    return CompressedModel(made.skeleton, parts, known)


def with_coder(coder: Coder, part: Payload) -> Payload:
    """Code a part's levels with this coder, whether or not another is shorter."""
    if isinstance(part.row, ExactRow):
        return part
    tensors = part.levels()
    levels = np.concatenate([tensor.levels.reshape(-1) for tensor in tensors.values()])
    return Payload.levels_of(part.row.tensors, part.quantizer(), levels, coder=coder)


def exact() -> CompressedModel:
    """Every kind of exact value: two tensors share a row; four-bit numbers are packed; one is a Constant's."""
    values = ramp(9, seed=5)
    constant = helper.make_node(
        "Constant", [], ["c"], value=numpy_helper.from_array(np.float32(values), "inner")
    )
    nodes = [constant, helper.make_node("Add", ["x", "c"], ["y"])]
    weights = {
        "f32": np.float32(values * np.pi),
        "f64": values / 3,
        "f16": np.float16(values / 3),
        "i64": np.arange(160) // 7 * -(2**33),
        "i8": np.int8(np.arange(1100) % 50 // 40 * -3),
        "flag": np.arange(1500) % 300 == 7,
        "i4": helper.make_tensor("i4", TensorProto.INT4, [2101], [i // 300 - 4 for i in range(2101)]),
        "bf16": numpy_helper.from_array(values.astype(ml_dtypes.bfloat16), "bf16"),
    }
    return quantized(DeadZone(1.0), model(weights, nodes))


def zeros() -> CompressedModel:
    """Padding, with both coders; several chunks, with raw bits in each."""
    sparse = np.zeros((2, 131_100), np.float32)
    sparse.reshape(-1)[::30011] = np.arange(9) * 777 - 3000
    zero = np.zeros(300_000, np.float32)
    weights = {"exact": zero, "levels": zero.reshape(2, -1), "sparse": sparse}
    return quantized(DeadZone(0.5), model(weights))


def names() -> CompressedModel:
    """Weights in a subgraph in a subgraph, and in a function."""
    weight = np.float32(ramp(8, 8))
    inner = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["p"])],
        "inner",
        [],
        [helper.make_tensor_value_info("p", 1, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    node = helper.make_node("If", ["flag"], ["", "o"], then_branch=inner)
    outer = helper.make_graph([node], "outer", [], [helper.make_tensor_value_info("o", 1, None)])
    constant = helper.make_node(
        "Constant", [], ["k"], value=numpy_helper.from_array(weight[::-1].copy(), "k")
    )
    function = helper.make_function(
        "golden", "F", ["a"], ["b"],
        [constant, helper.make_node("MatMul", ["a", "k"], ["b"])], [helper.make_opsetid("", 17)],
    )  # fmt: skip
    nodes = [
        helper.make_node("If", ["flag"], ["z"], then_branch=outer),
        helper.make_node("F", ["z"], ["y"], domain="golden"),
    ]
    proto = model({}, nodes)
    proto.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, []))
    proto.functions.append(function)
    proto.opset_import.append(helper.make_opsetid("golden", 1))
    return quantized(DeadZone(0.0625), proto)


def shared() -> CompressedModel:
    """One row of levels for two tensors; the low bits are stored raw (`shift`)."""
    zero = np.zeros((10, 10), np.float32)
    graph = skeleton(Model.from_proto(model({"first": zero, "second": zero})), ["first", "second"])
    entries = [TensorEntry(name=name, shape=(10, 10), type=1) for name in ("first", "second")]
    numbers = np.arange(200)
    levels = (numbers % 7 - 3) * 2**13 + numbers * 40503 % 2**12
    part = Payload.levels_of(entries, DeadZone(2.0**-12), levels.astype(np.int32), coder="order0")
    return CompressedModel(graph, (part,), INFO)


def scaled(
    shapes: list[tuple[int, ...]], levels: np.ndarray, quantizer: Quantizer | None = None
) -> CompressedModel:
    """One row of levels coded by scales and neighbours, of tensors of those shapes."""
    names = [f"w{i}" for i in range(len(shapes))]
    zeros_of = {name: np.zeros(shape, np.float32) for name, shape in zip(names, shapes, strict=True)}
    graph = skeleton(Model.from_proto(model(zeros_of)), names)
    entries = [TensorEntry(name=name, shape=shape, type=1) for name, shape in zip(names, shapes, strict=True)]
    steps = quantizer or DeadZone(2.0**-6)
    part = Payload.levels_of(entries, steps, levels.astype(np.int32), coder="contexts")
    return CompressedModel(graph, (part,), INFO)


def on_trellis(levels: np.ndarray, quantizer: Grid, coder: Coder | None = None) -> CompressedModel:
    """One tensor of levels of dependent quantization, in the quantizer's coder if no other is named."""
    coder = coder or ("trellis" if quantizer.trellis == 8 else "trellis-32")
    graph = skeleton(Model.from_proto(model({"w": np.zeros(levels.shape, np.float32)})), ["w"])
    entry = TensorEntry(name="w", shape=levels.shape, type=1)
    part = Payload.levels_of([entry], quantizer, levels.astype(np.int32), coder=coder)
    return CompressedModel(graph, (part,), INFO)


def smooth(rows: int, columns: int) -> np.ndarray:
    """Kernels of 3×4 whose neighbours are alike, of several scales."""
    n, p = np.arange(rows * columns)[:, None], np.arange(12)[None, :]
    wave = (n * 37 % 29 - 14) * (1 + n // columns % 3) * (12 - np.abs(p % 4 - n % 4) - p // 4)
    return (wave // 64 + (n * 7 + p * 5) % 11 // 9).reshape(rows, columns, 3, 4)


def lanes() -> CompressedModel:
    """Four states, as there are many kernels, nearly all of zeros; two kernels over."""
    levels = np.zeros((5462, 12), np.int64)
    levels[::700] = smooth(8, 1).reshape(-1, 12)
    return scaled([(5462, 1, 3, 4)], levels)


def bare() -> CompressedModel:
    """No weights; a head so short that it is stored as it is."""
    graph = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "", [], [])
    return CompressedModel(helper.make_model(graph, ir_version=8).SerializeToString(), (), {})


def cases() -> dict[str, Callable[[], CompressedModel]]:
    """All golden files by name."""
    weight = np.float32(ramp(8, 8))
    kernel = np.float32(ramp(4, 3, 3, 3))
    conv = [helper.make_node("Conv", ["x", "kernel"], ["y"])]
    steps = DeadZone((0.125, 0.1, 0.03, 0.25), 0.375, axis=0)
    brain = numpy_helper.from_array(weight.astype(ml_dtypes.bfloat16), "w")
    return {
        "network": lambda: quantized(DeadZone(0.1), model({"w": weight})),
        "channel": lambda: quantized(steps, model({"kernel": kernel}, conv)),
        "midrise": lambda: quantized(DeadZone(0.07, 0.0), model({"w": np.float16(weight)})),
        "mu-law": lambda: quantized(MuLaw(16, 16.0, 0.78), model({"w": np.float64(weight)})),
        "minifloat": lambda: quantized(Minifloat(3, 2, 0.25), model({"w": brain})),
        "half": lambda: quantized(Half(), model({"w": weight * np.float32(1.1)})),
        "wide": lambda: quantized(DeadZone(2.0**-22), model({"w": np.float32(weight * np.pi)})),
        "exact": exact,
        "zeros": zeros,
        "names": names,
        "shared": shared,
        "bare": bare,
        "kernels": lambda: scaled([(6, 4, 3, 4)], smooth(6, 4)),
        "matrix": lambda: scaled([(12, 16)], ramp(12, 16) * 64 * np.arange(1, 13)[:, None] // 12),
        "far": lambda: scaled([(9, 9)], ramp(9, 9) * 2**19 * (np.arange(81).reshape(9, 9) % 5 == 0)),
        "bundle": lambda: scaled([(30,), (5, 0), (), (7, 3)], np.arange(52) * 31 % 23 - 11),
        "lanes": lanes,
        "grid": lambda: quantized(Grid(0.1, (0, -3, 9, 2), (5, 0, -2)), model({"kernel": kernel}, conv)),
        "grid columns": lambda: quantized(Grid(0.07, (), (0, 1, 2, 3, 4, -1, -5, 7)), model({"w": weight})),
        "trellis": lambda: on_trellis(smooth(6, 4), Grid(2.0**-6, (0, 1, -2, 3, 0, 4), (), 8)),
        "trellis matrix": lambda: on_trellis(ramp(12, 16) * 64 // 5, Grid(2.0**-4, trellis=8)),
        "trellis order0": lambda: on_trellis(ramp(7, 9) * 64 // 9, Grid(0.1, trellis=8), "order0"),
        "trellis lanes": lambda: on_trellis(
            np.where(np.arange(5462 * 13).reshape(5462, 13) % 97, 0, 3), Grid(0.1, trellis=8)
        ),
        "steps of tensors": lambda: scaled(
            [(30,), (5, 0), (), (7, 3)], np.arange(52) * 31 % 23 - 11, Grid(0.1, (0, 7, -5, 2))
        ),
        "32 states": lambda: on_trellis(smooth(6, 4), Grid(2.0**-6, (0, 1, -2, 3, 0, 4), (), 32)),
    }


def more_of_32_states() -> dict[str, CompressedModel]:
    """Files that stand in `tests/conformance` alone, as literals of all would be long."""
    spread = np.where(np.arange(5462 * 13).reshape(5462, 13) % 97, 0, 3)
    return {
        "32 states matrix": on_trellis(ramp(12, 16) * 64 // 5, Grid(2.0**-4, trellis=32)),
        "32 states order0": on_trellis(ramp(7, 9) * 64 // 9, Grid(0.1, trellis=32), "order0"),
        "32 states lanes": on_trellis(spread, Grid(0.1, trellis=32)),
    }


def values_of(compressed: CompressedModel) -> dict[str, str]:
    """Each tensor's bytes: as they are, or from 25 on the first eight and 20 of SHA-256."""
    found = {}
    for part in compressed.payloads:
        types = {entry.name: entry.data_type for entry in part.row.tensors}
        for name, array in part.arrays().items():
            found[name] = digest(bytes(array_bytes(array, types[name])))
    return found


def digest(data: bytes) -> str:
    return data.hex() if len(data) < 25 else f"{data[:8].hex()} {hashlib.sha256(data).hexdigest()[:40]}"


def main() -> None:
    lines = ["GOLDEN = {"]
    for name, make in cases().items():
        compressed = make()
        text = base64.b85encode(compressed.to_bytes()).decode()
        lines.append(f'    "{name}": (')
        lines += [f'        "{text[i : i + 96]}"' for i in range(0, len(text), 96)]
        lines[-1] += ","
        lines.append("        {")
        lines += [f'            "{key}": "{value}",' for key, value in values_of(compressed).items()]
        lines += ["        },", "    ),"]
    path = Path(__file__).parent / "enx" / "test_golden.py"
    before, rest = path.read_text(encoding="utf-8").split("# golden files\n")
    behind = rest.split("# end of golden files\n")[1]
    new = "\n".join([*lines, "}", ""])
    path.write_text(f"{before}# golden files\n{new}# end of golden files\n{behind}", encoding="utf-8")


if __name__ == "__main__":
    main()
