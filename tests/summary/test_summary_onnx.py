"""The layer table of ONNX graphs: what exporters write, the onnx package's graphs, real files, damage."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from enxuto.errors import ModelError, UsageError
from enxuto.onnx_model import Model
from enxuto.summary import summarize, summarize_network, summarize_onnx

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
SHARED = Path(__file__).parents[3] / "shared" / "models"

# Parameters, multiply–accumulates, the planes that rows write. AlexNet's and ZFNet's graphs take 224×224 and pool
# their way; those with Mul and Add behind each norm hold scale and shift twice.
EXPECTED = {
    "light_bvlc_alexnet.onnx": (60_965_224, 654_560_384),
    "light_densenet121.onnx": (8_062_504, 2_834_161_664),
    "light_inception_v1.onnx": (6_998_552, 1_431_556_352),
    "light_inception_v2.onnx": (11_214_888, 2_018_851_840),
    "light_resnet50.onnx": (25_557_032, 4_089_184_256),
    "light_shufflenet.onnx": (1_393_320, 124_664_528),
    "light_squeezenet.onnx": (1_235_496, 349_151_936),
    "light_vgg19.onnx": (143_667_240, 19_632_062_464),
    "light_zfnet512.onnx": (87_250_536, 1_481_727_008),
}


@pytest.mark.parametrize("file", EXPECTED)
def test_graphs_of_the_onnx_package(file: str) -> None:
    table = summarize(LIGHT / file)
    assert (table.parameters, table.macs) == EXPECTED[file]
    assert not table.remarks
    assert all(layer.reach is not None for layer in table.layers)


def test_every_graph_of_the_onnx_package_is_expected() -> None:
    assert {path.name for path in LIGHT.glob("light_*.onnx")} == set(EXPECTED)


@pytest.mark.torch  # the zoo's networks are built
@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("light_resnet50.onnx", "resnet50"),
        ("light_vgg19.onnx", "vgg19"),
        ("light_squeezenet.onnx", "squeezenet1_1"),
    ],
)
def test_the_same_network_from_graph_and_from_torch(file: str, name: str) -> None:
    from_graph, from_torch = summarize(LIGHT / file), summarize_network(name)
    for count in ("volumes", "lecture"):
        if name != "resnet50":  # its graph has an AveragePool where torch has a global one: same volume
            assert from_graph.activations(count) == from_torch.activations(count)
    kernels = [
        [(row.output, row.kernel, row.stride, row.padding, row.weights, row.biases, row.macs) for row in table.layers
         if row.operator == "Conv"]
        for table in (from_graph, from_torch)
    ]  # fmt: skip
    assert sorted(kernels[0]) == sorted(kernels[1])


def test_resnet50_takes_under_a_second() -> None:
    """The issue's bound; the graph has all nodes and shapes, and no weights' data is looked at anyway."""
    start = time.perf_counter()
    summarize(LIGHT / "light_resnet50.onnx")
    assert time.perf_counter() - start < 1


def test_an_onnx_file_needs_no_torch_and_no_runtime() -> None:
    code = (
        "import sys; from enxuto.summary import summarize;"
        f"summarize({str(LIGHT / 'light_squeezenet.onnx')!r});"
        "assert not {'torch', 'onnxruntime', 'numba'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("file", "parameters", "macs"),
    [
        # Folded batch norm leaves one bias a filter instead of scale and shift.
        ("efficientnet-lite0.onnx", 4_631_000, 385_187_552),
        ("resnet20-cifar10.onnx", 269_034, 40_551_040),
        ("resnet56-cifar10.onnx", 850_986, 125_485_696),
    ],
)
def test_real_models(file: str, parameters: int, macs: int) -> None:
    if not (SHARED / file).exists():
        pytest.skip("the shared models are not here")
    table = summarize(SHARED / file)
    assert (table.parameters, table.macs) == (parameters, macs)
    assert not table.remarks


def _model(
    nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], shape: list[object], **settings: int
) -> Model:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", settings.get("opset", 18))])
    return Model.from_proto(proto)


KERNEL = {"w": np.zeros((4, 3, 3, 3), np.float32)}


def test_open_sizes_are_asked_for_and_filled_in() -> None:
    model = _model([helper.make_node("Conv", ["x", "w"], ["y"])], KERNEL, ["n", 3, "h", "w"])
    with pytest.raises(UsageError, match=r"leaves sizes open \(3×\?×\?\); give input_shape="):
        summarize_onnx(model)
    with pytest.raises(UsageError, match="is 3×"):
        summarize_onnx(model, input_shape=(1, 8, 8))
    assert summarize_onnx(model, input_shape=(3, 8, 10)).layers[0].output == (4, 6, 8)


@pytest.mark.parametrize(("mode", "padding"), [("SAME_UPPER", (0, 0, 1, 1)), ("SAME_LOWER", (1, 1, 0, 0))])
def test_padding_given_as_same_is_resolved(mode: str, padding: tuple[int, ...]) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], auto_pad=mode, strides=[2, 2])
    (row,) = summarize_onnx(_model([node], KERNEL, ["n", 3, 8, 8])).layers
    assert row.output == (4, 4, 4)
    assert row.padding == padding
    assert row.macs == 4 * 4 * 4 * 27


def test_a_fixed_batch_is_counted_per_image() -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])]
    one, four = (summarize_onnx(_model(nodes, KERNEL, [batch, 3, 8, 8])) for batch in (1, 4))
    assert one.layers == four.layers


def test_shapes_computed_in_the_graph_are_followed() -> None:
    """A padding made by ConstantOfShape, Concat and Cast, a flatten made from Shape."""
    nodes = [
        helper.make_node(
            "ConstantOfShape", ["six"], ["zeros"], value=numpy_helper.from_array(np.zeros(1, np.int64))
        ),
        helper.make_node("Concat", ["zeros", "ends"], ["pads32"], axis=0),
        helper.make_node("Cast", ["pads32"], ["pads"], to=TensorProto.INT64),
        helper.make_node("Pad", ["x", "pads"], ["padded"]),
        helper.make_node("Conv", ["padded", "w"], ["c"]),
        helper.make_node("Shape", ["c"], ["size"], start=0, end=1),
        helper.make_node("Concat", ["size", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["c", "target"], ["flat"]),
        helper.make_node("MatMul", ["flat", "m"], ["y"]),
    ]
    weights = {
        **KERNEL,
        "six": np.array([6]),
        "ends": np.array([1, 1]),
        "rest": np.array([4 * 7 * 7]),
        "m": np.zeros((4 * 7 * 7, 5), np.float32),
    }
    table = summarize_onnx(_model(nodes, weights, ["n", 3, 8, 8]))
    assert [row.operator for row in table.layers] == ["Pad", "Conv", "MatMul"]
    assert [row.macs for row in table.layers] == [0, 4 * 49 * 27, 4 * 49 * 5]
    assert table.parameters == 4 * 27 + 4 * 49 * 5


def test_positions_computed_from_the_batch_are_followed() -> None:
    """PyTorch's adaptive average pool: a Gather by a range over the batch and a constant for each channel."""
    nodes = [
        helper.make_node("ReduceMean", ["x", "plane"], ["m"], keepdims=1),
        helper.make_node("Reshape", ["m", "line"], ["flat"]),
        helper.make_node("Shape", ["x"], ["size"], start=0, end=1),
        helper.make_node("Squeeze", ["size"], ["n"]),
        helper.make_node("Range", ["zero", "n", "one"], ["rows"]),
        helper.make_node("Mul", ["rows", "channels"], ["starts"]),
        helper.make_node("Unsqueeze", ["starts", "axes"], ["corner"]),
        helper.make_node("Add", ["corner", "places"], ["picked"]),
        helper.make_node("Gather", ["flat", "picked"], ["view"]),
        helper.make_node("Reshape", ["view", "target"], ["f"]),
        helper.make_node("MatMul", ["f", "m5"], ["y"]),
    ]
    for channels in (100, 1500):  # both above the largest shape, one above what is folded
        weights = {
            "plane": np.array([2, 3]),
            "line": np.array([-1]),
            "zero": np.array(0),
            "one": np.array(1),
            "channels": np.array(channels),
            "axes": np.array([1, 2, 3]),
            "places": np.arange(channels).reshape(1, channels, 1, 1),
            "target": np.array([-1, channels]),
            "m5": np.zeros((channels, 5), np.float32),
        }
        model = _model(nodes, weights, ["n", channels, 4, 4])
        open_shape = helper.make_tensor_value_info("view", TensorProto.FLOAT, ["n", channels, 1, 1])
        model.proto.graph.value_info.append(open_shape)
        assert summarize_onnx(model).layers[-1].macs == channels * 5


def test_what_counts_as_a_parameter() -> None:
    """Scale and shift of a norm, the bias of an Add, a slope; not statistics, bounds or single numbers."""
    vector = np.ones(3, np.float32)
    nodes = [
        helper.make_node("BatchNormalization", ["x", "s", "b", "mean", "var"], ["n"]),
        helper.make_node("Clip", ["n", "low", "high"], ["c"]),
        helper.make_node("Mul", ["c", "two"], ["m"]),
        helper.make_node("PRelu", ["m", "slope"], ["p"]),
        helper.make_node("Add", ["p", "shift"], ["y"]),
    ]
    weights = {
        **dict.fromkeys(("s", "b", "mean", "var"), vector),
        **{name: np.float32(value) for name, value in (("low", 0), ("high", 6), ("two", 2))},
        "slope": np.ones((1, 1, 1), np.float32),
        "shift": np.ones((3, 1, 1), np.float32),
    }
    table = summarize_onnx(_model(nodes, weights, [1, 3, 4, 4]))
    assert [(row.operator, row.weights, row.biases) for row in table.layers] == [
        ("BatchNormalization", 3, 3),
        ("Clip", 0, 0),
        ("Mul", 0, 0),
        ("PRelu", 1, 0),
        ("Add", 0, 3),
    ]


def test_names_come_from_paths_weights_or_the_block_before() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "stem.conv.weight"], ["a"], name="node_conv_1"),
        helper.make_node("Relu", ["a"], ["b"], name="node_relu"),
        helper.make_node("Relu", ["b"], ["c"], name="/layer1/layer1.0/act/Relu_1"),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    table = summarize_onnx(_model(nodes, {"stem.conv.weight": KERNEL["w"]}, [1, 3, 4, 4]))
    assert [row.name for row in table.layers] == ["stem.conv", "stem.node_relu", "layer1.0.act", "layer1.0.y"]


def test_shapes_that_contradict_each_other_are_one_line() -> None:
    model = _model([helper.make_node("Conv", ["x", "w"], ["y"])], KERNEL, [1, 5, 8, 8])
    with pytest.raises(ModelError, match="reads 5 channels but its weight is for 3"):
        summarize_onnx(model)


def test_a_row_that_becomes_a_picture_has_no_field_but_all_its_rows() -> None:
    """As keras2onnx and tf2onnx write spectrograms and texts: rank 2 goes in, a convolution follows."""
    nodes = [
        helper.make_node("Unsqueeze", ["x", "a"], ["u"]),
        helper.make_node("Conv", ["u", "w"], ["c"], strides=[2]),
        helper.make_node("MaxPool", ["c"], ["m"], kernel_shape=[2]),
        helper.make_node("GlobalAveragePool", ["m"], ["y"]),
    ]
    given = [
        numpy_helper.from_array(np.array([1]), "a"),
        numpy_helper.from_array(np.ones((6, 1, 5), np.float32), "w"),
    ]
    taken, out = (helper.make_tensor_value_info(n, 1, s) for n, s in (("x", [1, 41]), ("y", None)))
    model = helper.make_model(
        helper.make_graph(nodes, "g", [taken], [out], given), opset_imports=[helper.make_opsetid("", 17)]
    )
    summary = summarize_onnx(Model.from_proto(model))
    assert [layer.output for layer in summary.layers] == [(6, 19), (6, 18), (6, 1)]
    assert summary.macs == 6 * 19 * 5


def test_operators_of_unknown_shape_are_a_remark() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Own", ["a"], ["y"], domain="mine"),
    ]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]
    table = summarize_onnx(Model.from_proto(helper.make_model(graph, opset_imports=opsets)))
    assert "Own" in table.remarks[0]
    assert [row.activations for row in table.layers] == [48, 0]


@pytest.mark.recent
@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("MaxPool", ["x"], ["y"]),
        helper.make_node("Conv", ["x"], ["y"]),
        helper.make_node("Conv", ["x", "w"], ["y"], strides=[1]),
        helper.make_node("Conv", ["x", "w"], ["y"], strides=[0, 0]),
        helper.make_node("Gemm", ["x"], ["y"]),
    ],
    ids=lambda node: f"{node.op_type}-{len(node.input)}-{len(node.attribute)}",
)
def test_nodes_that_are_not_as_onnx_defines_them_are_one_line(node: onnx.NodeProto) -> None:
    with pytest.raises(ModelError):
        summarize_onnx(_model([node], KERNEL, [1, 3, 8, 8]))
