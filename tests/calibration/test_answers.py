"""What a model's scores are: endings of every kind, as their graphs and values tell, and what is no list of classes."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from enxuto.calibration.answers import check_scores_vary, inspect_answers, kind_of_scores
from enxuto.calibration.calibrate import calibrate
from enxuto.compression.at_price import compress_at
from enxuto.compression.calibrated import compress_within
from enxuto.compression.judge import Bounds
from enxuto.compression.split import ImageSplit
from enxuto.data import Preprocess
from enxuto.errors import UsageError
from enxuto.onnx_model import Model
from enxuto.runtime import Runner

N = helper.make_node
CLASSES, CHANNELS = 6, 8
random = np.random.default_rng(3)
IMAGES = random.standard_normal((24, 3, 6, 6)).astype(np.float32)
BODY = [
    N("Conv", ["x", "w1"], ["c1"], pads=[1] * 4),
    N("Relu", ["c1"], ["r1"]),
    N("Conv", ["r1", "w2"], ["c2"], pads=[1] * 4),
    N("Relu", ["c2"], ["r2"]),
]
POOLED = [
    *BODY,
    N("GlobalAveragePool", ["r2"], ["p"]),
    N("Flatten", ["p"], ["f"]),
    N("Gemm", ["f", "w3"], ["z"], transB=1),
]
WEIGHTS = {
    "w1": random.standard_normal((CHANNELS, 3, 3, 3)) * 0.4,
    "w2": random.standard_normal((CHANNELS, CHANNELS, 3, 3)) * 0.3,
    "w3": random.standard_normal((CLASSES, CHANNELS)) * 3,
    "w4": random.standard_normal((CLASSES, CHANNELS, 1, 1)) * 2,
    "one column": random.standard_normal((1, CHANNELS)),
    "kernel": random.standard_normal((3, CHANNELS, 3, 3)) * 0.2,
    "up": random.standard_normal((CHANNELS, 1, 2, 2)) * 0.2,
    "one": np.ones(1),
    "two": np.full(1, 2.0),
    "least": np.array(1e-7),
    "most": np.array(1.0),
    "scale": np.array(1 / 256),
    "tiny": np.array(1e-9),
    "lowest": np.array(-np.inf),
    "masks": np.array([0, 0, -1e9, 0, 0, -1e4]),
}
SHAPES = {
    "flat": [0, -1],
    "wide": [0, CLASSES, 1, 1],
    "in rows": [0, 1, CLASSES],
    "heads": [0, 2, 3],
    "zero": [0],
    "axis 1": [1],
    "both": [2, 3],
    "four": [4],
    "last": [1 << 40],
    "as wide": [1, CLASSES],
    "a column": [-1, 1],
    "order": [5, 4, 3, 2, 1, 0],
}


def graph(
    nodes: Sequence[NodeProto], output: str, *, opset: int = 17, kind: int = TensorProto.FLOAT
) -> ModelProto:
    """A model that ends in `output`, with those of the weights that it reads."""
    read = {name for node in nodes for name in node.input}
    tensors = [numpy_helper.from_array(np.asarray(a, np.float32), n) for n, a in WEIGHTS.items() if n in read]
    tensors += [numpy_helper.from_array(np.asarray(a, np.int64), n) for n, a in SHAPES.items() if n in read]
    if "zero point" in read:
        tensors.append(numpy_helper.from_array(np.uint8(0), "zero point"))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["images", 3, 6, 6])]
    return helper.make_model(
        helper.make_graph(
            list(nodes), "g", inputs, [helper.make_tensor_value_info(output, kind, None)], tensors
        ),
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)],
        ir_version=8,
    )


def model_of(*more: NodeProto, output: str = "y", body: Sequence[NodeProto] = POOLED, **about: int) -> Model:
    return Model.from_proto(graph([*body, *more], output, **about))


def soft(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


QUANTIZED = [
    N("QuantizeLinear", ["p1", "scale", "zero point"], ["p2"]),
    N("DequantizeLinear", ["p2", "scale", "zero point"], ["y"]),
]
SOFTMAX = N("Softmax", ["z"], ["p1"], axis=1)
# As JAX writes it: maxima bounded from below, sums spread by hand.
SPREAD = [
    N("ReduceMax", ["z"], ["m1"], axes=[1], keepdims=0),
    N("Max", ["lowest", "m1"], ["m2"]),
    N("Unsqueeze", ["m2", "axis 1"], ["m3"]),
    N("Expand", ["m3", "as wide"], ["m"]),
    N("Sub", ["z", "m"], ["d"]),
    N("Exp", ["d"], ["e"]),
    N("ReduceSum", ["e", "axis 1"], ["s1"], keepdims=0),
    N("Reshape", ["s1", "a column"], ["s"]),
]
DISTRIBUTIONS: dict[str, tuple[list[NodeProto], str, int]] = {
    "Softmax": ([N("Softmax", ["z"], ["y"], axis=1)], "probabilities", 17),
    "Softmax along the last axis": ([N("Softmax", ["z"], ["y"], axis=-1)], "probabilities", 17),
    "Softmax of opset 11, flattened": (
        [N("Reshape", ["z", "wide"], ["z1"]), N("Softmax", ["z1"], ["y"], axis=1)],
        "probabilities",
        11,
    ),
    "Softmax of opset 11 by default": ([N("Softmax", ["z"], ["y"])], "probabilities", 11),
    "Softmax of opset 9": ([N("Softmax", ["z"], ["y"])], "probabilities", 9),
    "Softmax of (N, C, 1, 1)": (
        [
            N("Reshape", ["z", "wide"], ["z1"]),
            N("Softmax", ["z1"], ["p1"], axis=1),
            N("Flatten", ["p1"], ["y"]),
        ],
        "probabilities",
        17,
    ),
    "Softmax that keeps its axes of 1": (
        [N("Reshape", ["z", "wide"], ["z1"]), N("Softmax", ["z1"], ["y"], axis=1)],
        "probabilities",
        17,
    ),
    "Softmax in rows": (
        [
            N("Reshape", ["z", "in rows"], ["z1"]),
            N("Softmax", ["z1"], ["p1"], axis=2),
            N("Squeeze", ["p1", "axis 1"], ["y"]),
        ],
        "probabilities",
        17,
    ),
    "Softmax, Identity, Dropout, Cast": (
        [
            SOFTMAX,
            N("Identity", ["p1"], ["p2"]),
            N("Dropout", ["p2"], ["p3"]),
            N("Cast", ["p3"], ["y"], to=TensorProto.FLOAT),
        ],
        "probabilities",
        17,
    ),
    "Softmax, clipped": ([SOFTMAX, N("Clip", ["p1", "least", "most"], ["y"])], "probabilities", 17),
    "Softmax, quantized": ([SOFTMAX, *QUANTIZED], "probabilities", 17),
    "Softmax at a temperature": (
        [N("Div", ["z", "two"], ["z1"]), N("Softmax", ["z1"], ["y"], axis=1)],
        "probabilities",
        17,
    ),
    "Softmax written out": (
        [
            N("ReduceMax", ["z"], ["m"], axes=[1]),
            N("Sub", ["z", "m"], ["d"]),
            N("Exp", ["d"], ["e"]),
            N("ReduceSum", ["e", "axis 1"], ["s"]),
            N("Div", ["e", "s"], ["y"]),
        ],
        "probabilities",
        17,
    ),
    "Exp of LogSoftmax": (
        [N("LogSoftmax", ["z"], ["l"], axis=1), N("Exp", ["l"], ["y"])],
        "probabilities",
        17,
    ),
    "LogSoftmax": ([N("LogSoftmax", ["z"], ["y"], axis=1)], "log-probabilities", 17),
    "LogSoftmax of opset 11": ([N("LogSoftmax", ["z"], ["y"])], "log-probabilities", 11),
    "Log of Softmax": ([SOFTMAX, N("Log", ["p1"], ["y"])], "log-probabilities", 17),
    "LogSoftmax written out": (
        [N("ReduceLogSumExp", ["z"], ["s"], axes=[1]), N("Sub", ["z", "s"], ["y"])],
        "log-probabilities",
        17,
    ),
    "Softmax as JAX writes it": (
        [*SPREAD, N("Expand", ["s", "as wide"], ["s2"]), N("Div", ["e", "s2"], ["y"])],
        "probabilities",
        17,
    ),
    "Softmax by a reciprocal": (
        [*SPREAD, N("Reciprocal", ["s"], ["s2"]), N("Mul", ["e", "s2"], ["y"])],
        "probabilities",
        17,
    ),
    "Softmax by a reciprocal, the other way round": (
        [*SPREAD, N("Reciprocal", ["s"], ["s2"]), N("Mul", ["s2", "e"], ["y"])],
        "probabilities",
        17,
    ),
    "LogSoftmax as JAX writes it": (
        [*SPREAD, N("Log", ["s"], ["l"]), N("Sub", ["d", "l"], ["y"])],
        "log-probabilities",
        17,
    ),
    "Softmax and a floor": ([SOFTMAX, N("Add", ["tiny", "p1"], ["y"])], "probabilities", 17),
    "Log of Softmax and a floor": (
        [SOFTMAX, N("Add", ["p1", "tiny"], ["p2"]), N("Log", ["p2"], ["y"])],
        "log-probabilities",
        17,
    ),
    "Log of Softmax, at least a floor": (
        [SOFTMAX, N("Max", ["p1", "tiny"], ["p2"]), N("Log", ["p2"], ["y"])],
        "log-probabilities",
        17,
    ),
    "LogSoftmax written out at length": (
        [
            N("Exp", ["z"], ["e"]),
            N("ReduceSum", ["e", "axis 1"], ["s"]),
            N("Log", ["s"], ["l"]),
            N("Sub", ["z", "l"], ["y"]),
        ],
        "log-probabilities",
        17,
    ),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_softmax_is_seen_and_what_is_in_front_of_it_found(name: str) -> None:
    """Oracle: the softmax, by hand, of the peeled model's scores is what ONNX Runtime gives of the whole model."""
    nodes, kind, opset = DISTRIBUTIONS[name]
    body = POOLED if opset == 17 else [*POOLED[:-1], N("MatMul", ["f", "w3t"], ["z"])]
    WEIGHTS["w3t"] = np.asarray(WEIGHTS["w3"]).T
    model = model_of(*nodes, body=body, opset=opset)
    found = inspect_answers(model, IMAGES)
    assert (found.kind, found.reason, found.classes) == (kind, None, CLASSES)
    assert found.before is not None
    whole = Runner(model).scores(IMAGES).reshape(len(IMAGES), -1)
    logits = Runner(found.logits(model)).scores(IMAGES).reshape(len(IMAGES), -1)
    assert np.ptp(logits) > 1.5
    given = whole if kind == "probabilities" else np.exp(whole)
    np.testing.assert_allclose(soft(logits), given, atol=1e-5 if "quantized" not in name else 1 / 256)
    assert kind_of_scores(model, whole) == kind
    # The walk says it by the graph, not by the values: a single row of logits could look like anything.
    assert kind_of_scores(model, whole[:1]) == kind


OPEN: dict[str, list[NodeProto]] = {
    "Gemm": [N("Identity", ["z"], ["y"])],
    "Gemm at a temperature": [N("Div", ["z", "two"], ["y"])],
    "gated by itself": [N("Sigmoid", ["z"], ["g"]), N("Mul", ["z", "g"], ["y"])],
    "rectified": [N("Relu", ["z"], ["y"])],
    "a convolution of one place": [N("Conv", ["p", "w4"], ["c3"]), N("Flatten", ["c3"], ["y"])],
    "a convolution that is pooled": [
        N("Conv", ["r2", "w4"], ["c3"]),
        N("GlobalAveragePool", ["c3"], ["g3"]),
        N("Flatten", ["g3"], ["y"]),
    ],
    "a convolution whose places are averaged": [
        N("Conv", ["r2", "w4"], ["c3"]),
        N("ReduceMean", ["c3"], ["y"], axes=[2, 3], keepdims=0),
    ],
    "two Gemms side by side": [
        N("Gemm", ["f", "w3"], ["z2"], transB=1),
        N("Concat", ["z", "z2"], ["y"], axis=1),
    ],
}


@pytest.mark.parametrize("name", OPEN)
def test_what_else_classifiers_end_in_is_taken_for_logits(name: str) -> None:
    model = model_of(*OPEN[name])
    found = inspect_answers(model, IMAGES)
    assert (found.kind, found.reason, found.before, found.operator) == ("logits", None, None, "")
    assert found.logits(model) is model


def test_probabilities_with_no_logits_in_front_of_them() -> None:
    """[1 − p, p] of a sigmoid, the mean of two softmaxes: their logarithms are the logits."""
    binary = [
        N("MatMul", ["f", "column"], ["q"]), N("Sigmoid", ["q"], ["s"]), N("Sub", ["one", "s"], ["t"]),
        N("Concat", ["t", "s"], ["y"], axis=1),
    ]  # fmt: skip
    WEIGHTS["column"] = np.asarray(WEIGHTS["one column"]).T
    mean = [
        SOFTMAX, N("Mul", ["z", "two"], ["z2"]), N("Softmax", ["z2"], ["p2"], axis=1), N("Mean", ["p1", "p2"], ["y"]),
    ]  # fmt: skip
    along_images = [  # in front of this softmax images lie along another axis
        N("Transpose", ["z"], ["zt"], perm=[1, 0]), N("Softmax", ["zt"], ["p1"], axis=0),
        N("Transpose", ["p1"], ["y"], perm=[1, 0]),
    ]  # fmt: skip
    for nodes, opset in ((binary, 17), (mean, 17), (mean, 9), (along_images, 17)):
        body = POOLED if opset == 17 else [*POOLED[:-1], N("MatMul", ["f", "w3t"], ["z"])]
        WEIGHTS["w3t"] = np.asarray(WEIGHTS["w3"]).T
        model = model_of(*nodes, body=body, opset=opset)
        found = inspect_answers(model, IMAGES)
        assert (found.kind, found.reason, found.before) == ("probabilities", None, None)
        given = Runner(model).scores(IMAGES)
        np.testing.assert_allclose(
            Runner(found.logits(model)).scores(IMAGES), np.log(given), rtol=1e-5, atol=1e-6
        )
        calibration = calibrate(model, IMAGES, threads=1)
        np.testing.assert_allclose(soft(calibration.scores), given, atol=1e-5)


NO_CLASSES: dict[str, tuple[list[NodeProto], str, int]] = {
    "one output": (
        [N("Gemm", ["f", "one column"], ["y"], transB=1)],
        "one number an image",
        TensorProto.FLOAT,
    ),
    "one probability": (
        [N("Gemm", ["f", "one column"], ["q"], transB=1), N("Sigmoid", ["q"], ["y"])],
        "one number",
        TensorProto.FLOAT,
    ),
    "Softmax of one": (
        [N("Gemm", ["f", "one column"], ["q"], transB=1), N("Softmax", ["q"], ["y"], axis=1)],
        "one number",
        TensorProto.FLOAT,
    ),
    "LogSoftmax of one": (
        [N("Gemm", ["f", "one column"], ["q"], transB=1), N("LogSoftmax", ["q"], ["y"], axis=1)],
        "one number",
        TensorProto.FLOAT,
    ),
    "a column of a classifier": (
        [N("Slice", ["z", "axis 1", "both 2", "axis 1"], ["y"])],
        "one number",
        TensorProto.FLOAT,
    ),
    "sigmoids": ([N("Sigmoid", ["z"], ["y"])], "Sigmoid makes each", TensorProto.FLOAT),
    "sigmoids, cast": (
        [N("Sigmoid", ["z"], ["s"]), N("Cast", ["s"], ["y"], to=TensorProto.FLOAT)],
        "Sigmoid",
        TensorProto.FLOAT,
    ),
    "sigmoids, quantized": ([N("Sigmoid", ["z"], ["p1"]), *QUANTIZED], "Sigmoid", TensorProto.FLOAT),
    "logarithms of sigmoids": (
        [N("Sigmoid", ["z"], ["s"]), N("Log", ["s"], ["y"])],
        "Sigmoid",
        TensorProto.FLOAT,
    ),
    "hard sigmoids": ([N("HardSigmoid", ["z"], ["y"])], "HardSigmoid", TensorProto.FLOAT),
    "hyperbolic tangents": ([N("Tanh", ["z"], ["y"])], "Tanh", TensorProto.FLOAT),
    "two sigmoids": (
        [N("Sigmoid", ["z"], ["s"]), N("Sigmoid", ["f"], ["s2"]), N("Concat", ["s", "s2"], ["y"], axis=1)],
        "Concat of Sigmoid",
        TensorProto.FLOAT,
    ),
    "a softmax less one class": (
        [SOFTMAX, N("Slice", ["p1", "axis 1", "last", "axis 1"], ["y"])],
        "Slice of Softmax",
        TensorProto.FLOAT,
    ),
    "several softmaxes": (
        [SOFTMAX, N("Softmax", ["f"], ["p2"], axis=1), N("Concat", ["p1", "p2"], ["y"], axis=1)],
        "Concat of Softmax",
        TensorProto.FLOAT,
    ),
    "a softmax for each head": (
        [
            N("Reshape", ["z", "heads"], ["h"]),
            N("Softmax", ["h"], ["p1"], axis=2),
            N("Flatten", ["p1"], ["y"]),
        ],
        "several distributions",
        TensorProto.FLOAT,
    ),
    "heads": ([N("Reshape", ["z", "heads"], ["y"])], "no list of classes", TensorProto.FLOAT),
    "the best class": ([N("ArgMax", ["z"], ["y"], axis=1)], "int64, not scores", TensorProto.INT64),
    "the best scores": ([N("TopK", ["z", "four"], ["y", "places"], axis=1)], "TopK", TensorProto.FLOAT),
    "one-hot": ([N("Hardmax", ["z"], ["y"], axis=1)], "Hardmax", TensorProto.FLOAT),
    "a map": ([N("Conv", ["r2", "kernel"], ["y"], pads=[1] * 4)], "no list of classes", TensorProto.FLOAT),
    "a map, flattened": (
        [N("Conv", ["r2", "kernel"], ["c3"], pads=[1] * 4), N("Flatten", ["c3"], ["y"])],
        "map of 6×6 places",
        TensorProto.FLOAT,
    ),
    "a map, reshaped": (
        [N("Conv", ["r2", "kernel"], ["c3"], pads=[1] * 4), N("Reshape", ["c3", "flat"], ["y"])],
        "map of 6×6",
        TensorProto.FLOAT,
    ),
    "a map, turned": (
        [
            N("Conv", ["r2", "kernel"], ["c3"]),
            N("Transpose", ["c3"], ["t"], perm=[0, 2, 3, 1]),
            N("Reshape", ["t", "flat"], ["y"]),
        ],
        "map of 4×4",
        TensorProto.FLOAT,
    ),
    "a map, rectified": (
        [N("Conv", ["r2", "kernel"], ["c3"]), N("Relu", ["c3"], ["r3"]), N("Flatten", ["r3"], ["y"])],
        "map of 4×4",
        TensorProto.FLOAT,
    ),
    "a map, added to": (
        [
            N("Conv", ["r2", "w4"], ["c3"]),
            N("Conv", ["r1", "w4"], ["c4"]),
            N("Add", ["c3", "c4"], ["a"]),
            N("Flatten", ["a"], ["y"]),
        ],
        "map of 6×6",
        TensorProto.FLOAT,
    ),
    "maps in a row": (
        [
            N("Conv", ["r2", "kernel"], ["c3"]),
            N("Flatten", ["c3"], ["f3"]),
            N("Conv", ["r2", "w4"], ["c4"]),
            N("Flatten", ["c4"], ["f4"]),
            N("Concat", ["f3", "f4"], ["y"], axis=1),
        ],
        "map of",
        TensorProto.FLOAT,
    ),
    "part of a map": (
        [
            N("Conv", ["r2", "kernel"], ["c3"]),
            N("Flatten", ["c3"], ["f3"]),
            N("Slice", ["f3", "axis 1", "last", "axis 1"], ["y"]),
        ],
        "map of",
        TensorProto.FLOAT,
    ),
    "a larger picture": (
        [N("DepthToSpace", ["r2"], ["d"], blocksize=2), N("Flatten", ["d"], ["y"])],
        "map of 12×12",
        TensorProto.FLOAT,
    ),
    "a transposed convolution": (
        [N("ConvTranspose", ["r2", "up"], ["t"], strides=[2, 2]), N("Flatten", ["t"], ["y"])],
        "map of 12×12",
        TensorProto.FLOAT,
    ),
    "coarse places": (
        [N("AveragePool", ["r2"], ["a"], kernel_shape=[3, 3], strides=[3, 3]), N("Flatten", ["a"], ["y"])],
        "map of 2×2",
        TensorProto.FLOAT,
    ),
    "a segmentation": (
        [N("Conv", ["r2", "w4"], ["c3"]), N("Softmax", ["c3"], ["p1"], axis=1), N("Flatten", ["p1"], ["y"])],
        "map of 6×6",
        TensorProto.FLOAT,
    ),
    "a list of vectors": (
        [
            N("Transpose", ["r2"], ["t"], perm=[0, 2, 3, 1]),
            N("MatMul", ["t", "w3t"], ["m"]),
            N("Reshape", ["m", "flat"], ["y"]),
        ],
        "written out in a row",
        TensorProto.FLOAT,
    ),
    "an embedding": ([N("LpNormalization", ["z"], ["y"], axis=1)], "vector of length 1", TensorProto.FLOAT),
    "rows of places": (
        [
            N("Transpose", ["r2"], ["t"], perm=[0, 2, 3, 1]),
            N("Reshape", ["t", "rows"], ["u"]),
            N("MatMul", ["u", "w3t"], ["y"]),
        ],
        "no row of scores for each",
        TensorProto.FLOAT,
    ),
    "together": (
        [N("MatMul", ["f", "column"], ["q"]), N("Add", ["q", "shares"], ["y"])],
        "move together",
        TensorProto.FLOAT,
    ),
    "NaN": ([N("Log", ["z"], ["y"])], "NaN", TensorProto.FLOAT),
}
SHAPES |= {"both 2": [2], "rows": [-1, CHANNELS]}
WEIGHTS |= {
    "column": np.asarray(WEIGHTS["one column"]).T,
    "w3t": np.asarray(WEIGHTS["w3"]).T,
    "nought": np.zeros(1),
    "shares": np.arange(CLASSES) / 10,
}


@pytest.mark.parametrize("name", NO_CLASSES)
def test_what_is_no_list_of_classes_is_refused_with_its_reason(name: str) -> None:
    """Measured by a divergence over classes, any weights would do for such a model; one line says what it is."""
    nodes, words, kind = NO_CLASSES[name]
    reason = inspect_answers(model_of(*nodes, kind=kind), IMAGES).reason
    if reason is None:  # seen once all images are
        with pytest.raises(UsageError, match=words) as caught:
            calibrate(model_of(*nodes, kind=kind), IMAGES, threads=1)
        reason = str(caught.value)
    assert re.search(words, reason)
    assert "\n" not in reason


def test_a_model_that_ignores_its_input_is_calibrated_but_not_searched() -> None:
    """Its answers can be kept, at a price that the caller names; a search would keep nothing else of it."""
    model = model_of(N("Mul", ["z", "nought"], ["n"]), N("Add", ["n", "shares"], ["y"]))
    calibration = calibrate(model, IMAGES, threads=1)
    made = compress_at(calibration, calibration.price_of_bits(4.0)).model.to_model()
    np.testing.assert_allclose(Runner(made).scores(IMAGES), Runner(model).scores(IMAGES), rtol=1e-6)
    with pytest.raises(UsageError, match="same for all images"):
        compress_within(
            model, Bounds(max_bytes=900), ImageSplit(None, None, None), Preprocess(), images=24, threads=1
        )


def test_two_outputs_that_differ_are_classes() -> None:
    """A network for two classes whose scores share most of their movement is none that moves together."""
    shared = random.standard_normal((40, 1))
    own = random.standard_normal((40, 2))
    check_scores_vary(5 * shared + own)
    check_scores_vary(np.concatenate([own, np.full((40, 1), -np.inf)], axis=1))  # a class that is masked
    for scores, words in (
        (5 * shared + 1e-3 * own, "move together"),
        (shared + np.array([0.0, 1.0]), "move together"),
        (np.tile([1.0, 2.0], (40, 1)), "same for all images"),
        (np.concatenate([own[:, :1], np.full((40, 1), -np.inf)], axis=1), "fewer than two"),
    ):
        with pytest.raises(UsageError, match=words):
            check_scores_vary(scores)
    constant = np.tile([1.0, 2.0], (40, 1))
    check_scores_vary(constant, lambda: np.tile([1.0, 2.0001], (4, 1)))  # the model ignores its input
    with pytest.raises(UsageError, match="same for all images"):
        check_scores_vary(constant, lambda: np.tile([1.0, 2.1], (4, 1)))  # the images do not reach it


MASKED: dict[str, list[NodeProto]] = {
    "scores": [N("Add", ["z", "masks"], ["y"])],
    "a softmax": [N("Add", ["z", "masks"], ["m"]), N("Softmax", ["m"], ["y"], axis=1)],
    "a logarithm": [N("Add", ["z", "masks"], ["m"]), N("LogSoftmax", ["m"], ["y"], axis=1)],
}


@pytest.mark.parametrize("name", MASKED)
def test_classes_masked_by_large_numbers_count_for_nothing(name: str) -> None:
    """−1e9 for a class is neither what the others' movement is small beside, nor a class that they move against."""
    calibration = calibrate(model_of(*MASKED[name]), IMAGES, threads=1)
    logits = Runner(model_of(N("Identity", ["z"], ["y"]))).scores(IMAGES)[:, [0, 1, 3, 4]]
    found = soft(calibration.scores)
    np.testing.assert_allclose(found[:, [0, 1, 3, 4]], soft(logits), atol=1e-5)
    assert not found[:, [2, 5]].any()
    together = np.concatenate(
        [random.standard_normal((40, 1)) + np.arange(3), np.full((40, 1), -1e9)], axis=1
    )
    with pytest.raises(UsageError, match="move together"):
        check_scores_vary(together)
    with pytest.raises(UsageError, match="all images are of the same class"):
        check_scores_vary(random.standard_normal((40, 3)) + np.array([0, 500, 0]))


@pytest.mark.parametrize("ends", ["Softmax", "LogSoftmax"])
def test_places_that_a_softmax_chooses_among_are_classes(ends: str) -> None:
    """Such as moves on a board: one distribution over all places. Without the softmax they are a map."""
    places = [N("Conv", ["r2", "kernel"], ["c3"], pads=[1] * 4), N("Reshape", ["c3", "flat"], ["z2"])]
    model = model_of(*places, N(ends, ["z2"], ["y"], axis=1), body=BODY)
    found = inspect_answers(model, IMAGES)
    assert (found.reason, found.classes, found.before) == (None, 3 * 6 * 6, "z2")
    logits = Runner(model_of(*places, output="z2", body=BODY)).scores(IMAGES)
    np.testing.assert_allclose(Runner(found.logits(model)).scores(IMAGES), logits, atol=1e-5)


@pytest.mark.parametrize("count", [1, 5])
def test_a_fixed_number_of_images(count: int) -> None:
    """The graph and its values are looked at in batches of that size."""
    for nodes, kind, words in (
        ([N("Softmax", ["z"], ["y"], axis=1)], "probabilities", None),
        (NO_CLASSES["a map, flattened"][0], "logits", "map of 6×6"),
    ):
        proto = graph([*POOLED, *nodes], "y")
        proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = count
        found = inspect_answers(Model.from_proto(proto), IMAGES[:12])
        assert found.kind == kind
        assert words is None if found.reason is None else words in found.reason


def test_a_softmax_within_a_function_is_seen_by_its_values() -> None:
    proto = graph(POOLED, "z")
    proto.graph.node.append(N("Ending", ["z"], ["y"], domain="own"))
    proto.graph.output[0].name = "y"
    opset = helper.make_opsetid("", 17)
    proto.functions.append(
        helper.make_function("own", "Ending", ["a"], ["b"], [N("Softmax", ["a"], ["b"], axis=1)], [opset])
    )
    proto.opset_import.append(helper.make_opsetid("own", 1))
    model = Model.from_proto(proto)
    whole = onnxruntime.InferenceSession(model.to_bytes()).run(None, {"x": IMAGES})[0]
    found = inspect_answers(model, IMAGES)
    assert (found.kind, found.before) == ("probabilities", None)
    np.testing.assert_allclose(soft(Runner(found.logits(model)).scores(IMAGES)), whole, atol=1e-5)
