"""Weights of every element type and every place survive reading, the skeleton and writing, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_graphs import constant, floats, initializer, model_of, small_network, with_branches

from enxuto.errors import FormatError, ModelError
from enxuto.onnx_model import (
    Model,
    array_bytes,
    array_from_bytes,
    check_finite,
    fill,
    numpy_dtype,
    skeleton,
    skeleton_slots,
)

TYPES = [name for name, code in TensorProto.DataType.items() if numpy_dtype(code) is not None]


def random_bits(data_type: int, shape: tuple[int, ...]) -> np.ndarray:
    """Any bit pattern there is, NaN payloads too."""
    dtype = numpy_dtype(data_type)
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.random.default_rng(data_type).integers(0, 256, size, dtype=np.uint8)
    if dtype == np.bool_:
        raw &= 1
    name = TensorProto.DataType.Name(data_type)
    if name in {"UINT4", "FLOAT4E2M1", "UINT2"}:
        raw &= 15 if "4" in name else 3
    if name in {"INT4", "INT2"}:
        half = 8 if name == "INT4" else 2
        raw = (raw.astype(np.int16) % (2 * half) - half).astype(np.int8).view(np.uint8)
    return raw.view(dtype).reshape(shape)


def as_tensor(name: str, array: np.ndarray, data_type: int) -> TensorProto:
    return TensorProto(
        name=name, data_type=data_type, dims=array.shape, raw_data=bytes(array_bytes(array, data_type))
    )


def same_bits(left: np.ndarray, right: np.ndarray) -> bool:
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


@pytest.mark.parametrize("type_name", TYPES)
@pytest.mark.parametrize("shape", [(3, 5), (7,), (), (0, 3)])
def test_every_type_survives_every_way(type_name: Any, shape: Any, tmp_path: Path) -> None:
    code = TensorProto.DataType.Value(type_name)
    array = random_bits(code, shape)
    proto = model_of(
        [
            helper.make_node("Constant", [], ["k"], value=as_tensor("", array, code)),
            helper.make_node("Relu", ["x"], ["y"]),
        ],
        [as_tensor("w", array, code)],
    )
    model = Model.from_proto(proto)
    assert model.weight_names == ["w", "k"]
    for name in ("w", "k"):
        assert same_bits(model.load(name), array)
        assert model.info(name).shape == shape
        assert model.info(name).data_type == code
        assert model.info(name).elements == array.size
    data = skeleton(model, ["w", "k"])
    assert skeleton_slots(data) == {"w": (shape, code), "k": (shape, code)}
    back = fill(data, {name: model.load(name) for name in ("w", "k")})
    back.write(tmp_path / "m.onnx")
    again = Model.read(tmp_path / "m.onnx")
    assert all(same_bits(again.load(name), array) for name in ("w", "k"))
    assert again.to_bytes() == model.to_bytes() == (tmp_path / "m.onnx").read_bytes()
    # The reference implementation sees the same values.
    assert onnx.load(tmp_path / "m.onnx").graph.initializer[0].raw_data == proto.graph.initializer[0].raw_data


@pytest.mark.recent
@pytest.mark.parametrize("type_name", TYPES)
def test_typed_fields_are_read_as_onnx_reads_them(type_name: Any) -> None:
    code = TensorProto.DataType.Value(type_name)
    values = [0, 1, 1, 0, 1]
    tensor = helper.make_tensor("w", code, [5], values)
    assert not tensor.HasField("raw_data")
    model = Model.from_proto(model_of([helper.make_node("Relu", ["x"], ["y"])], [tensor]))
    assert same_bits(model.load("w"), np.asarray(numpy_helper.to_array(tensor), dtype=numpy_dtype(code)))


def test_signalling_nan_in_float_data_keeps_its_bits() -> None:
    bits = np.array([0x7F800001, 0xFFC12345, 0x3F800000], np.uint32)
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3])
    tensor.MergeFromString(b"\x22\x0c" + bits.tobytes())
    model = Model.from_proto(model_of([helper.make_node("Relu", ["x"], ["y"])], [tensor]))
    assert model.load("w").view(np.uint32).tolist() == bits.tolist()


def test_negative_and_large_integers_in_typed_fields() -> None:
    tensors = [
        helper.make_tensor("i8", TensorProto.INT8, [2], [-128, 127]),
        helper.make_tensor("u32", TensorProto.UINT32, [1], [2**32 - 1]),
        helper.make_tensor("u64", TensorProto.UINT64, [1], [2**64 - 1]),
        helper.make_tensor("i64", TensorProto.INT64, [1], [-(2**63)]),
        helper.make_tensor("i4", TensorProto.INT4, [3], [-8, 7, -1]),
    ]
    model = Model.from_proto(model_of([helper.make_node("Relu", ["x"], ["y"])], tensors))
    loaded = {name: model.load(name).astype(object).tolist() for name in model.weight_names}
    assert {name: [int(v) for v in values] for name, values in loaded.items()} == {
        "i8": [-128, 127],
        "u32": [2**32 - 1],
        "u64": [2**64 - 1],
        "i64": [-(2**63)],
        "i4": [-8, 7, -1],
    }


def test_sub_byte_types_take_half_a_byte_in_files() -> None:
    array = np.array([-8, 7, 3], ml_dtypes.int4)
    packed = bytes(array_bytes(array, TensorProto.INT4))
    assert packed == bytes([0x78, 0x03])
    assert array_from_bytes(packed, (3,), TensorProto.INT4).tolist() == array.tolist()


def test_strings_and_sparse_tensors_stay_in_the_graph() -> None:
    strings = helper.make_tensor("s", TensorProto.STRING, [2], [b"one", b"two"])
    proto = model_of([helper.make_node("Relu", ["x"], ["y"])], [strings, initializer("w", floats(3))])
    sparse = helper.make_sparse_tensor(
        initializer("sp", floats(2)), initializer("", np.array([1, 5], np.int64)), [9]
    )
    proto.graph.sparse_initializer.append(sparse)
    model = Model.from_proto(proto)
    assert model.weight_names == ["w"]
    back = fill(skeleton(model, ["w"]), {"w": floats(3)}).to_proto()
    assert list(next(t for t in back.graph.initializer if t.name == "s").string_data) == [b"one", b"two"]
    assert back.graph.sparse_initializer[0] == sparse


def test_names_in_branches_and_functions_are_unique_and_stable() -> None:
    proto = with_branches()
    body = [constant("w_main", floats(4, seed=3)), helper.make_node("Mul", ["a", "w_main"], ["b"])]
    proto.functions.append(
        helper.make_function("my", "scale", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    )
    model = Model.from_proto(proto)
    assert model.weight_names == [
        "yes",
        "w_main",
        *(f"t.{item.name}/{name}" for item in proto.graph.node[0].attribute for name in ("w_", "k")),
        "my:scale/w_main",
    ]
    assert model.load("t.else_branch/w_").tolist() == [3, 3, 3, 3]
    assert same_bits(model.load("my:scale/w_main"), floats(4, seed=3))
    data = skeleton(model, model.weight_names)
    assert list(skeleton_slots(data)) == model.weight_names
    back = fill(data, {name: model.load(name) for name in model.weight_names})
    assert back.to_bytes() == model.to_bytes()
    onnx.checker.check_model(back.to_proto())


def test_what_is_not_asked_for_stays_in_the_skeleton() -> None:
    model = Model.from_proto(small_network())
    data = skeleton(model, ["fc.w"])
    assert list(skeleton_slots(data)) == ["fc.w"]
    assert len(skeleton(model, [])) > len(data) > len(skeleton(model, model.weight_names))
    back = fill(data, {"fc.w": np.zeros((7, 5), np.float32)})
    assert same_bits(back.load("w"), model.load("w"))
    assert not back.load("fc.w").any()


def test_replaced_leaves_the_model_alone_and_reaches_the_skeleton() -> None:
    model = Model.from_proto(small_network())
    before = model.to_bytes()
    other = model.replace_weights({"w": np.zeros((5, 3, 3, 3), np.float32)})
    assert model.to_bytes() == before
    assert not other.load("w").any()
    assert not fill(skeleton(other, ["b"]), {"b": model.load("b")}).load("w").any()
    with pytest.raises(ValueError, match="read-only"):
        model.load("w")[0] = 1


@pytest.mark.parametrize(
    "array",
    [np.zeros((5, 3, 3), np.float32), np.zeros((5, 3, 3, 3), np.float64), np.zeros((5, 3, 3, 3), ">f4")],
)
def test_replaced_refuses_another_shape_or_type(array: Any) -> None:
    with pytest.raises(ModelError, match=r"weight 'w' must be float32 \[5, 3, 3, 3\], got"):
        Model.from_proto(small_network()).replace_weights({"w": array})


def test_unknown_names_are_model_errors() -> None:
    model = Model.from_proto(small_network())
    for ask in (model.info, model.load, lambda name: skeleton(model, [name])):
        with pytest.raises(ModelError, match="no weight 'nothing'"):
            ask("nothing")


def test_zero_element_tensors_are_not_mistaken_for_emptied_ones() -> None:
    proto = model_of(
        [helper.make_node("Relu", ["x"], ["y"])],
        [initializer("none", floats(0, 3)), initializer("w", floats(2))],
    )
    model = Model.from_proto(proto)
    assert list(skeleton_slots(skeleton(model, ["w"]))) == ["w"]
    assert list(skeleton_slots(skeleton(model, ["none"]))) == ["none"]
    assert fill(skeleton(model, ["w"]), {"w": floats(2)}).load("none").shape == (0, 3)


@pytest.mark.parametrize("arrays", [{}, {"w": floats(5, 3, 3, 3), "more": floats(1)}, {"w": floats(5, 3)}])
def test_fill_refuses_other_tensors_than_the_skeleton_lacks(arrays: Any) -> None:
    data = skeleton(Model.from_proto(small_network()), ["w"])
    with pytest.raises(FormatError):
        fill(data, arrays)


def test_hostile_skeletons_are_format_errors() -> None:
    model = Model.from_proto(with_branches())
    data = skeleton(model, ["w_main"])
    arrays = {"w_main": model.load("w_main")}
    generator = np.random.default_rng(7)
    attempts = [data[:cut] for cut in range(len(data))]
    for _ in range(3000):
        broken = bytearray(data)
        for place in generator.integers(0, len(data), generator.integers(1, 4)):
            broken[place] = generator.integers(0, 256)
        attempts.append(bytes(broken))
    refused = 0
    for attempt in attempts:
        try:
            fill(attempt, arrays).to_bytes()
        except FormatError:
            refused += 1
    assert len(attempts) > refused > 400


def test_a_skeleton_never_reads_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_bytes(floats(4).tobytes())
    monkeypatch.chdir(tmp_path)
    model = Model.from_proto(with_branches())
    proto = onnx.ModelProto.FromString(skeleton(model, ["w_main"]))
    emptied = next(tensor for tensor in proto.graph.initializer if tensor.name == "w_main")
    emptied.external_data.add(key="location", value="secret")
    for arrays in ({}, {"w_main": floats(4)}):
        with pytest.raises(FormatError):
            fill(proto.SerializeToString(), arrays)


@pytest.mark.parametrize("dims", [[-1], [2**40, 2**40], [3]])
def test_dims_that_do_not_fit_the_data_are_named(dims: Any) -> None:
    tensor = TensorProto(name="odd", data_type=TensorProto.FLOAT, dims=dims, raw_data=b"\0" * 16)
    with pytest.raises(ModelError, match="tensor 'odd'"):
        Model.from_proto(model_of([helper.make_node("Relu", ["x"], ["y"])], [tensor]))


def test_check_finite_counts_and_names() -> None:
    check_finite("w", np.ones(3, ml_dtypes.bfloat16))
    check_finite("w", np.ones(3, np.int64))
    with pytest.raises(ModelError, match="tensor 'w' holds 2 NaN and 1 infinite values of 4"):
        check_finite("w", np.array([np.nan, 1, np.inf, np.nan], np.float16))
    with pytest.raises(ModelError, match="tensor 'w' holds 1 NaN values of 2"):
        check_finite("w", np.array([np.nan, 1], ml_dtypes.bfloat16))
