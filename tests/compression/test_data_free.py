"""`compress`: which weights are quantized, what stays exact, the search for a size."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from enx_samples import DEMO, noise, small_model, small_proto, weights_of
from enxuto.codec import entropy
from enxuto.compression.data_free import compress
from enxuto.compression.selection import DEFAULT_ROLES, quantizable_weights
from enxuto.enx.file import CompressedModel
from enxuto.enx.learned import parameters
from enxuto.errors import BudgetError, ModelError, UsageError
from enxuto.onnx_model import Model, Role
from enxuto.quantize.scalar import DeadZone, Half
from enxuto.quantize.schemes import BalancedSteps, RangeSteps, SameQuantizer
from enxuto.rounding.data_free import ROUNDINGS

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def quantized_names(made: CompressedModel) -> set[str]:
    return {entry.name for entry, part in made.entries() if part.row.coder != "planes"}


def stored_names(made: CompressedModel) -> set[str]:
    return {entry.name for entry, _ in made.entries()}


def graph_of(nodes: list[object], weights: dict[str, np.ndarray], **shapes: list[object]) -> Model:
    kind = TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info(name, kind, shape) for name, shape in shapes.items()]
    outputs = [helper.make_tensor_value_info("y", kind, None)]
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    return Model.from_proto(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    )


def test_roles_by_default_and_on_request() -> None:
    model = small_model(40)
    assert quantized_names(compress(model)) == {"conv.w", "fc.w"}
    with_norm = quantized_names(compress(model, roles=["norm", Role.BIAS]))
    assert with_norm == {"conv.b", "bn.scale", "bn.shift", "bn.mean", "bn.var"}
    assert quantizable_weights(model, [Role.KERNEL]) == ["conv.w"]
    assert quantized_names(compress(model, roles=())) == set()
    with pytest.raises(UsageError, match="roles are kernel"):
        compress(model, roles=["weights"])


def test_weights_that_are_not_quantized_stay_bit_exact() -> None:
    model = small_model(40)
    made = compress(model)
    before, after = weights_of(model), weights_of(made.to_model())
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"conv.w", "fc.w"}
    assert weights_of(compress(model, roles=()).to_model()) == before


@pytest.mark.parametrize("pattern", ["fc.w", "fc.*", "*.w", "?c.w"])
def test_keep_exact(pattern: str) -> None:
    made = compress(small_model(), keep_exact=[pattern])
    assert quantized_names(made) == {n for n in ("conv.w", "fc.w") if not fnmatch.fnmatch(n, pattern)}
    with pytest.raises(UsageError, match="no weight is named 'nothing"):
        compress(small_model(), keep_exact=[pattern, "nothing*"])


def test_names_with_brackets_stand_for_themselves() -> None:
    model = graph_of([helper.make_node("MatMul", ["x", "w[0]"], ["y"])], {"w[0]": noise(20, 20)}, x=["n", 20])
    assert quantized_names(compress(model)) == {"w[0]"}
    assert quantized_names(compress(model, keep_exact=["w[0]"])) == set()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, BFLOAT16], ids=str)
def test_all_float_types_are_quantized_and_keep_their_type(dtype: np.dtype) -> None:
    values = noise(30, 40, scale=1).astype(dtype)
    model = graph_of(
        [
            helper.make_node("Cast", ["w"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["x", "f"], ["y"]),
        ],
        {"w": values},
        x=["n", 30],
    )
    made = compress(model, SameQuantizer(DeadZone(0.125)))
    assert quantized_names(made) == {"w"}
    back = made.to_model().load("w")
    assert back.dtype == values.dtype
    assert np.abs(back.astype(float) - values.astype(float)).max() <= 0.0625 + 0.01
    assert not np.array_equal(back, values)
    level = np.ceil(np.abs(values.astype(float)) / 0.125 - 0.5)
    assert back.astype(float).tolist() == (np.sign(values.astype(float)) * level * 0.125).tolist()


EXACT = [
    np.arange(-500, 500, dtype=np.int64) ** 5,
    np.arange(2000, dtype=np.int32),
    np.arange(2000, dtype=np.uint8),
    np.arange(2000, dtype=np.int8),
    np.arange(2000, dtype=np.uint16),
    np.arange(2000, dtype=np.uint64) << np.uint64(50),
    np.arange(2000) % 3 == 0,
    np.array([], np.float32),
    np.array(3.5, np.float32),
    np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45] * 20, np.float32),
    np.array([[2**63 - 1, -(2**63)]], np.int64),
]  # fmt: skip


@pytest.mark.parametrize("array", EXACT, ids=lambda array: f"{array.dtype}{list(array.shape)}")
def test_integers_and_floats_without_known_use_are_bit_exact(array: np.ndarray) -> None:
    model = graph_of(
        [helper.make_node("Identity", ["other"], ["y"])], {"other": array, "w": noise(8)}, x=["n"]
    )
    made = compress(model)
    assert weights_of(made.to_model()) == weights_of(model)
    made = compress(model, roles=["other"]) if np.isfinite(array.astype(float)).all() else made
    assert np.array_equal(made.to_model().load("other"), array) or array.dtype == np.float32


def test_packed_four_bit_tensors_are_bit_exact() -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.INT4, dims=[3, 1001])
    tensor.raw_data = np.random.default_rng(0).integers(0, 256, 1502, dtype=np.uint8).tobytes()[:-1] + b"\x07"
    graph = helper.make_graph(
        [helper.make_node("DequantizeLinear", ["w", "s"], ["y"])],
        "g",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [tensor, numpy_helper.from_array(np.array(0.5, np.float32), "s")],
    )
    model = Model.from_proto(
        helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])
    )
    made = compress(model)
    assert "w" in stored_names(made)
    assert weights_of(made.to_model()) == weights_of(model)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["conv.w", "fc.w", "conv.b", "bn.var"])
def test_weights_that_are_not_finite_are_refused_with_their_name(name: str, value: float) -> None:
    model = small_model()
    array = model.load(name).copy()
    array.flat[0] = value
    with pytest.raises(ModelError, match=f"'{name}'"):
        compress(model.replace_weights({name: array}))


def test_ort_gives_the_outputs_of_the_dequantized_weights() -> None:
    model = small_model(40)
    made = compress(model, RangeSteps(4, "tensor"))
    replaced = {}
    for part in made.payloads:
        if part.row.coder != "planes":
            for name, tensor in part.levels().items():
                replaced[name] = tensor.quantizer.reconstruct(tensor.quantizer.quantize(model.load(name)))
    x = np.random.default_rng(0).normal(0, 1, (7, 2, 4, 4)).astype(np.float32)
    outputs = []
    for proto in (made.to_model().to_bytes(), model.replace_weights(replaced).to_bytes(), model.to_bytes()):
        session = onnxruntime.InferenceSession(proto, providers=["CPUExecutionProvider"])
        outputs.append(session.run(None, {"x": x})[0])
    assert outputs[0].tobytes() == outputs[1].tobytes()
    assert 0 < np.abs(outputs[0] - outputs[2]).max() < 0.5


def test_folding_batch_norm() -> None:
    model = small_model(40)
    made = compress(model, RangeSteps(16, "tensor"), fold_bn=True)
    assert made.metadata["folded"] is True
    assert "folded" not in compress(model).metadata
    proto = made.to_model().to_proto()
    assert "BatchNormalization" not in {node.op_type for node in proto.graph.node}
    x = np.random.default_rng(0).normal(0, 1, (7, 2, 4, 4)).astype(np.float32)
    results = [
        onnxruntime.InferenceSession(m.SerializeToString()).run(None, {"x": x})[0]
        for m in (proto, small_proto(40))
    ]
    assert results[0] == pytest.approx(results[1], abs=1e-3)


@pytest.mark.parametrize("bits", [0.6, 1.7, 4, 9, 14])
def test_the_search_comes_close_to_the_bits_and_stays_below(bits: float, tmp_path: Path) -> None:
    model = Model.read(DEMO)
    length = compress(model, bits=bits).save(tmp_path / "m.enx")
    measured = 8 * length / parameters(model)
    assert 0.98 * bits <= measured <= bits
    assert CompressedModel.read(tmp_path / "m.enx").file_bytes == length


@pytest.mark.parametrize(
    "scheme",
    [SameQuantizer(DeadZone(0.1, 0.25)), BalancedSteps(0.5, "tensor"), BalancedSteps(3.0, "network")],
)
def test_the_search_scales_any_dead_zone_scheme(scheme: BalancedSteps | SameQuantizer) -> None:
    model = Model.read(DEMO)
    made = compress(model, scheme, bits=3.0)
    assert 0.98 * 3 <= 8 * made.file_bytes / parameters(model) <= 3


@pytest.mark.parametrize("bits", [1e-9, 0.05])
def test_bits_out_of_reach(bits: float) -> None:
    with pytest.raises(BudgetError, match="cannot be reached"):
        compress(DEMO, bits=bits)


@pytest.mark.parametrize("roles", [["kernel"], ["kernel", "depthwise", "matrix", "bias", "norm", "other"]])
def test_what_takes_the_bytes_is_said_where_bits_are_out_of_reach(roles: list[str]) -> None:
    """More roles are named only where they would do something."""
    with pytest.raises(BudgetError) as raised:
        compress(DEMO, bits=0.05, roles=roles, steps="balanced")
    is_all = len(roles) > 1
    assert ("too small to be quantized, the graph and the table" in str(raised.value)) == is_all
    assert ("more roles=" in str(raised.value)) != is_all


@pytest.mark.parametrize("bits", [0.0, -3.0, float("nan"), float("inf")])
def test_bits_that_make_no_sense(bits: float) -> None:
    with pytest.raises(UsageError, match="bits per weight"):
        compress(DEMO, bits=bits)


@pytest.mark.parametrize("scheme", [RangeSteps(8, "tensor"), SameQuantizer(Half())])
def test_bits_and_fixed_steps_contradict_each_other(scheme: RangeSteps | SameQuantizer) -> None:
    with pytest.raises(UsageError, match="step"):
        compress(DEMO, scheme, bits=4)


@pytest.mark.parametrize("bits", [32, 33, 100, 1e9])
def test_as_many_bits_as_there_are(bits: float) -> None:
    """Where weights as they are fit, nothing is finer."""
    made = compress(DEMO, bits=bits)
    assert 8 * made.file_bytes <= 32 * parameters(Model.read(DEMO))
    assert weights_of(made.to_model()) == weights_of(Model.read(DEMO))


def test_no_tensor_costs_more_than_its_bytes() -> None:
    """Noise of 30 bits, tiny tensors: where levels do not pay, the values stay as they are."""
    sizes = {"w2": (1, 2), "w31": (1, 31), "w32": (1, 32), "w40": (4, 10), "w999": (27, 37)}
    weights = {name: noise(*shape, scale=1) for name, shape in sizes.items()}
    nodes = []
    for name in sizes:
        nodes.append(helper.make_node("MatMul", [name, f"{name}.x"], ["y" if not nodes else f"{name}.y"]))
    model = graph_of(nodes, weights, **{f"{name}.x": [shape[1], 3] for name, shape in sizes.items()})
    for scheme in (
        None,
        SameQuantizer(DeadZone(1e-8)),
        SameQuantizer(DeadZone(1e-3)),
        RangeSteps(24, "channel"),
    ):
        made = compress(model, scheme)
        for part in made.payloads:
            raw = sum(entry.stored_bytes for entry in part.row.tensors)
            if part.row.coder != "planes":
                assert part.row.bytes < raw
            else:
                assert part.row.bytes <= raw + part.row.item_bytes
        assert set(weights_of(made.to_model())) == set(weights)
    fine = compress(model, SameQuantizer(DeadZone(4e-9)))  # levels of 30 bits pay for the largest alone
    assert quantized_names(fine) == {"w999"}
    before, after = weights_of(model), weights_of(fine.to_model())
    assert {name for name in before if before[name] != after[name]} <= {"w999"}


def test_models_with_nothing_to_quantize() -> None:
    bare = graph_of([helper.make_node("Relu", ["x"], ["y"])], {}, x=["n", 3])
    made = compress(bare)
    assert made.payloads == ()
    assert made.to_model().to_proto().graph.node[0].op_type == "Relu"
    assert parameters(bare) == 0
    with pytest.raises(UsageError, match="no weights"):
        compress(bare, bits=4)
    only_bias = graph_of([helper.make_node("Add", ["x", "b"], ["y"])], {"b": noise(3)}, x=["n", 3])
    assert weights_of(compress(only_bias).to_model()) == weights_of(only_bias)
    assert compress(only_bias).metadata["parameters"] == 3


def test_zero_and_constant_weights() -> None:
    weights = {"z": np.zeros((64, 64), np.float32), "c": np.full((64, 64), -0.3, np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "z"], ["t"]), helper.make_node("MatMul", ["t", "c"], ["y"])]
    model = graph_of(nodes, weights, x=["n", 64])
    made = compress(model)
    assert sum(part.row.bytes for part in made.payloads) < 150
    assert not made.to_model().load("z").any()
    assert np.abs(made.to_model().load("c") + 0.3).max() < 0.05


def branch(name: str, seed: int) -> object:
    return helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], [f"{name}_y"])],
        name,
        [],
        [helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(noise(16, 16, seed=seed), "w")],
    )


def test_tied_constant_and_subgraph_weights() -> None:
    model = graph_of(
        [
            helper.make_node(
                "Constant", [], ["k"], value=numpy_helper.from_array(noise(16, 16, seed=9), "v")
            ),
            helper.make_node("MatMul", ["x", "tied"], ["a"]),
            helper.make_node("MatMul", ["a", "tied"], ["b"]),
            helper.make_node("MatMul", ["b", "k"], ["c"]),
            helper.make_node(
                "If", ["yes"], ["d"], then_branch=branch("then", 1), else_branch=branch("else", 2)
            ),
            helper.make_node("Add", ["c", "d"], ["y"]),
        ],
        {"tied": noise(16, 16, seed=3), "yes": np.array(True)},
        x=["n", 16],
    )
    made = compress(model, SameQuantizer(DeadZone(0.02)))
    names = {"tied", "k", "d.then_branch/w", "d.else_branch/w"}
    assert quantized_names(made) == names
    back = made.to_model()
    for name in names:
        assert np.abs(back.load(name) - model.load(name)).max() <= 0.01 + 1e-6
    x = noise(3, 16, scale=1)
    session = onnxruntime.InferenceSession(back.to_bytes(), providers=["CPUExecutionProvider"])
    tied, constant, then = back.load("tied"), back.load("k"), back.load("d.then_branch/w")
    assert session.run(None, {"x": x})[0] == pytest.approx(x @ tied @ tied @ constant + x @ then, abs=1e-4)


def test_many_small_exact_tensors_share_a_payload() -> None:
    weights = {f"b{i}": noise(100, seed=i) for i in range(50)}
    nodes = [
        helper.make_node("Add", ["x", name], ["y" if i == 0 else f"{name}.y"])
        for i, name in enumerate(weights)
    ]
    made = compress(graph_of(nodes, weights, x=["n", 100]))
    assert [len(part.row.tensors) for part in made.payloads] == [50]
    assert weights_of(made.to_model()) == {n: b"float32(100,)" + a.tobytes() for n, a in weights.items()}


def test_progress_tells_every_tensor() -> None:
    told: list[tuple[str, int, int]] = []
    compress(small_model(), progress=lambda what, done, total: told.append((what, done, total)))
    assert [step[0] for step in told] == ["coding"] * 3
    assert (told[0][1:], told[-1][1:]) == ((0, 588), (588, 588))  # weights
    assert 0 < told[1][1] < 588


def test_levels_cost_their_entropy() -> None:
    made = compress(DEMO, SameQuantizer(DeadZone(0.01)))
    for part in made.payloads:
        if part.row.coder != "planes" and part.row.items >= 10_000:
            levels = next(iter(part.levels().values())).levels
            assert part.row.bytes <= 1.005 * entropy(levels) * levels.size / 8 + 64


def test_a_path_is_read_without_documentation(tmp_path: Path) -> None:
    proto: ModelProto = small_proto()
    proto.graph.node[1].doc_string = "a stack trace " * 500
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    assert b"stack trace" not in compress(tmp_path / "m.onnx").skeleton
    kept = compress(Model.read(tmp_path / "m.onnx", keep_docs=True))
    assert b"stack trace" in kept.skeleton


def test_threads_change_neither_bytes_nor_order() -> None:
    model = small_model(40)
    alone = compress(model, roles=list(Role)[:3], threads=1).to_bytes()
    assert compress(model, roles=list(Role)[:3], threads=4).to_bytes() == alone


def test_progress_counts_the_weights_of_every_tensor_to_the_end() -> None:
    seen: list[tuple[str, int, int]] = []
    model = small_model(40)
    compress(model, threads=2, progress=lambda *step: seen.append(step))
    sizes = [model.info(name).elements for name in quantizable_weights(model, DEFAULT_ROLES)]
    coded = [(done, of) for what, done, of in seen if what == "coding"]
    assert len(coded) == len(sizes) + 1
    assert coded[0] == (0, sum(sizes))
    assert coded[-1] == (sum(sizes), sum(sizes))
    assert coded[1][0] in sizes


def test_a_tensor_that_cannot_be_quantized_ends_the_coding_of_all() -> None:
    with pytest.raises(UsageError, match="31"):
        compress(small_model(40), SameQuantizer(DeadZone(1e-30, 0.5)), threads=2)


def test_bits_out_of_reach_are_said_so_though_steps_were_too_fine_at_first() -> None:
    weights = {"w": noise(64, 64), "k": noise(2000, 50)}
    nodes = [helper.make_node("MatMul", [f"{name}.x", name], [out]) for name, out in (("w", "y"), ("k", "z"))]
    model = graph_of(nodes, weights, **{"w.x": [3, 64], "k.x": [3, 2000]})
    for rounding in ROUNDINGS:
        with pytest.raises(BudgetError, match="25 bits per weight cannot be reached"):
            compress(model, bits=25, keep_exact=["k"], rounding=rounding)


def test_dead_channels_do_not_make_the_others_fine() -> None:
    weight = np.random.default_rng(0).laplace(0, 0.1, (512, 1, 3, 3)).astype(np.float32)
    weight[100:] = 1e-38
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=512)
    model = graph_of([node], {"w": weight}, x=[1, 512, 8, 8])
    nearest, default = (compress(model, rounding=rounding).file_bytes for rounding in ("nearest", None))
    assert default <= 1.02 * nearest
