"""Statistics of weights, and the schemes that make quantizers of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from enxuto.errors import ModelError, UsageError
from enxuto.onnx_model import Model
from enxuto.quantize.scalar import DeadZone, Half, Minifloat, MuLaw
from enxuto.quantize.schemes import (
    BalancedSteps,
    FittedMinifloat,
    NetworkStats,
    RangeSteps,
    RmsSteps,
    SameQuantizer,
    Scheme,
    TensorStats,
    round_steps,
    statistics,
)


def model_of(**weights: np.ndarray) -> Model:
    """Weights of four dimensions become convolutions' kernels, of two Gemm's matrices (`t_…`: transposed)."""
    nodes, values = [], []
    for name, array in weights.items():
        values.append(numpy_helper.from_array(array, name))
        if array.ndim == 4:
            nodes.append(helper.make_node("Conv", ["x4", name], [f"{name}.y"]))
        else:
            transposed = int(name.startswith("t_"))
            nodes.append(helper.make_node("Gemm", ["x2", name], [f"{name}.y"], transB=transposed))
    kind = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x4", kind, None), helper.make_tensor_value_info("x2", kind, None)],
        [helper.make_tensor_value_info(f"{name}.y", kind, None) for name in weights],
        values,
    )
    proto: ModelProto = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return Model.from_proto(proto)


def noise(*shape: int, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    channels = np.exp(rng.normal(0, 1, (shape[0], *[1] * (len(shape) - 1))))
    return (rng.standard_normal(shape) * channels * scale).astype(np.float32)


WEIGHTS = {
    "kernel": noise(6, 5, 3, 3, scale=0.1),
    "matrix": noise(20, 30, scale=0.02, seed=1),
    "t_matrix": noise(30, 20, scale=2.0, seed=2),
}


def measured(**weights: np.ndarray) -> tuple[dict[str, TensorStats], NetworkStats]:
    return statistics(model_of(**weights), list(weights))


@pytest.mark.parametrize(("name", "axis"), [("kernel", 0), ("matrix", 1), ("t_matrix", 0)])
def test_statistics_per_channel_agree_with_numpy(name: str, axis: int) -> None:
    tensors, _ = measured(**WEIGHTS)
    one, array = tensors[name], WEIGHTS[name].astype(np.float64)
    assert one.info.axis == axis
    others = tuple(a for a in range(array.ndim) if a != axis)
    assert one.rms == pytest.approx(np.sqrt((array**2).mean()))
    assert one.largest == np.abs(array).max()
    assert one.channel_rms == pytest.approx(np.sqrt((array**2).mean(axis=others)))
    assert one.channel_largest.tolist() == np.abs(array).max(axis=others).tolist()


def test_statistics_of_the_network() -> None:
    _, network = measured(**WEIGHTS)
    everything = np.concatenate([array.reshape(-1).astype(np.float64) for array in WEIGHTS.values()])
    assert network.rms == pytest.approx(np.sqrt((everything**2).mean()))
    assert network.largest == np.abs(everything).max()
    assert network.most_elements == max(array.size for array in WEIGHTS.values())


def test_statistics_in_blocks_agree_with_statistics_at_once() -> None:
    wide = noise(3, 800_000)
    tensors, _ = measured(t_wide=wide)
    exact = wide.astype(np.float64)
    assert tensors["t_wide"].channel_rms == pytest.approx(np.sqrt((exact**2).mean(axis=1)))
    assert tensors["t_wide"].channel_largest.tolist() == np.abs(exact).max(axis=1).tolist()


def test_nothing_to_measure() -> None:
    tensors, network = statistics(model_of(**WEIGHTS), [])
    assert (tensors, network) == ({}, NetworkStats(0.0, 0.0, 0))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_with_the_name(value: float) -> None:
    damaged = WEIGHTS["matrix"].copy()
    damaged[3, 4] = value
    with pytest.raises(ModelError, match="'hurt'"):
        measured(kernel=WEIGHTS["kernel"], hurt=damaged)


def test_few_bits_rounds_to_three_bits_below_the_leading_one() -> None:
    steps = np.exp(np.random.default_rng(0).uniform(-40, 40, 500))
    rounded = round_steps(steps)
    assert (np.abs(rounded / steps - 1) <= 1 / 16 + 1e-9).all()
    fractions = np.frexp(rounded)[0] * 16
    assert fractions.tolist() == np.rint(fractions).tolist()
    assert round_steps(rounded).tolist() == rounded.tolist()


def quantizers(scheme: Scheme, **weights: np.ndarray) -> dict[str, object]:
    tensors, network = measured(**(weights or WEIGHTS))
    return {name: scheme.quantizer(one, network) for name, one in tensors.items()}


def steps_of(quantizer: object) -> np.ndarray:
    assert isinstance(quantizer, DeadZone)
    return np.atleast_1d(np.asarray(quantizer.step))


def test_uniform_gives_all_the_same() -> None:
    assert set(quantizers(SameQuantizer(Half())).values()) == {Half()}
    halved = SameQuantizer(DeadZone(0.5, 0.1)).scale_steps(0.5)
    assert set(quantizers(halved).values()) == {DeadZone(0.25, 0.1)}
    with pytest.raises(UsageError, match="E022"):
        SameQuantizer(Half()).scale_steps(2.0)


@pytest.mark.parametrize("per", ["network", "tensor", "channel"])
def test_ranged_divides_the_range(per: str) -> None:
    found = quantizers(RangeSteps(6, per, delta=0.4))  # type: ignore[arg-type]
    overall = max(float(np.abs(array).max()) for array in WEIGHTS.values())
    for name, array in WEIGHTS.items():
        quantizer = found[name]
        axis = {"kernel": 0, "matrix": 1, "t_matrix": 0}[name]
        tops = np.abs(array).max(axis=tuple(a for a in range(array.ndim) if a != axis))
        expected = {"network": overall, "tensor": np.abs(array).max(), "channel": tops}[per] * 2 / 64
        assert steps_of(quantizer) == pytest.approx(
            np.atleast_1d(expected), rel=0.063 if per == "channel" else 1e-6
        )
        assert isinstance(quantizer, DeadZone)
        assert quantizer.delta == 0.4
        assert quantizer.axis == (axis if per == "channel" else None)
        levels = quantizer.quantize(array)
        assert np.abs(levels).max() <= (35 if per == "channel" else 32)
    with pytest.raises(UsageError, match="E022"):
        RangeSteps(6, "tensor").scale_steps(2.0)


def test_ranged_mu_law() -> None:
    found = quantizers(RangeSteps(8, "tensor", "mu-law", mu=255.0))
    for name, array in WEIGHTS.items():
        quantizer = found[name]
        assert isinstance(quantizer, MuLaw)
        assert (quantizer.levels, quantizer.mu) == (256, 255.0)
        assert quantizer.x_max == pytest.approx(np.abs(array).max())
        assert np.abs(quantizer.quantize(array)).max() == 128
    with pytest.raises(UsageError, match="E022"):
        quantizers(RangeSteps(8, "channel", "mu-law"))


@pytest.mark.parametrize("scheme", [RmsSteps(0.5, "network"), BalancedSteps(0.5, "network")])
def test_steps_of_the_network(scheme: Scheme) -> None:
    everything = np.concatenate([array.reshape(-1).astype(np.float64) for array in WEIGHTS.values()])
    expected = 0.5 * np.sqrt((everything**2).mean())
    for quantizer in quantizers(scheme).values():
        assert steps_of(quantizer) == pytest.approx([expected], rel=1e-6)
    for quantizer in quantizers(scheme.scale_steps(3.0)).values():
        assert steps_of(quantizer) == pytest.approx([3 * expected], rel=1e-6)


def test_scaled_steps_follow_tensors_and_channels() -> None:
    for name, quantizer in quantizers(RmsSteps(0.5, "tensor")).items():
        rms = np.sqrt((WEIGHTS[name].astype(np.float64) ** 2).mean())
        assert steps_of(quantizer) == pytest.approx([0.5 * rms], rel=1e-6)
    kernel = WEIGHTS["kernel"].astype(np.float64)
    expected = 0.5 * np.sqrt((kernel**2).mean(axis=(1, 2, 3)))
    assert steps_of(quantizers(RmsSteps(0.5, "channel"))["kernel"]) == pytest.approx(expected, rel=0.063)


def test_balanced_steps_follow_the_formula() -> None:
    most = max(array.size for array in WEIGHTS.values())
    kernel = WEIGHTS["kernel"].astype(np.float64)
    rms = np.sqrt((kernel**2).mean())
    channels = np.sqrt((kernel**2).mean(axis=(1, 2, 3)))
    share = 0.3 * math.sqrt(kernel.size / most)
    tensor = quantizers(BalancedSteps(0.3, "tensor"))["kernel"]
    assert steps_of(tensor) == pytest.approx([share * rms], rel=0.063)
    channel = quantizers(BalancedSteps(0.3, "channel"))["kernel"]
    assert steps_of(channel) == pytest.approx(share * np.sqrt(channels * rms), rel=0.063)


SCHEMES = [
    *(BalancedSteps(0.2, per) for per in ("network", "tensor", "channel")),
    *(RmsSteps(0.2, per) for per in ("network", "tensor", "channel")),
    *(RangeSteps(8, per) for per in ("network", "tensor", "channel")),
    RangeSteps(24, "channel"),
    RangeSteps(8, "tensor", "mu-law"),
    FittedMinifloat(4, 3),
]


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("size", [0.0, 1e-45, 1e-40, 1e-30, 1e30])
def test_dead_and_extreme_tensors_get_a_quantizer(scheme: Scheme, size: float) -> None:
    """Weight decay drives whole channels and tensors to 1e-40 and 0; such a model must still go through."""
    if (
        size > 1
        and isinstance(scheme, FittedMinifloat | RangeSteps)
        and getattr(scheme, "kind", "") != "dead-zone"
    ):
        with pytest.raises(UsageError, match=r"μ-law|minifloat"):
            quantizers(scheme, t_huge=np.full((8, 8), size, np.float32))
        return
    tiny = np.full((8, 8), size, np.float32)
    mixed = noise(8, 8, seed=4)
    mixed[3] = size
    mixed[5] = 0
    weights = {"t_tiny": tiny, "t_mixed": mixed, "t_normal": noise(8, 8, seed=5)}
    for name, quantizer in quantizers(scheme, **weights).items():
        levels = quantizer.quantize(weights[name])  # type: ignore[attr-defined]
        assert np.isfinite(quantizer.reconstruct(levels)).all()  # type: ignore[attr-defined]


def test_fitted_minifloats_reach_the_largest_weight_and_not_twice_that() -> None:
    for name, quantizer in quantizers(FittedMinifloat(4, 3)).items():
        assert isinstance(quantizer, Minifloat)
        top = float(np.abs(WEIGHTS[name]).max())
        assert top <= quantizer.values[-1] < 2 * top
        assert math.log2(quantizer.scale).is_integer()
    scales = {q.scale for q in quantizers(FittedMinifloat(4, 3, "network")).values()}  # type: ignore[attr-defined]
    assert len(scales) == 1
    with pytest.raises(UsageError, match="E022"):
        quantizers(FittedMinifloat(4, 3, "channel"))
    with pytest.raises(UsageError, match="E022"):
        FittedMinifloat(4, 3).scale_steps(2.0)
