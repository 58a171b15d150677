"""The ledger: measured rows are sizes on disk, the bound is a bound."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from enx_samples import DEMO, small_model
from enxuto.codec import entropy
from enxuto.compression.data_free import compress
from enxuto.enx.file import CompressedModel
from enxuto.enx.learned import parameters
from enxuto.enx.ledger import Ledger, LedgerRow, entropy_bytes, ledger_of, original_sizes
from enxuto.onnx_model import Model
from enxuto.quantize.scalar import DeadZone, Half
from enxuto.quantize.schemes import SameQuantizer


def row(ledger: Ledger, name: str) -> LedgerRow:
    return next(row for row in ledger.rows if name in row.name)


@pytest.mark.parametrize(
    "scheme", [None, SameQuantizer(DeadZone(0.3)), SameQuantizer(DeadZone(1e-4)), SameQuantizer(Half())]
)
def test_numbers_add_up(scheme: SameQuantizer | None, tmp_path: Path) -> None:
    made = compress(DEMO, scheme, metadata={"original": original_sizes(DEMO)})
    path = tmp_path / "m.enx"
    made.save(path)
    for compressed in (made, CompressedModel.read(path)):
        ledger = ledger_of(compressed)
        assert [r.measured for r in ledger.rows] == [False, True, True, False, True]
        assert ledger.parameters == parameters(Model.read(DEMO))
        assert ledger.rows[0].bytes == 4 * ledger.parameters
        assert row(ledger, ".enx").bytes == path.stat().st_size
        assert row(ledger, "order-0").bytes < 1.1 * path.stat().st_size
        assert ledger.rows[1].bytes == DEMO.stat().st_size
        assert ledger.ratio(row(ledger, ".enx")) == pytest.approx(4 * ledger.parameters / path.stat().st_size)
        assert ledger.bits(row(ledger, ".enx")) == pytest.approx(8 * path.stat().st_size / ledger.parameters)
        facts = ledger.to_dict()
        assert json.loads(json.dumps(facts)) == facts
        assert facts["rows"][-1]["bytes"] == path.stat().st_size


def test_xz_is_what_xz_gives() -> None:
    sizes = original_sizes(DEMO)
    assert sizes == {
        "bytes": DEMO.stat().st_size,
        "xz_bytes": len(lzma.compress(DEMO.read_bytes(), preset=6)),
    }
    assert original_sizes(DEMO, xz=False) == {"bytes": DEMO.stat().st_size}


def test_all_files_a_model_needs_are_counted(tmp_path: Path) -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1000])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    (tmp_path / "w.bin").write_bytes(bytes(4000))
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1000])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1000])],
        [tensor],
    )
    proto = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    assert original_sizes(tmp_path / "m.onnx")["bytes"] == 4000 + len(proto.SerializeToString())


def test_the_bound_of_levels_is_their_entropy_and_that_of_exact_values_that_of_their_planes() -> None:
    made = compress(small_model(40))
    for part in made.payloads:
        if part.row.coder != "planes":
            expected = sum(entropy(t.levels) * t.levels.size / 8 for t in part.levels().values())
        else:
            data = b"".join(array.tobytes() for array in part.arrays().values())
            planes = np.frombuffer(data, np.uint8).reshape(-1, 4).T
            expected = sum(entropy(plane.astype(np.int32)) * plane.size / 8 for plane in planes)
        assert entropy_bytes(part) == pytest.approx(expected)
        assert entropy_bytes(part) < 1.1 * part.row.bytes


def test_exact_values_that_shrink_are_below_their_size() -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"])],
        "g",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones(50_000, np.float32), "w")],
    )
    model = Model.from_proto(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    )
    ledger = ledger_of(compress(model))
    assert row(ledger, "order-0").bytes == 0
    assert row(ledger, ".enx").bytes < 1000


def test_ledger_without_an_original_and_without_parameters() -> None:
    made = compress(small_model())
    assert len(ledger_of(made).rows) == 3
    bare = CompressedModel(made.skeleton, made.payloads, {})
    quantized = sum(e.elements for e, part in bare.entries() if part.row.coder != "planes")
    assert ledger_of(bare).parameters == quantized
    empty = Ledger(0, (LedgerRow("a", 0.0, measured=False), LedgerRow("b", 0.0, measured=True)))
    assert empty.bits(empty.rows[1]) == 0
    assert empty.ratio(empty.rows[1]) == float("inf")


@pytest.mark.parametrize("original", [None, {"bytes": 5000}, {"bytes": 5000, "xz_bytes": 800}])
def test_a_model_without_weights_is_compared_with_its_file(original: dict[str, int] | None) -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
    )
    model = Model.from_proto(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    )
    made = compress(model, metadata={} if original is None else {"original": original})
    ledger = ledger_of(made)
    names = [one.name for one in ledger.rows]
    assert ledger.parameters == 0
    if original is None:
        assert names == ["float32 weights", ".enx file"]
    else:
        assert names == ["ONNX file", *(["ONNX file, xz"] if "xz_bytes" in original else []), ".enx file"]
        assert ledger.ratio(ledger.rows[-1]) == pytest.approx(5000 / made.file_bytes)
