"""Layers refitted to inputs that carry errors: what they are added to, the regression, and whole networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from enxuto.calibration import layer_rounding
from enxuto.calibration.allocation import choose_spacing
from enxuto.calibration.calibrate import calibrate
from enxuto.calibration.layers import LinearLayer, linear_layers
from enxuto.calibration.refit import InputErrors, OriginalValues, refit, shortcuts, watch_rounded
from enxuto.data.samples import Samples
from enxuto.onnx_model import Model
from enxuto.runtime import Runner

node = helper.make_node
RNG = np.random.default_rng


def network(
    nodes: list[NodeProto], arrays: dict[str, np.ndarray], outputs: tuple[str, ...] = ("y",)
) -> Model:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8, None, None])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(a, np.float32), name) for name, a in arrays.items()],
    )
    return Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    )


def kernel(seed: int, outputs: int = 8, inputs: int = 8) -> np.ndarray:
    return RNG(seed).standard_normal((outputs, inputs, 1, 1)) / np.sqrt(inputs)


CONV = node("Conv", ["x", "a"], ["c"])
SHORTCUTS = {
    "a shortcut": ([CONV, node("Add", ["c", "x"], ["y"])], "x"),
    "a shortcut first": ([CONV, node("Add", ["x", "c"], ["y"])], "x"),
    "a constant": ([CONV, node("Add", ["c", "k"], ["y"])], None),
    "a constant, then a shortcut": (
        [CONV, node("Add", ["k", "c"], ["d"]), node("Add", ["d", "x"], ["y"])],
        "x",
    ),
    "two readers": ([CONV, node("Relu", ["c"], ["r"]), node("Add", ["c", "r"], ["y"])], None),
    "itself": ([CONV, node("Add", ["c", "c"], ["y"])], None),
    "a rectifier between": ([CONV, node("Relu", ["c"], ["r"]), node("Add", ["r", "x"], ["y"])], None),
    "another operator": ([CONV, node("Mul", ["c", "x"], ["y"])], None),
    "a layer that comes later": (
        [CONV, node("Conv", ["x", "b"], ["d"]), node("Add", ["c", "d"], ["y"])],
        None,
    ),
}


@pytest.mark.parametrize("case", SHORTCUTS)
def test_what_a_layer_is_added_to(case: str) -> None:
    nodes, expected = SHORTCUTS[case]
    model = network(nodes, {"a": kernel(1), "b": kernel(2), "k": np.ones((1, 8, 1, 1))})
    assert shortcuts(model, linear_layers(model))[0] == expected


def test_the_later_of_two_layers_is_added_to_the_earlier() -> None:
    nodes, _ = SHORTCUTS["a layer that comes later"]
    model = network(nodes, {"a": kernel(1), "b": kernel(2)})
    assert shortcuts(model, linear_layers(model)) == [None, "c"]


def test_an_output_is_not_moved_for_the_sake_of_a_later_sum() -> None:
    model = network([CONV, node("Add", ["c", "x"], ["y"])], {"a": kernel(1)}, ("c", "y"))
    assert shortcuts(model, linear_layers(model)) == [None]


def seen(
    before: np.ndarray, inputs: np.ndarray, missing: np.ndarray | None = None, count: int = 24
) -> InputErrors:
    return InputErrors(inputs, before, missing, np.arange(inputs.shape[1]) % count)


def test_errors_that_inputs_tell_are_made_up_for() -> None:
    """Inputs that are mixed by a matrix: the refitted layer unmixes them; an oracle is the exact inverse."""
    before = RNG(1).standard_normal((1, 2400, 6)).astype(np.float32)
    mixing = np.eye(6) + 0.2 * RNG(2).standard_normal((6, 6))
    matrix = RNG(3).standard_normal((1, 4, 6))
    inputs = (before @ mixing.T).astype(np.float32)
    found = refit(matrix, seen(before, inputs), centred=False)
    exact = matrix @ np.linalg.inv(mixing)
    assert np.abs(found - exact).max() < 0.1 * np.abs(matrix - exact).max()
    both = seen(before, inputs)
    assert np.square(both.left(matrix, found)).mean() < 0.02 * np.square(both.left(matrix, matrix)).mean()


def test_a_shortcut_s_errors_are_made_up_for() -> None:
    inputs = RNG(1).standard_normal((1, 2400, 6)).astype(np.float32)
    lost = 0.3 * RNG(2).standard_normal((1, 6, 4))
    found = refit(np.zeros((1, 4, 6)), seen(inputs, inputs, inputs @ lost), centred=False)
    np.testing.assert_allclose(found, lost.transpose(0, 2, 1), atol=0.02)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("left", [0.0, 1e-6, 1e-3])
def test_a_channel_that_was_silenced_is_not_amplified(left: float, centred: bool) -> None:
    """What is left of it tells all that is missing; but of other samples more may be left, and a thousandfold of it."""
    before = RNG(1).standard_normal((1, 960, 6)).astype(np.float32)
    inputs = before.copy()
    inputs[:, :, 2] *= np.float32(left)
    matrix = RNG(3).standard_normal((1, 4, 6))
    found = refit(matrix, seen(before, inputs), centred=centred)
    assert np.abs(found - matrix).max() < 0.5 * np.abs(matrix).max()


@pytest.mark.parametrize(
    "case", ["noise", "no errors", "few samples", "not finite", "inputs of zeros", "a mean"]
)
def test_a_layer_stays_where_inputs_tell_nothing(case: str) -> None:
    inputs = RNG(1).standard_normal((2, 960, 6)).astype(np.float32)
    matrix = RNG(3).standard_normal((2, 4, 6))
    missing = RNG(4).standard_normal((2, 960, 4))
    count = 24
    if case == "no errors":
        missing *= 0
    elif case == "few samples":
        missing, count = np.ones_like(missing) * inputs[:, :, :1], 11
    elif case == "not finite":
        missing[0, 5, 2] = np.inf
    elif case == "inputs of zeros":
        inputs *= 0
    elif case == "a mean":
        inputs, missing = inputs + 5, np.full_like(missing, 3.0)
    found = refit(matrix, seen(inputs, inputs, missing, count), centred=case == "a mean")
    np.testing.assert_allclose(found, matrix, atol=1e-6)


def test_means_are_of_samples() -> None:
    inputs = np.ones((2, 6, 1), np.float32)
    rows = InputErrors(inputs, inputs, np.arange(12.0).reshape(2, 6, 1), np.array([0, 0, 1, 1, 1, 2]))
    zero = np.zeros((2, 1, 1))
    np.testing.assert_allclose(rows.mean_left(zero, zero), [[0.5, 6.5], [3, 9], [5, 11]])


def deep_network(depth: int = 6) -> tuple[Model, dict[str, np.ndarray]]:
    """Depthwise and pointwise convolutions with shortcuts; its outputs are values in maps."""
    arrays: dict[str, np.ndarray] = {}
    nodes, value = [], "x"
    for number in range(depth):
        arrays[f"d{number}"] = RNG(10 + number).standard_normal((8, 1, 3, 3)) / 3
        arrays[f"p{number}"] = kernel(40 + number)
        arrays[f"b{number}"] = RNG(70 + number).standard_normal(8) * 0.1
        nodes += [
            node("Conv", [value, f"d{number}"], [f"m{number}"], group=8, pads=[1, 1, 1, 1]),
            node("Conv", [f"m{number}", f"p{number}", f"b{number}"], [f"q{number}"]),
            node("Add", [f"q{number}", value], [f"s{number}"]),
            node("Relu", [f"s{number}"], [f"r{number}"]),
        ]
        value = f"r{number}"
    arrays["h"] = kernel(99, 3)
    return network([*nodes, node("Conv", [value, "h"], ["y"])], arrays), arrays


def inputs_of(seed: int, count: int) -> np.ndarray:
    """Channels that go together, as those of networks do."""
    mixing = RNG(5).standard_normal((3, 8))
    return np.einsum("nchw,cd->ndhw", RNG(seed).standard_normal((count, 3, 6, 6)), mixing).astype(np.float32)


def test_refitted_networks_lose_less_on_inputs_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = deep_network()
    calibration = calibrate(model, Samples({"x": inputs_of(1, 48)}), threads=1)
    unseen = inputs_of(2, 32)
    expected = Runner(model, threads=1).run({"x": unseen}, ["y"])[0]

    def error() -> float:
        weights = {name: q.reconstruct() for name, q in calibration.round_at(1e-4).items()}
        found = Runner(model.replace_weights(weights), threads=1).run({"x": unseen}, ["y"])[0]
        return float(np.square(found - expected).mean())

    refitted = error()
    monkeypatch.setattr(layer_rounding, "refit", lambda matrix, seen, centred: matrix)
    assert refitted < 0.8 * error()


@pytest.mark.parametrize(
    ("samples", "ruinous", "pays"),
    [(16, True, False), (47, True, False), (32, False, True), (12, False, True)],
)
def test_few_samples_are_tried_before_layers_are_refitted(
    samples: int, ruinous: bool, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refitted layers that do worse on samples left out are not taken, and all layers are rounded at once."""
    model, _ = deep_network()
    if ruinous:
        monkeypatch.setattr(layer_rounding, "refit", lambda matrix, seen, centred: -matrix)
    calibration = calibrate(model, Samples({"x": inputs_of(1, samples)}), threads=1)
    stages: list[str] = []
    found = calibration.round_at(1e-4, progress=lambda stage, done, total: stages.append(stage))
    assert list(dict.fromkeys(stages)) == [*["trying refits"] * (samples >= 16), "rounding"]
    alone = layer_rounding.round_layers(
        calibration.model, calibration.layers, {n: choose_spacing(c) for n, c in calibration.curvatures.items()}, 1e-4,
        paths=calibration.paths, threads=1,
    )  # fmt: skip
    same = all(np.array_equal(found[name].levels, alone[name].levels) for name in alone)
    assert same != pays
    stages.clear()
    calibration.round_at(2e-4, progress=lambda stage, done, total: stages.append(stage))
    assert set(stages) == {"rounding"}, "it is tried once"


@pytest.mark.parametrize("samples", [2, 3, 4, 15, 16, 17])
@pytest.mark.parametrize("sizes", [(6,), (6, 8)])
def test_any_number_of_samples_of_any_sizes_calibrates(samples: int, sizes: tuple[int, ...]) -> None:
    """Those that are left out for a trial, and their means, are of the same samples, however these are grouped."""
    model, _ = deep_network(2)
    images = [inputs_of(number, 1)[:, :, : sizes[number % len(sizes)]] for number in range(samples)]
    column = np.concatenate(images) if len(sizes) == 1 else images
    calibration = calibrate(model, Samples({"x": column}, stacked=len(sizes) == 1), threads=1)
    tensors = calibration.round_at(1e-5)
    assert set(calibration.correct_biases(tensors)) == {"b0", "b1"}


@pytest.mark.parametrize("samples", [16, 32])
def test_layers_whose_rows_are_no_samples_are_tried_too(samples: int) -> None:
    """Tokens of all samples in one list of rows: means are of the list."""
    arrays = {
        "w": RNG(1).standard_normal((8, 6)),
        "b": np.zeros(6),
        "v": RNG(2).standard_normal((6, 3)),
        "c": np.zeros(3),
    }
    shapes = {"flat": [-1, 8], "back": [0, -1, 3]}
    graph = helper.make_graph(
        [
            node("Reshape", ["x", "flat"], ["f"]),
            node("Gemm", ["f", "w", "b"], ["h"]),
            node("Relu", ["h"], ["r"]),
            node("Gemm", ["r", "v", "c"], ["g"]),
            node("Shape", ["x"], ["s"], start=0, end=2),
            node("Concat", ["s", "three"], ["whole"], axis=0),
            node("Reshape", ["g", "whole"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 5, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5, 3])],
        [
            *(numpy_helper.from_array(np.asarray(a, np.float32), name) for name, a in arrays.items()),
            numpy_helper.from_array(np.array(shapes["flat"], np.int64), "flat"),
            numpy_helper.from_array(np.array([3], np.int64), "three"),
        ],
    )
    model = Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    )
    rows = RNG(3).standard_normal((samples, 5, 8)).astype(np.float32)
    calibration = calibrate(model, Samples({"x": rows}), choices={"y": ("values", 1.0)}, threads=1)
    assert set(calibration.correct_biases(calibration.round_at(1e-5))) == {"b", "c"}


def test_a_further_price_gives_what_it_gives_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What layers of the original read is kept from the first price on, where it fits."""
    model, _ = deep_network()
    calibration = calibrate(model, Samples({"x": inputs_of(1, 16)}), threads=1)
    calibration.round_at(1e-3)
    kept = calibration.round_at(1e-4)
    monkeypatch.setattr("enxuto.calibration.refit._KEPT", 0)
    alone = replace(calibration, _originals=OriginalValues()).round_at(1e-4)
    assert kept.keys() == alone.keys()
    assert all(np.array_equal(kept[name].levels, alone[name].levels) for name in kept)


def test_values_that_are_kept_take_memory_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls for some of the layers, then for others, used up the room for all."""
    model, _ = deep_network(2)
    layers = linear_layers(model)
    samples = Samples({"x": [*inputs_of(1, 4)[:, None]]})

    def see(some: Sequence[LinearLayer], originals: OriginalValues) -> None:
        for _ in watch_rounded(model, some, samples.groups(), {}, originals=originals):
            pass

    once = OriginalValues()
    see(layers, once)
    room = 1 << 28
    monkeypatch.setattr("enxuto.calibration.refit._KEPT", int(1.3 * (room - once._left)))
    again = OriginalValues()
    for first in (1, 0):
        see(layers[first:], again)
    assert again.find(layers, shortcuts(model, layers)) is not None


def test_every_layer_is_seen_at_the_same_places_before_and_now() -> None:
    """Rows are those of the operators: a matrix times the patches is what ONNX Runtime gives, in groups of any size."""
    model, arrays = deep_network(2)
    layers = linear_layers(model)
    samples = Samples({"x": [*inputs_of(1, 2)[:, None], *inputs_of(2, 2)[:, None, :, :4]]})
    weights: dict[str, np.ndarray] = {}
    for layer, found in zip(layers, watch_rounded(model, layers, samples.groups(), weights), strict=True):
        assert found is not None
        assert sorted(set(found.samples.tolist())) == [0, 1, 2, 3]
        assert found.inputs.shape[1] == 2 * 36 + 2 * 24
        if layer.weight in ("d0", "p0"):
            # what is doubled in front of a layer is doubled in what it reads
            np.testing.assert_allclose(
                found.inputs, found.before * (2 if layer.weight == "p0" else 1), rtol=1e-5
            )
            weights[layer.weight] = 2 * arrays[layer.weight].astype(np.float32)
        if layer.weight == "p1":
            assert found.missing is not None
            assert np.abs(found.missing).max() > 0


def test_layers_without_rows_of_their_own_are_left_alone() -> None:
    nodes = [node("ConvTranspose", ["x", "t"], ["c"]), node("Conv", ["c", "a"], ["y"])]
    model = network(nodes, {"t": RNG(1).standard_normal((8, 8, 2, 2)), "a": kernel(2)})
    layers = linear_layers(model)
    found = list(watch_rounded(model, layers, Samples({"x": inputs_of(1, 4)}).groups(), {}))
    assert [one is None for one in found] == [True, False]
