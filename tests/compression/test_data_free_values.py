"""Infinite masks, and weights near or beyond what decoders reckon in: they stay exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto, helper, numpy_helper

import enxuto
from enx_samples import noise
from enxuto.compression.data_free import compress
from enxuto.errors import ModelError
from enxuto.onnx_model import Model
from enxuto.runtime import Runner


def graph_of(nodes: list[NodeProto], weights: dict[str, np.ndarray], *shape: int) -> Model:
    kind = helper.np_dtype_to_tensor_dtype(next(iter(weights.values())).dtype)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return Model.from_proto(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    )


@pytest.mark.parametrize("roles", [None, ["kernel", "bias", "norm", "other"]])
@pytest.mark.parametrize(
    ("op", "value", "shape"),
    [
        ("Add", -np.inf, (1, 1, 1, 40)),
        ("Add", -np.inf, (40,)),
        ("Add", -np.inf, (1, 1, 40, 40)),
        ("Sub", np.inf, (40,)),
        ("Max", -np.inf, (40,)),
        ("Min", np.inf, (1, 40)),
        ("Div", np.inf, (40,)),
    ],
)
def test_infinite_masks_stay_exact(
    op: str, value: float, shape: tuple[int, ...], roles: list[str] | None, tmp_path: Path
) -> None:
    """Constants of elementwise operators may hide some answers; weights, biases and norms may not be infinite."""
    mask = np.ones(shape, np.float32)
    mask[..., 30:] = value
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4),
        helper.make_node(op, ["a", "mask"], ["b"]),
        helper.make_node("Softmax", ["b"], ["y"], axis=-1),
    ]
    model = graph_of(nodes, {"w": noise(4, 4, 3, 3), "mask": mask}, 2, 4, 40, 40)
    made = compress(model, **({} if roles is None else {"roles": roles}))
    made.save(tmp_path / "m.enx")
    back = enxuto.load(tmp_path / "m.enx")
    np.testing.assert_array_equal(back.load("mask"), mask)
    x = np.random.default_rng(0).standard_normal((2, 4, 40, 40)).astype(np.float32)
    want, got = Runner(model).run({"x": x})[0], Runner(back).run({"x": x})[0]
    assert np.isfinite(want).all()
    assert np.sqrt(np.mean((want - got) ** 2) / np.mean(want**2)) < 0.1


def test_a_mask_with_nan_is_refused() -> None:
    mask = np.full(40, np.nan, np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Add", ["a", "mask"], ["y"])]
    with pytest.raises(ModelError, match="'mask'"):
        compress(graph_of(nodes, {"w": noise(8, 40), "mask": mask}, 2, 8))


@pytest.mark.parametrize("bits", [None, 40.0])
@pytest.mark.parametrize(
    ("dtype", "scale", "exact"),
    [
        (np.float64, 1e300, True),
        (np.float64, 1e160, True),
        (np.float64, 1e38, True),
        (np.float64, 1e-60, True),
        (np.float64, 1e-300, True),
        (np.float64, 1e-320, True),
        (np.float64, 1e20, False),
        (np.float64, 1e-20, False),
        (np.float64, 0.0, False),
        (np.float32, 8e37, True),
        (np.float32, 1e30, False),
        (np.float32, 1e-40, False),
        (np.float16, 16000.0, True),
        (np.float16, 1000.0, False),
    ],
)
@pytest.mark.filterwarnings("error")
def test_weights_near_or_beyond_what_decoders_reckon_in(
    dtype: type, scale: float, exact: bool, bits: float | None
) -> None:
    """Rounding may pass the largest number of a type, and doubles need not fit float32: such weights stay exact."""
    weight = np.clip(np.random.default_rng(1).standard_normal((64, 40)), -4, 4)
    given = (weight * scale).astype(dtype)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("MatMul", ["a", "v"], ["y"])]
    held = {"w": given, "v": np.random.default_rng(2).standard_normal((40, 50)).astype(dtype)}
    model = graph_of(nodes, held, 2, 64)
    back = compress(model, bits=bits).to_model().load("w")
    if exact:
        np.testing.assert_array_equal(back, given)
    assert np.isfinite(back).all()
    if scale >= 1e-20:
        off = (back.astype(np.longdouble) - given) / np.longdouble(scale)
        assert np.sqrt(np.mean(off**2)) < 0.05
