"""Calibrating odd models: layers that no answer depends on, none at all, unknown operators, weights of zeros or NaN."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import NodeProto, helper, numpy_helper

from enxuto.calibration.calibrate import calibrate
from enxuto.compression.at_price import compress_at
from enxuto.compression.judge import Judge
from enxuto.compression.split import load_images
from enxuto.data import Preprocess, open_dataset
from enxuto.demo import MODEL, TEST_IMAGES
from enxuto.errors import DataError, ModelError, UsageError
from enxuto.onnx_model import Model, fixed_batch, free_batch
from enxuto.runtime import Runner

node = helper.make_node
IMAGES = np.random.default_rng(0).standard_normal((6, 3, 8, 8)).astype(np.float32)
KERNEL = np.random.default_rng(1).standard_normal((4, 3, 3, 3)).astype(np.float32)


def model_of(nodes: list[NodeProto], **weights: np.ndarray) -> Model:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    opset = helper.make_opsetid("", 17)
    return Model.from_proto(helper.make_model(graph, opset_imports=[opset], ir_version=8))


def pooled(value: str) -> list[NodeProto]:
    """A class for each channel: its mean."""
    return [node("GlobalAveragePool", [value], ["pool"]), node("Flatten", ["pool"], ["y"])]


def test_a_layer_that_no_answer_depends_on_takes_default_steps() -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"]),
        node("Conv", ["x", "unused"], ["d"]),
        *pooled("c"),
    ]
    # Of white noise there is nothing to be learnt, and rounding is to nearest.
    smooth = np.cumsum(IMAGES, axis=3)
    outcome = compress_at(calibrate(model_of(nodes, w=KERNEL, unused=KERNEL * 2), smooth, threads=1), 1e-4)
    assert {layer.name: layer.method for layer in outcome.layers} == {"w": "calibrated", "unused": "default"}


def test_an_operator_without_a_derivative_is_told() -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"]),
        node("Hardmax", ["c"], ["h"]),
        node("Add", ["c", "h"], ["e"]),
        *pooled("e"),
    ]
    calibration = calibrate(model_of(nodes, w=KERNEL), IMAGES, threads=1)
    assert calibration.reason is not None
    assert "Hardmax" in calibration.reason
    assert calibration.curvatures["w"].sensitivity > 0


def test_weights_of_zeros_stay_zeros() -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"]),
        node("Conv", ["x", "v"], ["d"]),
        node("Add", ["c", "d"], ["e"]),
        *pooled("e"),
    ]
    outcome = compress_at(calibrate(model_of(nodes, w=KERNEL * 0, v=KERNEL), IMAGES, threads=1), 1e-4)
    assert not outcome.model.to_model().load("w").any()


def test_what_cannot_be_calibrated() -> None:
    flat = [node("Relu", ["x"], ["r"]), node("Flatten", ["r"], ["y"])]
    with pytest.raises(UsageError, match="E036"):
        calibrate(model_of(flat), IMAGES)
    nodes = [node("Conv", ["x", "w"], ["c"]), *pooled("c")]
    with pytest.raises(ModelError, match="E033"):
        calibrate(model_of(nodes, w=KERNEL * np.nan), IMAGES)
    with pytest.raises(DataError, match="E043"):
        calibrate(model_of(nodes, w=KERNEL), IMAGES[:1])


def test_biases_stay_where_correcting_them_makes_it_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judged on images that the correction has not seen, of few on some left out; with fewer it is taken as it is."""
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"]),
        node("Relu", ["c"], ["r"]),
        node("GlobalAveragePool", ["r"], ["p"]),
        node("Flatten", ["p"], ["y"]),
    ]
    images = np.random.default_rng(4).standard_normal((96, 3, 8, 8)).astype(np.float32)
    bias = np.linspace(-1, 1, 4)
    cases = [
        (96, 30.0, True),
        (96, 0.0, False),
        (70, 30.0, False),
        (47, 30.0, True),
        (16, 30.0, True),
        (16, 0.0, False),
    ]
    for count, harm, kept in [*cases, (15, 3.0, False)]:
        calibration = calibrate(model_of(nodes, w=KERNEL, b=bias), images[:count], threads=1)
        monkeypatch.setattr(
            "enxuto.calibration.bias_correction.correct_biases",
            lambda *given, harm=harm, **options: {"b": (bias + harm * np.arange(4)).astype(np.float32)},
        )
        found = calibration.correct_biases(calibration.round_at(1e-6))["b"]
        np.testing.assert_allclose(found, bias if kept else bias + harm * np.arange(4), atol=1e-5)
        methods = {layer.name: layer.method for layer in compress_at(calibration, 1e-6).layers}
        assert methods["1 biases"] == ("corrected" if harm and not kept else "kept")


def fixed_model(count: int, shape: list[int], ir_version: int = 9) -> Model:
    """A small network for exactly `count` images, flattened by a Reshape to `shape`."""
    generator = np.random.default_rng(5)
    weights: dict[str, np.ndarray] = {
        "w": KERNEL,
        "m": generator.standard_normal((5, 4 * 36)).astype(np.float32) / 12,
        "b": np.zeros(5, np.float32),
        "s": np.array(shape, np.int64),
    }
    nodes = [
        node("Conv", ["x", "w"], ["c"]),
        node("Relu", ["c"], ["r"]),
        node("Reshape", ["r", "s"], ["f"]),
        node("Gemm", ["f", "m", "b"], ["y"], transB=1),
    ]
    inputs = [helper.make_tensor_value_info("x", 1, [count, 3, 8, 8])]
    if ir_version < 4:
        inputs += [
            helper.make_tensor_value_info(name, 7 if name == "s" else 1, array.shape)
            for name, array in weights.items()
        ]
    graph = helper.make_graph(
        nodes,
        "g",
        inputs,
        [helper.make_tensor_value_info("y", 1, [count, 5])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opset = helper.make_opsetid("", 13)
    return Model.from_proto(helper.make_model(graph, opset_imports=[opset], ir_version=ir_version))


@pytest.mark.parametrize("ir_version", [3, 9])
@pytest.mark.parametrize(("count", "shape"), [(1, [1, 144]), (1, [1, -1]), (4, [4, -1]), (4, [-1, 144])])
def test_a_model_for_a_fixed_number_of_images(count: int, shape: list[int], ir_version: int) -> None:
    images = np.random.default_rng(6).standard_normal((40, 3, 8, 8)).astype(np.float32)
    fixed = calibrate(fixed_model(count, shape, ir_version), images, threads=1)
    free = calibrate(free_batch(fixed_model(count, [-1, 144])), images, threads=1)
    assert {name: one.sensitivity for name, one in fixed.curvatures.items()} == pytest.approx(
        {name: one.sensitivity for name, one in free.curvatures.items()}, rel=1e-3
    )
    outcome = compress_at(fixed, fixed.price_of_bits(4))
    decoded = outcome.model.to_model()
    assert fixed_batch(decoded) == count, "the file's graph is the model's own"
    assert Runner(decoded).scores(images).shape == (40, 5)


def test_a_model_whose_number_of_images_cannot_be_freed() -> None:
    model = fixed_model(2, [144, 2])  # mixes the images
    proto = model.proto
    proto.graph.node[3].attribute[0].i = 0
    proto.graph.node[3].attribute.add(name="transA", type=2, i=1)
    weights = {"m": np.ones((144, 5), np.float32)}
    mixed = Model.from_proto(
        helper.make_model(
            helper.make_graph(
                list(proto.graph.node), "g", list(proto.graph.input), list(proto.graph.output),
                [numpy_helper.from_array(weights.get(name, model.load(name)), name) for name in model.weight_names],
            ),
            opset_imports=list(proto.opset_import),
            ir_version=9,
        )
    )  # fmt: skip
    images = np.random.default_rng(6).standard_normal((40, 3, 8, 8)).astype(np.float32)
    with pytest.raises(UsageError, match="E032"):
        calibrate(mixed, images, threads=1)


def test_a_reshape_of_old_operator_sets_says_its_shape_as_an_attribute() -> None:
    graph = helper.make_graph(
        [node("Reshape", ["x"], ["y"], shape=[2, 12])],
        "g",
        [helper.make_tensor_value_info("x", 1, [2, 3, 4])],
        [helper.make_tensor_value_info("y", 1, [2, 12])],
    )
    free = free_batch(Model.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 1)])))
    assert not fixed_batch(free)
    assert list(free.proto.graph.node[0].input) == ["x"]


@pytest.mark.parametrize("bits", [0.9, 1.2, 2.0])
def test_a_network_sure_of_its_images_keeps_its_answers(bits: float) -> None:
    """Gradients of few images may not make directions free: errors there would pass the margins of all others."""
    model, data = Model.read(MODEL), open_dataset(TEST_IMAGES)
    first, rest = data.split([64 / len(data), 1 - 64 / len(data)], 0, stratified=False)
    preprocess = Preprocess(channels="L")
    calibration = calibrate(model, load_images(first, preprocess), threads=2)
    made = compress_at(calibration, calibration.price_of_bits(bits)).model
    judged = Judge(model, rest, preprocess, threads=2)(made)
    assert judged.kl < 0.02
    assert judged.agreement > 97
