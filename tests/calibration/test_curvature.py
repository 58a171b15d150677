"""Curvatures, steps at equal slope, sensitivities, stages and corrected biases, on small networks."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from enxuto.calibration.allocation import choose_spacing, price_of_bits
from enxuto.calibration.bias_correction import channel_means, correct_biases, shrink_shift
from enxuto.calibration.calibrate import calibrate
from enxuto.calibration.curvature import Curvature, estimate_curvature
from enxuto.calibration.layers import LinearLayer, linear_layers
from enxuto.calibration.moments import FOLDS, Moments, layer_moments
from enxuto.calibration.partial_runs import PartialRuns
from enxuto.calibration.sensitivity import blend_sensitivities, measure_sensitivities
from enxuto.metrics.divergence import divergence
from enxuto.onnx_model import Model
from enxuto.runtime import Runner

node = helper.make_node


def small_network(
    seed: int = 0,
    flatten: Sequence[NodeProto] = (node("Flatten", ["p"], ["f"]),),
    more: dict[str, np.ndarray] | None = None,
) -> Model:
    """Convolution, rectifier, depthwise convolution, rectifier, average, matrix: biases everywhere."""
    generator = np.random.default_rng(seed)
    arrays = {
        "w1": generator.standard_normal((8, 3, 3, 3)) * 0.3,
        "b1": generator.standard_normal(8) * 0.1,
        "w2": generator.standard_normal((8, 1, 3, 3)) * 0.4,
        "b2": generator.standard_normal(8) * 0.1,
        "w3": generator.standard_normal((5, 8)) * 0.6,
        "b3": generator.standard_normal(5) * 0.1,
    }
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"]),
        node("Conv", ["r1", "w2", "b2"], ["c2"], group=8),
        node("Relu", ["c2"], ["r2"]),
        node("Add", ["r2", "r2"], ["a"]),
        node("GlobalAveragePool", ["a"], ["p"]),
        *flatten,
        node("Gemm", ["f", "w3", "b3"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 9, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [
            *(numpy_helper.from_array(a.astype(np.float32), name) for name, a in arrays.items()),
            *(numpy_helper.from_array(a, name) for name, a in (more or {}).items()),
        ],
    )
    opset = helper.make_opsetid("", 17)
    return Model.from_proto(helper.make_model(graph, opset_imports=[opset], ir_version=8))


def pictures(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, 9, 9)).astype(np.float32)


def curvatures(model: Model, images: np.ndarray) -> list[Curvature]:
    layers = linear_layers(model)
    moments, _, _ = layer_moments(model, layers, (images[i : i + 8] for i in range(0, len(images), 8)))
    found = []
    for layer in layers:
        power = moments[layer.weight].power()
        found.append(
            estimate_curvature(layer, model.load(layer.weight), moments[layer.weight]).with_sensitivity(
                power / 2
            )
        )
    return found


def layer_of(outputs: int, inputs: int) -> LinearLayer:
    return LinearLayer("w", None, "x", "y", "rows")


def test_costs_predict_divergences() -> None:
    """½·Fisher: what gradients alone say of small errors; more where errors agree over positions that are averaged."""
    model, images = small_network(), pictures(256)
    reference = Runner(model).scores(images)
    for curvature in curvatures(model, images):
        name = curvature.layer.weight
        weight = model.load(name)
        matrix = curvature.layer.matrix(weight)
        noise = np.random.default_rng(5).standard_normal(matrix.shape) * 0.03 * np.sqrt(np.mean(matrix**2))
        disturbed = (weight + curvature.layer.restore(noise, weight.shape)).astype(np.float32)
        found = divergence(reference, Runner(model.replace_weights({name: disturbed})).scores(images))
        predicted = curvature.sensitivity * curvature.cost(noise, np.zeros_like(noise))
        assert found / predicted > 0.4, name
        if name == "w3":  # no positions here
            assert found / predicted < 2.5


def test_steps_follow_the_price() -> None:
    model = small_network()
    spacings = [choose_spacing(one) for one in curvatures(model, pictures(64))]
    weights = [model.load(one.curvature.layer.weight) for one in spacings]
    for spacing in spacings:
        assert spacing.step(4e-4) == pytest.approx(2 * spacing.step(1e-4), rel=1e-6)
    coarse, fine = (price_of_bits(spacings, weights, bits) for bits in (2.0, 4.0))
    assert fine < coarse
    assert price_of_bits(spacings, weights, 3.0) == pytest.approx(np.sqrt(coarse * fine), rel=0.6)


def test_uneven_rows_get_uneven_steps_and_even_ones_none() -> None:
    generator = np.random.default_rng(0)
    moments = Moments.empty(1, 40)
    for fold in range(FOLDS):
        moments.add(generator.standard_normal((1, 400, 40)).astype(np.float32), fold)
        loud = generator.standard_normal((1, 400, 64)).astype(np.float32) * np.repeat([1.0, 16.0], 32)
        moments.add_gradients(loud.astype(np.float32), 100, fold)
    weight = generator.standard_normal((64, 40)).astype(np.float32)
    spacing = choose_spacing(estimate_curvature(layer_of(64, 40), weight, moments))
    assert not spacing.columns.any()
    rows = spacing.rows.reshape(-1)
    # Gradients sixteen times as large: half of the exponent of full compensation, 2 octaves of the 4.
    assert np.median(rows[:32]) - np.median(rows[32:]) == pytest.approx(8, abs=1)
    assert spacing.grid(1.0).rows == tuple(rows.tolist())
    assert spacing.grid(1.0).columns == ()


def test_noise_is_rounded_to_nearest_or_nearly() -> None:
    """Moments of fewer vectors than inputs predict nothing: nearly diagonal, or not used."""
    generator = np.random.default_rng(3)
    moments = Moments.empty(1, 300)
    for fold in range(FOLDS):
        moments.add(generator.standard_normal((1, 20, 300)).astype(np.float32), fold)
    curvature = estimate_curvature(layer_of(30, 300), generator.standard_normal((30, 300)), moments)
    found = curvature.inputs[0][0]
    assert np.abs(found - np.diag(np.diag(found))).max() < 0.05 * np.diag(found).min()


@pytest.mark.parametrize("kind", ["dead inputs", "zero weights", "one output", "one input", "no vectors"])
def test_degenerate_layers(kind: str) -> None:
    generator = np.random.default_rng(4)
    outputs, inputs = (1 if kind == "one output" else 6), (1 if kind == "one input" else 12)
    moments = Moments.empty(1, inputs)
    if kind != "no vectors":
        for fold in range(FOLDS):
            vectors = generator.standard_normal((1, 50, inputs)).astype(np.float32)
            vectors[..., ::2] *= 0.0 if kind == "dead inputs" and inputs > 1 else 1.0
            moments.add(vectors, fold)
            moments.add_gradients(generator.standard_normal((1, 50, outputs)).astype(np.float32), 10, fold)
    weight = generator.standard_normal((outputs, inputs)) * (0.0 if kind == "zero weights" else 1.0)
    curvature = estimate_curvature(layer_of(outputs, inputs), weight, moments)
    spacing = choose_spacing(curvature)
    levels = curvature.round(curvature.layer.matrix(weight), *spacing.steps(1e-3))
    assert levels is not None
    assert np.isfinite(curvature.cost(curvature.layer.matrix(weight), 0.9 * curvature.layer.matrix(weight)))
    if kind == "zero weights":
        assert not levels.any()


def test_sensitivities_are_searched_without_gradients() -> None:
    model, images = small_network(), pictures(64)
    reference = Runner(model).scores(images)
    known = curvatures(model, images)
    with_gradients = measure_sensitivities(model, [choose_spacing(one) for one in known], images, reference)
    without = measure_sensitivities(
        model, [choose_spacing(one.with_sensitivity(0.0)) for one in known], images, reference
    )
    for name, value in with_gradients.items():
        assert 0 < without[name].at(1) < 20 * value.at(1), name
        assert without[name].at(1) > value.at(1) / 20, name


def test_sensitivities_see_errors_add_up_over_positions() -> None:
    """Where the positions of an image are alike, errors there add up in an average, which gradients' moments miss."""
    model = small_network(2)
    flat = np.random.default_rng(3).standard_normal((256, 3, 1, 1)).astype(np.float32)
    images = np.ascontiguousarray(np.broadcast_to(flat, (256, 3, 9, 9)))
    known = curvatures(model, images)
    reference = Runner(model).scores(images)
    measured = measure_sensitivities(model, [choose_spacing(one) for one in known], images, reference)
    first, depthwise, matrix = (measured[one.layer.weight].at(1) / one.sensitivity for one in known)
    assert min(first, depthwise) > 5 * matrix  # the matrix has no positions


def test_what_images_agree_on_is_believed() -> None:
    generator = np.random.default_rng(8)
    guesses = generator.lognormal(0, 1, 40)
    sizes = generator.uniform(100, 200, 40)
    true = generator.lognormal(0, 1, 40)  # guesses know nothing
    # As sure as images can be: what one says of a layer it says of all.
    told = true[:, None] * generator.lognormal(0, 0.3, 200)
    np.testing.assert_allclose(blend_sensitivities(guesses, told, sizes), told.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(
        blend_sensitivities(guesses[:1], told[:1, :9], sizes[:1]), told[:1, :9].mean(axis=1)
    )


@pytest.mark.parametrize("seed", range(4))
def test_what_few_images_decide_is_not(seed: int) -> None:
    """Guesses are right but for a factor 3, and each layer's loss comes from a few of 60 images."""
    generator = np.random.default_rng(seed)
    guesses = generator.lognormal(0, 1, 40)
    told = 3 * guesses[:, None] * np.exp(generator.normal(-2, 2, (40, 60)))
    found = blend_sensitivities(guesses, told, np.ones(40))
    measured = told.mean(axis=1)

    def spread(values: np.ndarray) -> float:
        return float(np.std(np.log(values / guesses)))

    assert spread(found) < 0.7 * spread(measured)
    assert np.exp(np.mean(np.log(found / guesses))) == pytest.approx(
        np.exp(np.mean(np.log(measured / guesses)))
    )


def test_stages_are_the_whole_model() -> None:
    model, images = small_network(), pictures(4)
    stops = ["c1", "c2", "y"]
    runner = Runner(model, extra_outputs=["c1", "c2"])
    expected = runner.outputs(images, ["c1", "c2", "y"])
    found = list(PartialRuns(model, stops).run(images, {}))
    assert len(found) == 4
    for value, wanted in zip(found, [*expected, expected[2]], strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-6)
    # A weight changed while the generator waits is what later stages run with.
    changed: dict[str, np.ndarray] = {}
    values = PartialRuns(model, stops).run(images, changed)
    next(values)
    changed["w2"] = np.zeros_like(model.load("w2"))
    np.testing.assert_allclose(
        next(values), np.broadcast_to(model.load("b2")[:, None, None], (4, 8, 7, 7)), atol=1e-6
    )


def test_a_tail_gives_the_scores_of_the_model_with_another_weight() -> None:
    model, images = small_network(), pictures(11)
    layers = linear_layers(model)
    tails = PartialRuns(model, [layer.input for layer in layers]).tails(images)
    for layer, scores in zip(layers, tails, strict=True):
        for factor in (1.0, 0.5):
            changed = {layer.weight: model.load(layer.weight) * np.float32(factor)}
            expected = Runner(model.replace_weights(changed)).scores(images)
            np.testing.assert_allclose(scores(changed), expected, rtol=1e-5, atol=1e-6)


def test_tails_can_wait_and_run_side_by_side() -> None:
    model, images = small_network(), pictures(11)
    layers = linear_layers(model)
    tails = list(PartialRuns(model, [layer.input for layer in layers]).tails(images, threads=1))
    changed = [{layer.weight: model.load(layer.weight) * np.float32(0.5)} for layer in layers]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda tail, weights: tail(weights), tails, changed))
    for scores, weights in zip(found, changed, strict=True):
        expected = Runner(model.replace_weights(weights)).scores(images)
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


def test_the_number_of_threads_changes_no_bit() -> None:
    model, images = small_network(), pictures(40)

    def measured(threads: int) -> list[np.ndarray | float]:
        calibration = calibrate(model, images, threads=threads)
        levels = calibration.round_at(0.01, ["w1", "w2", "w3"])
        parts: list[np.ndarray | float] = [tensor.levels for tensor in levels.values()]
        for curvature in calibration.curvatures.values():
            parts += [*curvature.inputs, *curvature.outputs, curvature.sensitivity]
        return parts

    for one, other in zip(measured(1), measured(3), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("static", [False, True])
def test_stages_run_many_images_a_few_at_a_time(static: bool) -> None:
    """Values without a row per image, as a shape that a Reshape reads, keep a stage in one piece."""
    rows = [] if static else [node("Shape", ["x"], ["sizes"]), node("Gather", ["sizes", "zero"], ["rows"])]
    whole = node("Concat", ["minus" if static else "rows", "eight"], ["shape"], axis=0)
    numbers = {"zero": np.array([0]), "eight": np.array([8]), "minus": np.array([-1])}
    model = small_network(0, [*rows, whole, node("Reshape", ["p", "shape"], ["f"])], numbers)
    images = pictures(21)
    layers = linear_layers(model)
    outputs = [layer.output for layer in layers]
    runner = Runner(model, extra_outputs=outputs)
    expected = runner.outputs(images, outputs)
    for value, wanted in zip(PartialRuns(model, outputs).run(images, {}), expected, strict=False):
        np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-6)


def test_corrected_biases_restore_the_means() -> None:
    model, images = small_network(), pictures(64) + np.float32(0.7)
    layers = linear_layers(model)
    generator = np.random.default_rng(9)
    noisy = {
        layer.weight: (
            model.load(layer.weight) * 1.2 + 0.15 * generator.standard_normal(model.load(layer.weight).shape)
        ).astype(np.float32)
        for layer in layers
    }
    means = channel_means(model, layers, images, batch=16)
    biases = correct_biases(model, layers, noisy, means, images)
    assert set(biases) == {"b1", "b2", "b3"}
    after = channel_means(model.replace_weights({**noisy, **biases}), layers, images)
    before = channel_means(model.replace_weights(noisy), layers, images)
    for layer in layers:
        wanted, shifted, restored = (found[layer.weight].mean(axis=0) for found in (means, before, after))
        assert np.abs(shifted - wanted).max() > 0.01
        # What is left is what 64 images cannot tell from chance.
        assert np.abs(restored - wanted).max() < 0.3 * np.abs(shifted - wanted).max()


def test_shifts_that_are_chance_are_not_corrected() -> None:
    """Differences of 50 images: by hand for two channels, near 0 for noise, near the mean for what stands out."""
    differences = np.array([[1.0, 0.0], [3.0, 0.5]])
    # s = (2, 0.25), v = (1, 0.0625); τ² = 2.03125 − 0.53125 = 1.5
    np.testing.assert_allclose(shrink_shift(differences), [2 * 1.5 / 2.5, 0.25 * 1.5 / 1.5625])
    generator = np.random.default_rng(3)
    noise = generator.standard_normal((50, 400))
    assert np.abs(shrink_shift(noise)).mean() < 0.4 * np.abs(noise.mean(axis=0)).mean()
    shifts = generator.standard_normal(400)
    np.testing.assert_allclose(shrink_shift(noise + 10 * shifts), 10 * shifts, atol=0.6)
    assert not shrink_shift(noise[:1]).any()
