"""`verify` finds what is wrong, and nothing where nothing is."""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from enx_samples import DEMO, noise, small_model, small_proto
from enxuto.compression.data_free import compress
from enxuto.enx.file import CompressedModel
from enxuto.enx.verify import verify
from enxuto.onnx_model import Model
from enxuto.quantize.scalar import DeadZone, Half, Minifloat, MuLaw
from enxuto.quantize.schemes import BalancedSteps, RangeSteps, SameQuantizer, Scheme

SCHEMES: list[Scheme] = [
    BalancedSteps(0.16),
    BalancedSteps(0.3, "tensor"),
    RangeSteps(5, "channel", delta=0.0),
    SameQuantizer(DeadZone(0.05, 0.7)),
    SameQuantizer(MuLaw(1024, 255.0)),
    SameQuantizer(Minifloat(4, 7)),
    SameQuantizer(Half()),
]


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_a_sound_file_passes(scheme: Scheme) -> None:
    model = small_model(40)
    result = verify(compress(model, scheme), model)
    assert result.ok
    assert result.problems == ()
    assert {check.name for check in result.checks if not check.exact} == {"conv.w", "fc.w"}
    assert all(check.largest_error == 0 for check in result.checks if check.exact)
    assert json.dumps(result.to_dict(), allow_nan=False)
    alone = verify(compress(model, scheme))
    assert alone.ok
    assert not alone.compared
    assert alone.checks == ()


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("name", ["fc.w", "conv.w", "bn.var"])
def test_one_flipped_weight_is_found(name: str, scheme: Scheme) -> None:
    model = small_model(40)
    array = model.load(name).copy()
    place = np.abs(array).argmax()
    array.flat[place] = -array.flat[place]
    result = verify(compress(model, scheme), model.replace_weights({name: array}))
    assert not result.ok
    assert [check.name for check in result.checks if not check.ok] == [name]
    assert len(result.problems) == 1
    assert f"'{name}'" in result.problems[0]


@pytest.mark.recent
@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.dtype(ml_dtypes.bfloat16)], ids=str)
@pytest.mark.parametrize("step", [1e-5, 0.03])
def test_other_float_types_are_judged_too(dtype: np.dtype, step: float) -> None:
    values = noise(40, 50, scale=1).astype(dtype)
    graph = helper.make_graph(
        [helper.make_node("Cast", ["w"], ["f"], to=1), helper.make_node("MatMul", ["x", "f"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 40])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, "w")],
    )
    model = Model.from_proto(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    )
    made = compress(model, SameQuantizer(DeadZone(step)))
    assert verify(made, model).ok
    if any(part.row.coder != "planes" for part in made.payloads):
        values = values.copy()
        values[3, 3] += np.array(0.3, dtype)
        assert not verify(made, model.replace_weights({"w": values})).ok


def test_clipped_values_are_found() -> None:
    model = small_model(40)
    made = compress(model, SameQuantizer(DeadZone(0.01, clip=(-0.1, 0.1))))
    result = verify(made, model)
    assert {check.name for check in result.checks if not check.ok} == {"conv.w", "fc.w"}
    assert "off by up to" in result.problems[0]


def test_another_model_is_found() -> None:
    made = compress(small_model(40))
    assert any("it is another model" in problem for problem in verify(made, Model.read(DEMO)).problems)
    narrower = verify(made, small_model(20))
    assert not narrower.ok
    proto = small_proto(40)
    proto.graph.node[1].attribute[0].ints[0] = 2
    assert any("graph" in problem for problem in verify(made, Model.from_proto(proto)).problems)


def test_a_value_kept_in_the_graph_is_compared() -> None:
    model = small_model(40)
    changed = model.replace_weights({"fine": np.array([-1, 640], np.int64)})
    assert any("value kept in it" in problem for problem in verify(compress(model), changed).problems)


def test_folded_models_are_compared_with_the_folded_original() -> None:
    model = small_model(40)
    assert verify(compress(model, fold_bn=True), model).ok


def test_kept_documentation_is_no_difference(tmp_path: Path) -> None:
    proto = small_proto(40)
    proto.graph.node[0].doc_string = "a note"
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    made = compress(Model.read(path, keep_docs=True))
    assert b"a note" in made.skeleton
    assert verify(made, Model.read(path)).ok
    assert verify(compress(Model.read(path)), Model.read(path, keep_docs=True)).ok


def test_every_damaged_payload_is_named(tmp_path: Path) -> None:
    made = compress(small_model(40))
    path = tmp_path / "m.enx"
    made.save(path)
    data = bytearray(path.read_bytes())
    position = made.head_bytes
    for part in made.payloads:
        data[position] ^= 1
        position += part.row.bytes
    path.write_bytes(data)
    result = verify(CompressedModel.read(path), small_model(40))
    assert len(result.problems) == len(made.payloads) > 1
    for problem, part in zip(result.problems, made.payloads, strict=True):
        assert part.row.label in problem
        assert "checksum" in problem


def test_progress_is_reported() -> None:
    made = compress(small_model(40))
    told: list[int] = []
    verify(made, progress=lambda what, done, total: told.append(done))
    assert told == list(range(len(made.payloads)))
