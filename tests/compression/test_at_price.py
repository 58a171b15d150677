"""Layers as matrices, second moments of their inputs, and rounding that makes up for its errors."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from enxuto.calibration.layers import linear_layers
from enxuto.calibration.moments import block_bounds, fisher_direction, layer_moments
from enxuto.calibration.shrinkage import raise_floor
from enxuto.onnx_model import Model
from enxuto.rounding.feedback import loss, round_matrix, upper_factor
from enxuto.runtime import Runner


def model_of(nodes: list[object], weights: dict[str, np.ndarray], shape: list[object], rank: int) -> Model:
    """A model with input x of `shape` and output y of `rank`."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    made: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return Model.from_proto(made)


CONVOLUTIONS = {
    "plain": ((8, 6, 3, 3), {}),
    "padded": ((8, 6, 3, 3), {"pads": [1, 2, 0, 1]}),
    "strided": ((4, 6, 3, 3), {"strides": [2, 3], "pads": [1, 1, 1, 1]}),
    "dilated": ((4, 6, 3, 3), {"dilations": [2, 1]}),
    "grouped": ((8, 2, 3, 3), {"group": 3, "pads": [1, 1, 1, 1]}),
    "depthwise": ((6, 1, 3, 3), {"group": 6}),
    "pointwise": ((5, 6, 1, 1), {}),
    "same upper": ((4, 6, 4, 4), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same lower": ((4, 6, 4, 4), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_a_convolution_is_its_matrix_times_its_patches(case: str) -> None:
    shape, attributes = CONVOLUTIONS[case]
    generator = np.random.default_rng(1)
    shape = (6, *shape[1:]) if case == "grouped" else shape
    weight = generator.standard_normal(shape).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], **attributes)
    model = model_of([node], {"w": weight}, ["n", 6, 11, 10], 4)
    x = generator.standard_normal((2, 6, 11, 10)).astype(np.float32)
    (layer,) = linear_layers(model)
    vectors = layer.vectors(x, 10_000, generator)
    outputs = np.einsum("goc,gsc->gos", layer.matrix(weight), vectors)  # g o (n positions)
    wanted = Runner(model).scores(x)
    n, channels = wanted.shape[:2]
    found = outputs.reshape(channels, n, -1).transpose(1, 0, 2).reshape(wanted.shape)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(layer.restore(layer.matrix(weight), shape), weight)
    assert layer.vectors(x, 5, generator).shape[1] == 2 * 5
    places = vectors.shape[1] // 2
    assert layer.draw_inputs(x.shape, places, generator) is None
    drawn = layer.draw_inputs(x.shape, places - 1, generator)
    assert drawn is not None
    np.testing.assert_array_equal(drawn, np.unique(drawn))
    taken = vectors.reshape(layer.groups, 2, places, -1)[:, :, drawn].reshape(
        layer.groups, 2 * len(drawn), -1
    )
    np.testing.assert_array_equal(layer.vectors_at(x, drawn), taken)


@pytest.mark.parametrize(("operator", "attributes"), [("Gemm", {"transB": 1}), ("Gemm", {}), ("MatMul", {})])
def test_matrices_apply_to_their_inputs(operator: str, attributes: dict[str, int]) -> None:
    generator = np.random.default_rng(2)
    weight = generator.standard_normal((4, 7) if attributes else (7, 4)).astype(np.float32)
    model = model_of(
        [helper.make_node(operator, ["x", "w"], ["y"], **attributes)], {"w": weight}, ["n", 7], 2
    )
    x = generator.standard_normal((5, 7)).astype(np.float32)
    (layer,) = linear_layers(model)
    found = np.einsum("goc,gsc->so", layer.matrix(weight), layer.vectors(x, 1, generator))
    np.testing.assert_allclose(found, Runner(model).scores(x), rtol=1e-5)
    np.testing.assert_array_equal(layer.restore(layer.matrix(weight), weight.shape), weight)


def test_layers_that_are_no_plain_product_are_left_out() -> None:
    weights = {"w": np.ones((7, 7), np.float32)}
    scaled = helper.make_node("Gemm", ["x", "w"], ["y"], alpha=2.0)
    shared = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "w"], ["y"])]
    assert linear_layers(model_of([scaled], weights, ["n", 7], 2)) == []
    assert linear_layers(model_of(shared, weights, ["n", 7], 2)) == []


def test_second_moments_are_those_of_the_inputs_in_folds() -> None:
    generator = np.random.default_rng(3)
    weights = {
        "w": generator.standard_normal((6, 3, 3, 3)).astype(np.float32),
        "d": generator.standard_normal((6, 1, 3, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Conv", ["r", "d"], ["y"], group=6),
    ]
    model = model_of(nodes, weights, ["n", 3, 8, 8], 4)
    batches = [generator.standard_normal((4, 3, 8, 8)).astype(np.float32) for _ in range(4)]
    layers = linear_layers(model)
    seen: list[int] = []
    found, outputs, reason = layer_moments(model, layers, batches, progress=seen.append)
    scores = np.concatenate([output[0].reshape(len(output[0]), -1) for output in outputs])
    assert reason is None
    assert scores.shape == (16, 6 * 6 * 6)
    assert seen == [4, 4, 4, 4]
    hidden = Runner(model, extra_outputs=["r"]).outputs(np.concatenate(batches), ["r"])[0]
    for layer, source in zip(layers, (np.concatenate(batches), hidden), strict=True):
        vectors = layer.vectors(source, 10_000, generator).astype(np.float64)
        moments = found[layer.weight]
        np.testing.assert_allclose(
            moments.outer[0].sum(axis=0) / moments.count.sum(),
            np.einsum("gsc,gsd->gcd", vectors, vectors) / vectors.shape[1],
            rtol=1e-4,
            atol=1e-5,
        )
        # The first and the fourth batch, the second, and the third.
        assert moments.count.tolist() == [2 * moments.count[1], moments.count[1], moments.count[1]]
        assert moments.images.tolist() == [8, 4, 4]
        assert moments.power() > 0


def correlated(inputs: int, seed: int) -> np.ndarray:
    """A second moment with strong correlations."""
    generator = np.random.default_rng(seed)
    mixed = generator.standard_normal((4 * inputs, inputs)) @ generator.standard_normal((inputs, inputs))
    return mixed.T @ mixed / len(mixed)


def raised(second: np.ndarray, share: float) -> np.ndarray:
    """The same with so much of its mean power on the diagonal."""
    return raise_floor(second[None], share)[0]


@given(seed=st.integers(0, 1000), inputs=st.integers(1, 24))
@settings(max_examples=25, deadline=None)
def test_factor_of_the_inverse(seed: int, inputs: int) -> None:
    second = raised(correlated(inputs, seed), 0.05)
    factor = upper_factor(second)
    assert np.array_equal(factor, np.triu(factor))
    np.testing.assert_allclose(factor.T @ factor @ second, np.eye(inputs), atol=1e-6)


def test_blocks_cover_the_inputs() -> None:
    assert block_bounds(2304) == [(0, 2304)]
    assert block_bounds(4608) == [(0, 2304), (2304, 4608)]
    assert block_bounds(1000, 1024) == [(0, 1000)]
    bounds = block_bounds(25_088)
    assert len(bounds) == 25
    assert bounds[0][0] == 0
    assert bounds[-1][1] == 25_088
    assert all(a[1] == b[0] for a, b in pairwise(bounds))


@pytest.mark.parametrize("answers", [3, 40])
def test_directions_have_the_covariance_of_fisher_information(answers: int) -> None:
    """Of few answers, and of more than the 16 whose eigenvectors are taken."""
    scores = np.random.default_rng(2).standard_normal((1, answers)).astype(np.float32)
    p = np.exp(scores[0]) / np.exp(scores[0]).sum()
    drawn = fisher_direction(np.repeat(scores, 200_000, 0), np.random.default_rng(1)).astype(np.float64)
    np.testing.assert_allclose(drawn.T @ drawn / len(drawn), np.diag(p) - np.outer(p, p), atol=2e-3)
    np.testing.assert_allclose(drawn.sum(axis=1), 0, atol=1e-5)


def test_directions_between_two_answers_all_have_the_same_length() -> None:
    """Var = p(1 − p) for the difference of both: no draw is longer or shorter, as it would be with normal numbers."""
    p = 0.9
    scores = np.log(np.array([[p, 1 - p]])).astype(np.float32)
    drawn = fisher_direction(np.repeat(scores, 100, 0), np.random.default_rng(0))
    np.testing.assert_allclose(np.abs(drawn), np.sqrt(p * (1 - p)), rtol=1e-4)
    assert len(np.unique(np.sign(drawn[:, 0]))) == 2


def rounded(
    weights: np.ndarray, step: float, inputs: np.ndarray, outputs: np.ndarray | None = None
) -> np.ndarray:
    levels = np.empty(weights.shape, np.int32)
    other = np.eye(len(weights)) if outputs is None else outputs
    rows, columns = np.full(len(weights), step), np.ones(weights.shape[1])
    assert round_matrix(weights.copy(), rows, columns, upper_factor(inputs), upper_factor(other), levels)
    return levels


def test_uncorrelated_inputs_are_rounded_to_nearest() -> None:
    weights = np.random.default_rng(4).standard_normal((5, 12))
    np.testing.assert_array_equal(rounded(weights, 0.3, np.diag(np.arange(1.0, 13))), np.rint(weights / 0.3))


@pytest.mark.parametrize("seed", range(5))
def test_errors_are_made_up_for(seed: int) -> None:
    """On correlated inputs the loss falls well below that of rounding to nearest, at the same step."""
    second = raised(correlated(20, seed), 0.01)
    weights = np.random.default_rng(seed).standard_normal((30, 20))
    plain = loss(weights - 0.5 * np.rint(weights / 0.5), second)
    assert loss(weights - 0.5 * rounded(weights, 0.5, second), second) < 0.6 * plain


@pytest.mark.parametrize("seed", range(5))
def test_errors_of_related_outputs_cancel(seed: int) -> None:
    """Feedback between rows lowers the two-sided loss further."""
    inputs, outputs = raised(correlated(12, seed), 0.01), raised(correlated(10, seed + 50), 0.05)
    weights = np.random.default_rng(seed).standard_normal((10, 12))
    one = weights - 0.5 * rounded(weights, 0.5, inputs)
    both = weights - 0.5 * rounded(weights, 0.5, inputs, outputs)
    assert loss(both, inputs, outputs) < 0.95 * loss(one, inputs, outputs)


def test_two_inputs_by_hand() -> None:
    """w = (0.4, 0.4), step 1, H = [[1, .9], [.9, 1]]: 0.4 → 0 leaves 0.4·0.9 for the other: 0.4 + 0.36 → 1."""
    levels = rounded(np.array([[0.4, 0.4]]), 1.0, np.array([[1.0, 0.9], [0.9, 1.0]]))
    assert levels.tolist() == [[0, 1]]
    column = rounded(np.array([[0.4], [0.4]]), 1.0, np.eye(1), np.array([[1.0, 0.9], [0.9, 1.0]]))
    assert column.tolist() == [[0], [1]]


@given(seed=st.integers(0, 500), rows=st.integers(1, 4), columns=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_feedback_is_that_of_the_whole_inverse(seed: int, rows: int, columns: int) -> None:
    """The same levels as the textbook update on the Kronecker product G ⊗ H, one weight at a time."""
    inputs, outputs = (
        raised(correlated(columns, seed), 0.1),
        raised(correlated(rows, seed + 1), 0.1),
    )
    weights = np.random.default_rng(seed).standard_normal((rows, columns))
    left = weights.reshape(-1).copy()
    inverse = np.linalg.inv(np.kron(outputs, inputs))
    expected = []
    for _ in range(weights.size):
        level = np.rint(left[0] / 0.5)
        expected.append(int(level))
        error = (left[0] - level * 0.5) / inverse[0, 0]
        left = (left - error * inverse[0])[1:]
        inverse = inverse[1:, 1:] - np.outer(inverse[1:, 0], inverse[0, 1:]) / inverse[0, 0]
    assert rounded(weights, 0.5, inputs, outputs).reshape(-1).tolist() == expected


def test_levels_beyond_31_bits_are_refused() -> None:
    levels = np.empty((1, 1), np.int32)
    one = np.ones((1, 1))
    assert not round_matrix(np.full((1, 1), 1e30), np.ones(1), np.ones(1), one, one, levels)
