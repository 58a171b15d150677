"""Calibrated compression of graphs as exporters and optimizers write them, beside the original in ONNX Runtime.

Parameters that others read, that come through Identity and Cast or may be given instead; other floats than float32;
biases that broadcast; control flow; old operator sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from enxuto.calibration.calibrate import calibrate
from enxuto.calibration.calibration import Calibration
from enxuto.calibration.layers import linear_layers
from enxuto.compression.at_price import compress_at
from enxuto.compression.calibrated import compress_within
from enxuto.compression.data_free import compress
from enxuto.compression.judge import Bounds
from enxuto.compression.split import split_images
from enxuto.data import Preprocess
from enxuto.errors import ModelError
from enxuto.onnx_model import Model
from enxuto.runtime import Runner

node = helper.make_node
IMAGES = np.abs(np.random.default_rng(7).standard_normal((30, 3, 12, 12))).astype(np.float32)


def floats(*shape: int, scale: float = 0.2, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng([seed, *shape]).standard_normal(shape) * scale).astype(np.float32)


WEIGHTS: dict[str, np.ndarray] = {"w": floats(8, 3, 3, 3), "b": floats(8), "fc": floats(5, 8, scale=1)}
NORM = {"s": np.abs(floats(8, seed=1)) + 1, "t": floats(8, seed=2), "m": floats(8, seed=3)}
NORM["v"] = np.abs(floats(8, seed=4)) + 1
CONV = node("Conv", ["x", "w", "b"], ["a"], pads=[1] * 4)
RELU = node("Relu", ["a"], ["r"])


def head(name: str, *more: str) -> list[NodeProto]:
    return [
        node("GlobalAveragePool", [name], ["head p"]),
        node("Flatten", ["head p"], ["head f"]),
        node("Gemm", ["head f", "fc", *more], ["y"], transB=1),
    ]


def model_of(
    nodes: Sequence[NodeProto],
    arrays: dict[str, Any],
    *,
    kind: int = TensorProto.FLOAT,
    opset: int = 17,
    also_inputs: Sequence[str] = (),
    also_outputs: Sequence[str] = (),
) -> ModelProto:
    inputs = [helper.make_tensor_value_info("x", kind, ["n", 3, 12, 12])]
    inputs += [helper.make_tensor_value_info(name, kind, arrays[name].shape) for name in also_inputs]
    graph = helper.make_graph(
        list(nodes),
        "g",
        inputs,
        [helper.make_tensor_value_info(name, kind, None) for name in ("y", *also_outputs)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run(model: bytes, feeds: dict[str, np.ndarray]) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return np.asarray(onnxruntime.InferenceSession(model, options).run(["y"], feeds)[0], np.float64)


def error(
    proto: ModelProto, bits: float = 5.0, kind: Any = np.float32, feeds: dict[str, np.ndarray] | None = None
) -> tuple[float, Calibration]:
    """The root mean square of what outputs differ by after calibrated compression, relative to the outputs."""
    calibration = calibrate(Model.from_proto(proto), IMAGES, threads=1)
    made = compress_at(calibration, calibration.price_of_bits(bits)).model.to_model()
    given = {"x": IMAGES.astype(kind), **(feeds or {})}
    want, got = run(proto.SerializeToString(), given), run(made.to_bytes(), given)
    return float(np.sqrt(np.mean((want - got) ** 2) / np.mean(want**2))), calibration


READERS: dict[str, list[NodeProto]] = {
    "InstanceNormalization": [node("InstanceNormalization", ["r", "s", "B"], ["c"])],
    "BatchNormalization": [node("BatchNormalization", ["r", "s", "B", "m", "v"], ["c"])],
    "BatchNormalization's mean": [node("BatchNormalization", ["r", "s", "t", "B", "v"], ["c"])],
    "Sub": [node("Unsqueeze", ["B", "places"], ["u"]), node("Sub", ["r", "u"], ["c"])],
    "PRelu": [node("Unsqueeze", ["B", "places"], ["u"]), node("PRelu", ["a", "u"], ["c"])],
    "Conv": [node("Conv", ["r", "w2", "B"], ["c"], pads=[1] * 4)],
    "a branch": [
        node(
            "If",
            ["yes"],
            ["c"],
            **{
                f"{name}_branch": helper.make_graph(
                    [node("InstanceNormalization", ["r", "s", "B"], [name])],
                    name,
                    [],
                    [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
                )
                for name in ("then", "else")
            },
        )
    ],
}


@pytest.mark.parametrize(
    ("reader", "through"), [*((one, "itself") for one in READERS), ("PRelu", "Identity"), ("Sub", "Cast")]
)
def test_a_bias_that_others_read_costs_no_more_than_two_would(reader: str, through: str) -> None:
    generator = np.random.default_rng(5)
    arrays: dict[str, Any] = {
        "w": (generator.standard_normal((8, 3, 3, 3)) * 0.2).astype(np.float32),
        "b": (generator.standard_normal(8) * 0.2).astype(np.float32),
        "fc": generator.standard_normal((5, 8)).astype(np.float32),
        **NORM,
        "s": np.ones(8, np.float32),
    }
    if reader == "Conv":
        arrays["w2"] = floats(8, 8, 3, 3)
    if reader in ("Sub", "PRelu"):
        arrays["places"] = np.array([1, 2])
    if reader == "a branch":
        arrays["yes"] = np.array(True)
    found = []
    for shared in (False, True):
        second = ("b" if through == "itself" else "passed") if shared else "b2"
        nodes = [type(one).FromString(one.SerializeToString()) for one in READERS[reader]]
        if shared and through != "itself":
            nodes.insert(0, node(through, ["b"], ["passed"], **({"to": 1} if through == "Cast" else {})))
        renamed = helper.make_graph(nodes, "g", [], [])
        rename(renamed, "B", second)
        held = arrays if shared else {**arrays, "b2": arrays["b"]}
        proto = model_of([CONV, RELU, *renamed.node, node("Relu", ["c"], ["d"]), *head("d")], held)
        found.append(error(proto, 3.0)[0])
        if shared:
            layers = {layer.weight: layer.bias for layer in linear_layers(Model.from_proto(proto))}
            assert layers["w"] is None, "a bias is the layer's own or not moved"
    assert found[1] < max(0.02, 3 * found[0])


def rename(graph: GraphProto, old: str, new: str) -> None:
    for one in graph.node:
        for place, name in enumerate(one.input):
            if name == old:
                one.input[place] = new
        for item in one.attribute:
            if item.HasField("g"):
                rename(item.g, old, new)


def test_a_bias_that_is_given_out_too_stays_as_it_is() -> None:
    proto = model_of([CONV, RELU, *head("r")], WEIGHTS, also_outputs=["b"])
    calibration = calibrate(Model.from_proto(proto), IMAGES, threads=1)
    made = compress_at(calibration, calibration.price_of_bits(3)).model.to_model()
    np.testing.assert_array_equal(made.load("b"), WEIGHTS["b"])


@pytest.mark.parametrize("name", ["w", "b", "fc"])
def test_parameters_that_may_be_given_instead(name: str) -> None:
    """The input stays with its default; whatever is given, answers are alike."""
    proto = model_of([CONV, RELU, *head("r")], WEIGHTS, also_inputs=[name])
    for feeds in ({}, {name: WEIGHTS[name] + np.float32(0.5)}):
        off, calibration = error(proto, feeds=feeds)
        assert off < 0.05
    made = compress_at(calibration, calibration.price_of_bits(5)).model.to_model()
    assert [item.name for item in made.proto.graph.input] == ["x", name]
    assert name in made.weight_names
    if name == "b":
        np.testing.assert_array_equal(made.load("b"), WEIGHTS["b"])


def test_a_model_of_half_precision() -> None:
    arrays = {name: array.astype(np.float16) for name, array in (WEIGHTS | NORM).items()}
    norm = node("BatchNormalization", ["r", "s", "t", "m", "v"], ["c"])
    pooled = node("AveragePool", ["c"], ["d"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    proto = model_of([CONV, RELU, norm, pooled, *head("d")], arrays, kind=TensorProto.FLOAT16)
    off, calibration = error(proto, kind=np.float16)
    assert off < 0.1
    assert calibration.reason is None


def test_a_model_of_doubles() -> None:
    arrays = {"m": floats(16, 3), "b": floats(16), "fc": floats(5, 16, scale=1)}
    nodes = [
        node("ReduceMean", ["x"], ["f"], axes=[2, 3], keepdims=0),
        node("Gemm", ["f", "m", "b"], ["h"], transB=1),
        node("Sigmoid", ["h"], ["r"]),
        node("Gemm", ["r", "fc"], ["y"], transB=1),
    ]
    proto = model_of(
        nodes, {name: array.astype(np.float64) for name, array in arrays.items()}, kind=TensorProto.DOUBLE
    )
    off, calibration = error(proto, kind=np.float64)
    assert off < 0.1
    assert calibration.reason is None


@pytest.mark.filterwarnings("ignore::enxuto.errors.InFloat32Warning")
def test_what_runs_in_float32_is_calibrated_in_its_own_type() -> None:
    """ONNX Runtime has no convolution of bfloat16 on a CPU."""
    arrays = {name: array.astype(ml_dtypes.bfloat16) for name, array in WEIGHTS.items()}
    model = Model.from_proto(model_of([CONV, RELU, *head("r")], arrays, kind=TensorProto.BFLOAT16))
    calibration = calibrate(model, IMAGES, threads=1)
    assert calibration.reason is None
    assert [layer.weight for layer in calibration.layers] == ["w", "fc"]
    made = compress_at(calibration, calibration.price_of_bits(5)).model.to_model()
    assert all(made.load(name).dtype == ml_dtypes.bfloat16 for name in WEIGHTS)
    want, got = (Runner(each, threads=1).scores(IMAGES) for each in (model, made))
    assert np.sqrt(np.mean((want - got) ** 2) / np.mean(want**2)) < 0.1


def test_what_onnx_runtime_cannot_run_says_what_to_do(tmp_path: Path) -> None:
    """It has no convolution of doubles on a CPU; without images such a model compresses."""
    arrays = {name: array.astype(np.float64) for name, array in WEIGHTS.items()}
    model = Model.from_proto(model_of([CONV, RELU, *head("r")], arrays, kind=TensorProto.DOUBLE))
    with pytest.raises(ModelError, match="compress it without images") as refused:
        calibrate(model, IMAGES, threads=1)
    assert "\n" not in str(refused.value)
    bounds = Bounds(max_bytes=1000)
    parts = split_images(None, None, bounds, 8, 0, synthetic=True)
    with pytest.raises(ModelError) as once:
        compress_within(model, bounds, parts, Preprocess(), images=8, cache=tmp_path)
    assert str(once.value).endswith("compress it without images")
    assert str(once.value).count("compress it without images") == 1
    assert compress(model).to_model().load("w").dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_weights_stored_in_other_floats(dtype: Any) -> None:
    """A Cast before every layer, as files of half the size have it: layers are calibrated all the same."""
    casts = [node("Cast", [name], [f"{name} cast"], to=TensorProto.FLOAT) for name in WEIGHTS]
    nodes = [node("Conv", ["x", "w cast", "b cast"], ["a"], pads=[1] * 4), RELU, *head("r")]
    nodes[-1].input[1] = "fc cast"
    arrays = {name: array.astype(dtype) for name, array in WEIGHTS.items()}
    off, calibration = error(model_of([*casts, *nodes], arrays))
    assert off < 0.1
    assert [layer.weight for layer in calibration.layers] == ["w", "fc"]
    assert calibration.reason is None


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (5,), (1, 5)])
def test_a_gemm_whose_bias_broadcasts(shape: tuple[int, ...]) -> None:
    arrays = WEIGHTS | {"c": np.full(shape, 0.3, np.float32)}
    off, calibration = error(model_of([CONV, RELU, *head("r", "c")], arrays))
    assert off < 0.1
    assert calibration.layers[1].bias == ("c" if shape in ((5,), (1, 5)) else None)
    made = compress_at(calibration, calibration.price_of_bits(5)).model.to_model()
    assert made.info("c").shape == shape


def subgraph(nodes: list[NodeProto], output: str) -> GraphProto:
    return helper.make_graph(
        nodes, output, [], [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
    )


def test_branches_that_read_values_from_outside() -> None:
    """A squeeze of unknown sizes, as torch writes it; the weight of a branch is the main graph's."""
    then = subgraph([node("Squeeze", ["g", "axes"], ["q1"])], "q1")
    other = subgraph([node("Identity", ["g"], ["q2"])], "q2")
    nodes = [
        CONV, RELU, node("GlobalAveragePool", ["r"], ["g"]), node("Shape", ["g"], ["n"]),
        node("Gather", ["n", "three"], ["d"]), node("Equal", ["d", "one"], ["c"]),
        node("If", ["c"], ["q"], then_branch=then, else_branch=other), node("Gemm", ["q", "fc"], ["y"], transB=1),
    ]  # fmt: skip
    arrays = WEIGHTS | {"axes": np.array([2, 3]), "three": np.array(3), "one": np.array(1)}
    off, calibration = error(model_of(nodes, arrays))
    assert off < 0.1
    assert calibration.reason is None  # all images take the same branch
    inner = subgraph([node("Conv", ["r", "w2"], ["k"]), node("Relu", ["k"], ["q1"])], "q1")
    nested = subgraph([node("If", ["yes"], ["q2"], then_branch=other, else_branch=other)], "q2")
    del nested.node[0].attribute[:]
    nested.node[0].CopyFrom(
        node(
            "If",
            ["yes"],
            ["q2"],
            then_branch=subgraph([node("Tanh", ["r"], ["q3"])], "q3"),
            else_branch=subgraph([node("Identity", ["r"], ["q4"])], "q4"),
        )
    )
    for picked in (True, False):
        branch = node("If", ["yes"], ["q"], then_branch=inner, else_branch=nested)
        arrays = WEIGHTS | {"w2": floats(8, 8, 1, 1), "yes": np.array(picked)}
        off, calibration = error(model_of([CONV, RELU, branch, *head("q")], arrays))
        assert off < 0.1


def test_a_loop_that_reads_values_from_outside() -> None:
    body = helper.make_graph(
        [node("Identity", ["c"], ["c2"]), node("Tanh", ["v"], ["t"]), node("Add", ["t", "r"], ["v2"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("c2", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v2", TensorProto.FLOAT, None),
        ],
    )
    loop = node("Loop", ["many", "yes", "r"], ["q"], body=body)
    arrays = WEIGHTS | {"many": np.array(2), "yes": np.array(True)}
    off, calibration = error(model_of([CONV, RELU, loop, *head("q")], arrays))
    assert off < 0.1
    assert "Loop" in str(calibration.reason)


@pytest.mark.parametrize("through", ["Identity", "Cast", "one for all"])
@pytest.mark.parametrize("folds", [True, False])
def test_norm_parameters_through_others(through: str, folds: bool) -> None:
    """Exporters write equal initializers once, and an Identity for every further reader."""
    arrays = WEIGHTS | NORM
    first, names = [], list(NORM)
    if through == "one for all":
        arrays["v"] = arrays["s"] = np.ones(8, np.float32)
        names = ["s", "t", "t", "s2"]
        first = [node("Identity", ["s"], ["s2"])]
    else:
        names = [f"{name}2" for name in names]
        more: dict[str, Any] = {"to": 1} if through == "Cast" else {}
        first = [node(through, [name], [f"{name}2"], **more) for name in NORM]
    norm = node("BatchNormalization", ["a" if folds else "r", *names], ["c"])
    between = [norm] if folds else [RELU, norm]
    off, calibration = error(model_of([*first, CONV, *between, *head("c")], arrays))
    assert off < 0.1
    assert calibration.reason is None
    assert bool(calibration.folded) == folds


@pytest.mark.parametrize("opset", [7, 9, 10, 11])
def test_bounds_in_attributes(opset: int) -> None:
    """Slice up to operator set 9, Pad and Clip up to 10, Squeeze and ReduceMean up to 12 and 17, Dropout's ratio."""
    arrays: dict[str, Any] = WEIGHTS | {"fc": floats(5, 4, scale=1), "z": np.zeros(5, np.float32)}
    if opset < 10:
        cut = node("Slice", ["r"], ["k"], axes=[1], starts=[0], ends=[4])
    else:
        cut = node("Slice", ["r", "from", "to", "axis"], ["k"])
        arrays |= {"from": np.array([0]), "to": np.array([4]), "axis": np.array([1])}
    if opset < 11:
        pad = node("Pad", ["k"], ["p"], pads=[0, 0, -1, 1, 0, 0, 2, -2])
        clip = node("Clip", ["p"], ["l"], min=0.0, max=1.5)
    else:
        pad, clip = node("Pad", ["k", "pads"], ["p"]), node("Clip", ["p", "low", "high"], ["l"])
        arrays |= {
            "pads": np.array([0, 0, -1, 1, 0, 0, 2, -2]),
            "low": np.float32(0),
            "high": np.float32(1.5),
        }
    nodes = [
        CONV, RELU, cut, pad, clip,
        node("Dropout", ["l"], ["o"], ratio=0.5),
        node("AveragePool", ["o"], ["q"], kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 0]),
        node("ReduceMean", ["q"], ["u"], axes=[2, 3], keepdims=1),
        node("Squeeze", ["u"], ["f"], axes=[2, 3]),
        node("Gemm", ["f", "fc", "z"], ["y"], transB=1),
    ]  # fmt: skip
    off, calibration = error(model_of(nodes, arrays, opset=opset))
    assert off < 0.1
    assert calibration.reason is None


@pytest.mark.parametrize(
    "crop", [[0, 0, 0, 0, 0, -4, 0, 0], [0, -4, 0, 0, 0, 0, 0, 0], [0, -2, -1, 0, 0, -2, 0, -3]]
)
def test_pads_that_crop(crop: list[int]) -> None:
    arrays = WEIGHTS | {
        "w1": floats(8, 8, 3, 3),
        "b1": floats(8),
        "fc": floats(5, 4, scale=1),
        "p": np.array(crop),
    }
    second = node("Conv", ["r", "w1", "b1"], ["c"], pads=[1] * 4)
    off, calibration = error(
        model_of([CONV, RELU, second, node("Pad", ["c", "p"], ["d"]), *head("d")], arrays)
    )
    assert off < 0.1
    assert calibration.reason is None


def test_sparse_initializers_stay() -> None:
    """A table of few numbers, added to the scores."""
    proto = model_of([CONV, RELU, *head("r")], WEIGHTS)
    proto.graph.node[-1].output[0] = "z"
    proto.graph.node.append(node("Add", ["z", "few"], ["y"]))
    values = helper.make_tensor("few", TensorProto.FLOAT, [1], [2.0])
    places = helper.make_tensor("places", TensorProto.INT64, [1], [3])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [5]))
    assert error(proto)[0] < 0.1


@pytest.mark.parametrize("shape", [(1, 1, 1, 12), (12,), (1, 1, 12, 12)])
def test_infinite_masks(shape: tuple[int, ...]) -> None:
    mask = np.zeros(shape, np.float32)
    mask[..., 9:] = -np.inf
    arrays = WEIGHTS | {"mask": mask}
    nodes = [CONV, node("Add", ["a", "mask"], ["k"]), node("Relu", ["k"], ["r"]), *head("r")]
    off, calibration = error(model_of(nodes, arrays))
    assert off < 0.1
    assert calibration.reason is None
    made = compress_at(calibration, calibration.price_of_bits(4)).model.to_model()
    np.testing.assert_array_equal(made.load("mask"), mask)
