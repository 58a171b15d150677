"""Every rule in every form an operator has, by operator set, rank and way of giving bounds, beside differences.

What has no rule, or not for the form at hand, is refused by one kind of error, and calibration goes on without
gradients.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from enxuto.calibration.calibrate import calibrate
from enxuto.calibration.gradients.backward import Backward
from enxuto.calibration.gradients.graph import UnsupportedError
from enxuto.compression.at_price import compress_at
from enxuto.errors import UsageError
from enxuto.onnx_model import Model
from enxuto.runtime import Runner

Form = tuple[list[NodeProto], dict[str, Any], tuple[int, ...], int]
LINE, PLANE, SPACE = (3, 11), (3, 7, 6), (2, 5, 4, 6)


def node(op: str, *inputs: str, **attributes: Any) -> NodeProto:
    return helper.make_node(op, list(inputs) or ["h"], ["y"], **attributes)


def made(op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> NodeProto:
    return helper.make_node(op, inputs, outputs, **attributes)


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def integers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def pools() -> dict[str, Form]:
    """Average pools of 1, 2 and 3 axes, and maximum pools."""
    found: dict[str, Form] = {}
    wide: dict[str, dict[str, Any]] = {
        "plain": {},
        "strided": {"strides": 2},
        "gaps between windows": {"strides": 4},
        "padded": {"pads": 1},
        "padded and counted": {"pads": 1, "count_include_pad": 1},
        "ceiling": {"strides": 2, "ceil_mode": 1},
        "padded ceiling": {"strides": 2, "pads": 1, "ceil_mode": 1},
        "padded ceiling counted": {"strides": 2, "pads": 1, "ceil_mode": 1, "count_include_pad": 1},
        "same upper": {"strides": 2, "auto_pad": "SAME_UPPER"},
        "same lower": {"strides": 2, "auto_pad": "SAME_LOWER"},
        "same lower counted": {"auto_pad": "SAME_LOWER", "count_include_pad": 1},
        "valid": {"strides": 2, "auto_pad": "VALID"},
    }
    for shape in (LINE, PLANE, SPACE):
        rank = len(shape) - 1
        for name, given in wide.items():
            spelled = {
                key: [value] * (rank * (2 if key == "pads" else 1)) if key in ("strides", "pads") else value
                for key, value in given.items()
            }
            pool = node("AveragePool", kernel_shape=[3, 2, 2][:rank], **spelled)
            found[f"average {rank}: {name}"] = [pool], {}, shape, 11
        spread = node("AveragePool", kernel_shape=[2] * rank, dilations=[2] * rank, pads=[1] * (2 * rank))
        found[f"average {rank}: dilated"] = [spread], {}, shape, 19
        old = node("AveragePool", kernel_shape=[2] * rank, pads=[1] * (2 * rank))
        found[f"average {rank}: old"] = [old], {}, shape, 7
        most = node("MaxPool", kernel_shape=[3] * rank, strides=[2] * rank, ceil_mode=1)
        found[f"maximum {rank}"] = [most], {}, shape, 12
        found[f"maximum {rank}: old"] = [node("MaxPool", kernel_shape=[2] * rank)], {}, shape, 7
        found[f"maximum {rank}: of all"] = [node("GlobalMaxPool")], {}, shape, 13
        found[f"average {rank}: of all"] = [node("GlobalAveragePool")], {}, shape, 13
        found[f"average {rank}: one window"] = [node("AveragePool", kernel_shape=shape[1:])], {}, shape, 13
    return found


def sums() -> dict[str, Form]:
    found: dict[str, Form] = {}
    for op, moved in (("ReduceMean", 18), ("ReduceSum", 13)):
        for keep in (0, 1):
            for axes in ([2, 3], [1], [-1], [1, 3], [3, 2]):
                name = f"{op} {axes} {keep}"
                found[f"{name} attribute"] = [node(op, axes=axes, keepdims=keep)], {}, PLANE, 11
                late = node(op, "h", "a", keepdims=keep)
                found[f"{name} input"] = [late], {"a": integers(*axes)}, PLANE, moved
        same = node(op, "h", noop_with_empty_axes=1)
        found[f"{op} of nothing"] = [same], {}, PLANE, moved
    return found


FORMS: dict[str, Form] = {
    **pools(),
    **sums(),
    "slice attributes": ([node("Slice", starts=[1, 0], ends=[3, 4], axes=[1, 3])], {}, PLANE, 9),
    "slice attributes from the end": ([node("Slice", starts=[-2], ends=[2**31], axes=[2])], {}, PLANE, 5),
    "slice attributes of all axes": ([node("Slice", starts=[0, 1, 2], ends=[2**40, 3, 5])], {}, PLANE, 9),
    "slice inputs": (
        [node("Slice", "h", "s", "e", "a")],
        {"s": integers(1), "e": integers(3), "a": integers(-1)},
        PLANE,
        10,
    ),
    "slice of 32 bits": (
        [node("Slice", "h", "s", "e", "a")],
        {name: np.array([value], np.int32) for name, value in (("s", 1), ("e", 3), ("a", 2))},
        PLANE,
        13,
    ),
    "slice backwards": (
        [node("Slice", "h", "s", "e", "a", "t")],
        {"s": integers(-1), "e": integers(-99), "a": integers(3), "t": integers(-2)},
        PLANE,
        13,
    ),
    "slice by its own shape": (
        [
            made("Shape", ["h"], ["all"]),
            made("Gather", ["all", "two"], ["e"]),
            made("Sub", ["e", "one"], ["less"]),
            node("Slice", "h", "s", "less", "a"),
        ],
        {"two": integers(2), "one": integers(1), "s": integers(0), "a": integers(2)},
        PLANE,
        13,
    ),
    "pad attribute": ([node("Pad", pads=[0, 0, 1, 2, 0, 1, 0, 1])], {}, PLANE, 10),
    "pad attribute negative": ([node("Pad", pads=[0, 0, -1, 2, 0, 0, 0, -2])], {}, PLANE, 2),
    "pad attribute reflected": ([node("Pad", pads=[0, 0, 2, 1, 0, 0, 1, 3], mode="reflect")], {}, PLANE, 9),
    "pad negative": ([node("Pad", "h", "p")], {"p": integers(0, 0, -1, 0, 0, 0, 0, -2)}, PLANE, 13),
    "pad cropping channels": ([node("Pad", "h", "p")], {"p": integers(0, -1, 0, 0, 0, -1, 0, 0)}, PLANE, 13),
    "pad and crop": ([node("Pad", "h", "p")], {"p": integers(0, 1, -2, 3, 0, -1, 1, -1)}, PLANE, 13),
    "pad with a value": (
        [node("Pad", "h", "p", "v")],
        {"p": integers(0, 0, 1, 0, 0, 0, 0, -1), "v": np.float32(3)},
        PLANE,
        13,
    ),
    "pad repeating edges": (
        [node("Pad", "h", "p", mode="edge")],
        {"p": integers(0, 0, 2, 3, 0, 1, 1, 2)},
        PLANE,
        13,
    ),
    "pad reflected": ([node("Pad", "h", "p", mode="reflect")], {"p": integers(0, 0, 2, 3, 0, 0, 1, 2)}, PLANE, 18),
    "pad wrapped": ([node("Pad", "h", "p", mode="wrap")], {"p": integers(0, 0, 1, 2, 0, 0, 0, 1)}, PLANE, 19),
    "pad of some axes": (
        [node("Pad", "h", "p", "", "a")],
        {"p": integers(1, -1, 0, 2), "a": integers(-1, 1)},
        PLANE,
        18,
    ),
    "pad of one axis": ([node("Pad", "h", "p", "", "a")], {"p": integers(1, 2), "a": integers(2)}, PLANE, 18),
    "pad of a line": ([node("Pad", "h", "p")], {"p": integers(0, 0, -3, 0, 0, 2)}, LINE, 13),
    "pad of a space": ([node("Pad", "h", "p")], {"p": integers(0, 0, 1, -1, 0, 0, 0, 1, 0, -2)}, SPACE, 13),
    "clip attributes": ([node("Clip", min=-0.4, max=0.6)], {}, PLANE, 6),
    "clip without limits": ([node("Clip")], {}, PLANE, 11),
    "squeeze attribute": (
        [made("ReduceMean", ["h"], ["m"], axes=[2]), node("Squeeze", "m", axes=[2])], {}, PLANE, 11
    ),
    "unsqueeze attribute": ([node("Unsqueeze", axes=[1, 4])], {}, PLANE, 11),
    "flatten": ([node("Flatten", axis=1)], {}, SPACE, 9),
    "dropout": ([node("Dropout", ratio=0.5)], {}, PLANE, 10),
    "dropout at rest": (
        [node("Dropout", "h", "r", "t")], {"r": np.float32(0.5), "t": np.array(False)}, PLANE, 13
    ),
    "batch norm": (
        [node("BatchNormalization", "h", "s", "b", "m", "v", spatial=1)],
        {"s": floats(3), "b": floats(3), "m": floats(3), "v": floats(3) ** 2 + 1},
        PLANE,
        8,
    ),
    "batch norm through Identity and Cast": (
        [
            made("Identity", ["s"], ["s2"]),
            made("Cast", ["v"], ["v2"], to=TensorProto.FLOAT),
            node("BatchNormalization", "h", "s2", "b", "m", "v2"),
        ],
        {"s": floats(3), "b": floats(3), "m": floats(3), "v": (floats(3) ** 2 + 1).astype(np.float64)},
        PLANE,
        13,
    ),
    "concat": ([made("Tanh", ["h"], ["t"]), node("Concat", "t", "h", axis=-1)], {}, PLANE, 11),
    "transpose": ([node("Transpose", perm=[0, 3, 1, 2])], {}, PLANE, 11),
    "cast there and back": (
        [made("Cast", ["h"], ["d"], to=TensorProto.DOUBLE), node("Cast", "d", to=TensorProto.FLOAT)],
        {},
        PLANE,
        13,
    ),
    "in half precision": (
        [
            made("Cast", ["h"], ["a"], to=TensorProto.FLOAT16),
            made("Conv", ["a", "w"], ["b"]),
            made("AveragePool", ["b"], ["c"], kernel_shape=[2, 2], pads=[1, 1, 1, 1]),
            made("Mul", ["c", "k"], ["d"]),
            made("BatchNormalization", ["d", "s", "s", "s", "v"], ["e"]),
            made("Slice", ["e", "one", "two", "two"], ["f"]),
            node("Cast", "f", to=TensorProto.FLOAT),
        ],
        {
            "w": floats(4, 3, 1, 1).astype(np.float16),
            "k": np.float16(2),
            "s": floats(4).astype(np.float16),
            "v": np.ones(4, np.float16),
            "one": integers(1),
            "two": integers(2),
        },
        PLANE,
        13,
    ),
    "in double precision": (
        [
            made("Cast", ["h"], ["a"], to=TensorProto.DOUBLE),
            made("MatMul", ["a", "w"], ["b"]),
            made("Sigmoid", ["b"], ["c"]),
            made("Add", ["c", "k"], ["d"]),
            node("Cast", "d", to=TensorProto.FLOAT),
        ],
        {"w": floats(6, 4).astype(np.float64), "k": np.float64(2)},
        PLANE,
        13,
    ),
    "split attribute": (
        [made("Split", ["h"], ["a", "b"], axis=3, split=[2, 4]), node("Concat", "b", "a", axis=3)], {}, PLANE, 11
    ),
    "split input, part unread": (
        [made("Split", ["h", "k"], ["a", "b"], axis=2), node("Tanh", "b")], {"k": integers(3, 4)}, PLANE, 13
    ),
    "split number": (
        [made("Split", ["h"], ["a", "b", "c"], axis=1, num_outputs=3), made("Mul", ["c", "a"], ["y"])],
        {},
        PLANE,
        18,
    ),
    "conv of a line": ([node("Conv", "h", "w", strides=[2], pads=[2, 1])], {"w": floats(4, 3, 3)}, LINE, 11),
    "conv of a space": (
        [node("Conv", "h", "w", strides=[1, 2, 2], pads=[1, 0, 1, 0, 1, 1])], {"w": floats(3, 2, 2, 3, 2)}, SPACE, 11
    ),
    "conv with a kernel made of others": (
        [
            made("Transpose", ["w"], ["t"], perm=[3, 2, 0, 1]),
            made("Cast", ["t"], ["k"], to=TensorProto.FLOAT),
            node("Conv", "h", "k"),
        ],
        {"w": floats(3, 2, 3, 5).astype(np.float16)},
        PLANE,
        13,
    ),
    "conv with a kernel of integers": (
        [made("DequantizeLinear", ["w", "s"], ["k"]), node("Conv", "h", "k")],
        {"w": np.arange(-12, 12).reshape(4, 3, 2, 1).astype(np.int8), "s": np.float32(0.1)},
        PLANE,
        13,
    ),
    "matrix from the right": ([node("MatMul", "h", "w")], {"w": floats(6, 4)}, PLANE, 13),
    "gemm": (
        [made("Flatten", ["h"], ["f"]), node("Gemm", "f", "w", "c", transB=1, alpha=0.5, beta=2.0)],
        {"w": floats(4, 33), "c": np.float32(0.3)},
        LINE,
        13,
    ),
    "differences and quotients": (
        [made("Sub", ["k", "h"], ["a"]), made("Mul", ["a", "h"], ["b"]), node("Div", "b", "d")],
        {"k": floats(3, 1, 1), "d": floats(7, 1) ** 2 + 1},
        PLANE,
        7,
    ),
    "the same value twice": ([made("Mul", ["h", "h"], ["a"]), node("Add", "a", "a")], {}, PLANE, 13),
}  # fmt: skip


def graph(
    nodes: list[NodeProto], held: dict[str, Any], shape: tuple[int, ...], opset: int, **options: Any
) -> ModelProto:
    """x → Identity h → the nodes, y → flatten → scores."""
    whole = [made("Identity", ["x"], ["h"]), *nodes, made("Flatten", ["y"], ["scores"])]
    body = helper.make_graph(
        whole,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in held.items()],
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, **options)


def differences(
    model: Model, x: np.ndarray, cotangent: np.ndarray, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """The slope at every number of one image, by two differences, and where there is a kink."""
    count = x.size
    moves = step * np.eye(count, dtype=np.float32).reshape(count, *x.shape[1:])
    runner = Runner(model, threads=1)
    up, down, here = (
        runner.scores((x + sign * moves).astype(np.float32)).astype(np.float64).reshape(count, -1) @ cotangent
        for sign in (1, -1, 0)
    )
    kink = np.abs(up + down - 2 * here) > 1e-2 * step * max(1.0, float(np.abs(up - down).max() / step))
    return ((up - down) / (2 * step)).reshape(x.shape), kink.reshape(x.shape)


@pytest.mark.parametrize("name", FORMS)
def test_the_gradient_of_every_form(name: str) -> None:
    nodes, held, shape, opset = FORMS[name]
    model = Model.from_proto(graph(nodes, held, shape, opset))
    x = np.random.default_rng(2).permutation(np.linspace(-1, 1, 3 * int(np.prod(shape)))).astype(np.float32)
    x = x.reshape(3, *shape)
    backward = Backward(model, ["h"], x[:2], threads=1)
    scores, values = backward.scores(x)
    cotangent = np.random.default_rng(3).standard_normal(scores.shape)
    found = backward.gradients(values, cotangent)["h"]
    assert found.shape == x.shape
    smooth = 0
    for image in range(len(x)):
        step = 0.06 if "half" in name else 1e-3  # half precision has no finer differences
        wanted, kink = differences(model, x[image : image + 1], cotangent[image], step)
        np.testing.assert_allclose(found[image][~kink[0]], wanted[0][~kink[0]], rtol=2e-2, atol=2e-2)
        smooth += int((~kink).sum())
    assert smooth >= 0.8 * x.size


BRANCHES = [
    helper.make_graph([made("Tanh", ["h"], [name])], name, [], [helper.make_tensor_value_info(name, 1, None)])
    for name in ("one", "other")
]
LOOP = helper.make_graph(
    [made("Identity", ["c"], ["c2"]), made("Tanh", ["v"], ["v2"]), made("Add", ["v2", "h"], ["v3"])],
    "loop",
    [
        helper.make_tensor_value_info("i", TensorProto.INT64, []),
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
    ],
    [
        helper.make_tensor_value_info("c2", TensorProto.BOOL, []),
        helper.make_tensor_value_info("v3", TensorProto.FLOAT, None),
    ],
)

REFUSED: dict[str, Form] = {
    "powers of a pool": ([node("LpPool", kernel_shape=[2, 2])], {}, PLANE, 11),
    "powers of all": ([node("GlobalLpPool")], {}, PLANE, 11),
    "response normalised": ([node("LRN", size=3)], {}, PLANE, 13),
    "softmax": ([node("Softmax", axis=1)], {}, PLANE, 13),
    "softmax of old": ([node("Softmax")], {}, PLANE, 11),
    "exponential": ([node("Exp")], {}, PLANE, 13),
    "largest along an axis": ([node("ReduceMax", axes=[2])], {}, PLANE, 11),
    "upsampled": ([node("Upsample", "h", "s")], {"s": np.array([1, 1, 2, 2], np.float32)}, PLANE, 9),
    "upsampled by attributes": ([node("Upsample", scales=[1.0, 1.0, 2.0, 2.0])], {}, PLANE, 7),
    "resized of old": ([node("Resize", "h", "s")], {"s": np.array([1, 1, 2, 2], np.float32)}, PLANE, 10),
    "resized": ([node("Resize", "h", "", "s")], {"s": np.array([1, 1, 2, 2], np.float32)}, PLANE, 13),
    "best": ([made("TopK", ["h", "k"], ["y", "where"], axis=1)], {"k": integers(2)}, PLANE, 11),
    "best by attribute": ([made("TopK", ["h"], ["y", "where"], axis=1, k=2)], {}, PLANE, 9),
    "taken": ([node("Gather", "h", "i", axis=1)], {"i": integers(2, 0)}, PLANE, 13),
    "chosen": (
        [made("Greater", ["h", "z"], ["c"]), node("Where", "c", "h", "z")], {"z": np.float32(0)}, PLANE, 13
    ),
    "repeated": ([node("Tile", "h", "r")], {"r": integers(1, 1, 2, 1)}, PLANE, 13),
    "channels to places": (
        [node("DepthToSpace", "c", blocksize=2)], {}, PLANE, 13
    ),
    "a transposed convolution": ([node("ConvTranspose", "h", "w")], {"w": floats(3, 2, 2, 2)}, PLANE, 13),
    "product of computed matrices": (
        [made("Transpose", ["h"], ["t"], perm=[0, 1, 3, 2]), node("MatMul", "h", "t")], {}, PLANE, 13
    ),
    "computed matrix on the right": ([node("MatMul", "w", "h")], {"w": floats(4, 7)}, PLANE, 13),
    "bias that is computed": (
        [
            made("Flatten", ["h"], ["f"]),
            made("ReduceMean", ["h"], ["m"], axes=[2, 3], keepdims=0),
            node("Gemm", "f", "w", "m"),
        ],
        {"w": floats(126, 3)},
        PLANE,
        13,
    ),
    "limits that are computed": (
        [made("ReduceMax", ["h"], ["m"], keepdims=0), node("Clip", "h", "", "m")], {}, PLANE, 13
    ),
    "mean of all": ([made("ReduceMean", ["h"], ["m"], keepdims=1), node("Add", "h", "m")], {}, PLANE, 13),
    "dropout that trains": (
        [node("Dropout", "h", "r", "t")], {"r": np.float32(0.5), "t": np.array(True)}, PLANE, 13
    ),
    "cast to integers": (
        [made("Cast", ["h"], ["i"], to=TensorProto.INT64), node("Cast", "i", to=TensorProto.FLOAT)], {}, PLANE, 13
    ),
    "instance norm": ([node("InstanceNormalization", "h", "s", "b")], {"s": floats(3), "b": floats(3)}, PLANE, 13),
    "a branch": (
        [node("If", "yes", then_branch=BRANCHES[0], else_branch=BRANCHES[1])], {"yes": np.array(True)}, PLANE, 13
    ),
    "a loop": (
        [node("Loop", "n", "yes", "z", body=LOOP)],
        {"n": np.array(2, np.int64), "yes": np.array(True), "z": np.zeros((1, 1, 1, 1), np.float32)},
        PLANE,
        13,
    ),
    "einsum": ([node("Einsum", "h", "w", equation="ncij,jk->ncik")], {"w": floats(6, 3)}, PLANE, 13),
    "only its shape": (
        [
            made("Shape", ["h"], ["s"]),
            made("Cast", ["s"], ["f"], to=TensorProto.FLOAT),
            made("ReduceMean", ["f"], ["m"], keepdims=1),
            made("Unsqueeze", ["m", "z"], ["u"]),
            node("Mul", "x", "u"),
        ],
        {"z": integers(0)},
        PLANE,
        13,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_gradient_is_refused_and_calibrated_without(name: str) -> None:
    nodes, held, shape, opset = REFUSED[name]
    x = np.random.default_rng(2).standard_normal((6, *shape)).astype(np.float32)
    if name == "channels to places":
        held, nodes = {"many": floats(8, 3, 1, 1)}, [made("Conv", ["h", "many"], ["c"]), *nodes]
    with pytest.raises(UnsupportedError) as refused:
        Backward(Model.from_proto(graph(nodes, held, shape, opset)), ["h"], x, threads=1)
    assert "\n" not in str(refused.value)
    # The same behind a layer.
    proto = graph(nodes, {**held, "first": floats(3, 3, 1, 1)}, shape, opset)
    proto.graph.node[0].CopyFrom(made("Conv", ["x", "first"], ["h"]))
    width = Runner(Model.from_proto(proto), threads=1).scores(x).shape[1]
    proto.graph.node[-1].output[0] = "flat"
    proto.graph.node.append(made("MatMul", ["flat", "last"], ["scores"]))
    proto.graph.initializer.append(numpy_helper.from_array(floats(width, 3), "last"))
    model = Model.from_proto(proto)
    calibration = calibrate(model, x, threads=1)
    assert calibration.reason is not None
    found = compress_at(calibration, calibration.price_of_bits(8)).model.to_model()
    # Random dropout and rounding to integers have no outputs to compare.
    if name not in ("dropout that trains", "cast to integers"):
        want, got = Runner(model, threads=1).scores(x), Runner(found, threads=1).scores(x)
        np.testing.assert_allclose(got, want, atol=0.1 * np.abs(want).max())


MIXED: dict[str, Form] = {
    "mean": ([node("ReduceMean", axes=[0], keepdims=1)], {}, PLANE, 13),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXED)
def test_what_mixes_images_is_refused_in_one_line(name: str) -> None:
    nodes, held, shape, opset = MIXED[name]
    x = np.random.default_rng(2).standard_normal((6, *shape)).astype(np.float32)
    proto = graph(nodes, {**held, "first": floats(3, 3, 1, 1)}, shape, opset)
    with pytest.raises(UnsupportedError):
        Backward(Model.from_proto(proto), ["h"], x, threads=1)
    proto.graph.node[0].CopyFrom(made("Conv", ["x", "first"], ["h"]))
    with pytest.raises(UsageError, match="row"):
        calibrate(Model.from_proto(proto), x, threads=1)


def test_a_kernel_that_is_computed_is_refused() -> None:
    nodes = [
        made("ReduceMean", ["h"], ["m"], axes=[0], keepdims=0),
        made("Unsqueeze", ["m", "z"], ["k"]),
        node("Conv", "h", "k"),
    ]
    x = np.random.default_rng(2).standard_normal((6, *PLANE)).astype(np.float32)
    with pytest.raises(UnsupportedError, match="kernel is computed"):
        Backward(Model.from_proto(graph(nodes, {"z": integers(0)}, PLANE, 13)), ["h"], x, threads=1)
