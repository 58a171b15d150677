"""Filters of zeros leave a file where nothing reads more than zeros of them; all outputs stay what they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

import enxuto
from enxuto.compression.data_free import compress
from enxuto.enx.file import CompressedModel
from enxuto.enx.verify import verify
from enxuto.onnx_model import Model
from enxuto.quantize.grid import Grid
from enxuto.quantize.tensor import QuantizedTensor
from enxuto.retraining.filters import FilterPenalty
from enxuto.retraining.levels import LearnedLevels
from enxuto.retraining.removal import remove_dead_filters
from enxuto.retraining.student import Student
from enxuto.runtime import Runner

DEAD = (1, 4)
"""Filters of the first convolution that are zero."""


def network(
    activation: str = "Relu", bias: float = -1.0, *, depthwise: bool = False, residual: bool = False
) -> ModelProto:
    """Conv 8 → activation (→ depthwise) → Conv 8 (+ first) → Relu → Flatten → Gemm, for 1×6×6."""
    generator = np.random.default_rng(3)
    shapes = {"c1": (8, 1, 3, 3), "d": (8, 1, 3, 3), "c2": (8, 8, 3, 3), "f": (5, 288)}
    weights = {name: generator.normal(0, 0.3, shape) for name, shape in shapes.items()}
    weights |= {f"{name}b": generator.normal(0, 0.3, shape[0]) for name, shape in shapes.items()}
    for place in DEAD:
        weights["c1"][place], weights["c1b"][place], weights["db"][place] = 0, bias, bias
        if residual:
            weights["c2"][place], weights["c2b"][place] = 0, 0
    nodes = [
        helper.make_node("Conv", ["x", "c1", "c1b"], ["a"], pads=[1] * 4),
        helper.make_node(activation, ["a", "low", "high"][: 3 if activation == "Clip" else 1], ["b"]),
    ]
    read = "b"
    if depthwise:
        nodes += [
            helper.make_node("Conv", ["b", "d", "db"], ["g"], pads=[1] * 4, group=8),
            helper.make_node("Relu", ["g"], ["h"]),
        ]
        read = "h"
    nodes.append(helper.make_node("Conv", [read, "c2", "c2b"], ["c"], pads=[1] * 4))
    if residual:
        nodes.append(helper.make_node("Add", ["c", read], ["s"]))
    nodes += [
        helper.make_node("Relu", ["s" if residual else "c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["e"]),
        helper.make_node("Gemm", ["e", "f", "fb"], ["y"], transB=1),
    ]
    used = {name for node in nodes for name in node.input}
    arrays = {"low": np.array(0.0), "high": np.array(6.0), **weights}
    graph = helper.make_graph(
        nodes, "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(a.astype(np.float32), name) for name, a in arrays.items() if name in used],
    )  # fmt: skip
    made: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return made


def outputs(made: CompressedModel) -> np.ndarray:
    images = np.random.default_rng(1).normal(0, 2, (16, 1, 6, 6)).astype(np.float32)
    return Runner(made.to_model(), threads=1).scores(images)


@pytest.mark.parametrize(
    ("options", "gone", "constants"),
    [
        ({}, 2, 0),
        ({"bias": 0.0}, 2, 0),
        ({"bias": 1.0}, 0, 2),  # a constant, which padding cuts off at the borders
        ({"activation": "Clip"}, 2, 0),
        ({"activation": "Sigmoid", "bias": 0.0}, 0, 2),  # one half
        ({"activation": "Tanh", "bias": 0.0}, 2, 0),
        ({"depthwise": True}, 4, 0),
        ({"residual": True}, 4, 0),
        ({"residual": True, "depthwise": True}, 6, 0),
        ({"residual": True, "bias": 1.0}, 0, 2),
    ],
)
def test_filters_of_zeros_leave(
    options: dict[str, object], gone: int, constants: int, tmp_path: Path
) -> None:
    """Only what is zero everywhere goes, and the file without it answers the same."""
    made = compress(Model.from_proto(network(**options)), rounding="nearest")  # type: ignore[arg-type]
    smaller, removed = remove_dead_filters(made)
    assert (removed.filters, removed.kept_for_constants, removed.reason) == (gone, constants, "")
    np.testing.assert_allclose(outputs(smaller), outputs(made), atol=2e-5)
    if not gone:
        assert smaller is made
        return
    assert smaller.file_bytes < made.file_bytes
    assert removed.macs_after < removed.macs_before
    assert smaller.to_model().load("c1").shape == (6, 1, 3, 3)
    smaller.save(tmp_path / "small.enx")
    assert CompressedModel.read(tmp_path / "small.enx").metadata["pruned"]["filters"] == gone
    assert enxuto.verify(tmp_path / "small.enx").ok


def test_verify_says_why_weights_cannot_be_compared() -> None:
    original = Model.from_proto(network())
    smaller, _ = remove_dead_filters(compress(original, rounding="nearest"))
    found = verify(smaller, original)
    assert not found.ok
    assert "filters left this network" in found.problems[0]


def test_levels_on_a_trellis_stay_what_they_are() -> None:
    """Columns of odd levels cannot be cut out of a row: the file is then left whole, and says why."""
    made = compress(Model.from_proto(network()))
    smaller, removed = remove_dead_filters(made)
    np.testing.assert_allclose(outputs(smaller), outputs(made), atol=2e-5)
    assert bool(removed.filters) != bool(removed.reason)


def test_a_layer_keeps_a_filter() -> None:
    proto = network()
    for tensor in proto.graph.initializer:
        if tensor.name in ("c1", "c1b"):
            tensor.CopyFrom(numpy_helper.from_array(0 * numpy_helper.to_array(tensor), tensor.name))
    made = compress(Model.from_proto(proto), rounding="nearest")
    smaller, removed = remove_dead_filters(made)
    assert removed.filters == 7
    np.testing.assert_allclose(outputs(smaller), outputs(made), atol=2e-5)


def test_sizes_written_in_the_graph_are_no_trap() -> None:
    """A graph that reshapes to a size of its own is left whole, with the reason."""
    proto = network(residual=True)
    flatten = next(node for node in proto.graph.node if node.op_type == "Flatten")
    flatten.op_type = "Reshape"
    flatten.input.append("size")
    proto.graph.initializer.append(numpy_helper.from_array(np.array([-1, 288], np.int64), "size"))
    made = compress(Model.from_proto(proto), rounding="nearest")
    smaller, removed = remove_dead_filters(made)
    assert smaller is made
    assert "left in" in removed.reason or not removed.filters


def student(also_prune: bool = True) -> Student:
    """The network in training, with filters of zeros that have a bias."""
    model = Model.from_proto(network(bias=1.0))
    levels, biases = {}, {}
    for name in ("c1", "c2", "f"):
        grid = Grid(0.1)
        levels[name] = QuantizedTensor(grid.quantize(model.load(name)), grid)
        biases[f"{name}b"] = model.load(f"{name}b")
    weights = {name: model.load(name) for name in levels}
    made = Student(model, weights, levels, biases, 0.01)
    if also_prune:
        made.price_filters()
    return made


def test_filters_cost_their_multiplications() -> None:
    """Costs come to the bits of all levels, by multiplications; those of what must stay are none."""
    penalty = student().penalty
    assert penalty is not None
    assert set(penalty.costs) == {"c1", "c2"}  # what the last layer gives are the classes
    total = sum(float(costs.sum()) for costs in penalty.costs.values())
    assert total == pytest.approx(student().bits_of_levels(), rel=1e-5)
    ratio = float(penalty.costs["c2"][0] / penalty.costs["c1"][0])
    assert ratio == pytest.approx(8)  # eight inputs instead of one


def test_the_penalty_draws_whole_filters() -> None:
    """Its slope is along each filter, at zero too, and steeper for those that are smaller."""
    made = student()
    assert made.penalty is not None
    latent = made.weights["c2"].latent
    made.penalty.bits(made.weights).backward()
    assert latent.grad is not None
    found = torch.nn.functional.cosine_similarity(latent.grad.flatten(1), latent.detach().flatten(1))
    assert found.min() > 0.999


def test_filters_of_zeros_have_no_bias() -> None:
    """In training and in the file alike; without the option both have it."""
    images = torch.randn(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    plain, pruning = student(also_prune=False), student()
    assert all(pruning.file_biases()["c1b"][place] == 0 for place in DEAD)
    assert all(plain.file_biases()["c1b"][place] != 0 for place in DEAD)
    with torch.no_grad():
        before, after = plain(images), pruning(images)
        plain.biases["c1b"].latent[list(DEAD)] = 0
        assert not torch.equal(before, after)
        assert torch.equal(plain(images), after)


def test_filters_whose_coarser_levels_are_zero_are_dead_while_training() -> None:
    """Levels are what is left of latent numbers where levels became coarser; those of small ones are zero."""
    start = QuantizedTensor(np.array([[1, -1], [4, 0]], np.int32), Grid(0.1))
    weight = LearnedLevels(start.reconstruct(), start)
    penalty = FilterPenalty({"w": torch.ones(2)}, {"w": "b"})
    assert penalty.alive({"w": weight})["b"].tolist() == [1, 1]
    before = float(penalty.bits({"w": weight}).detach())
    with torch.no_grad():
        weight.coarser += 1.5
    assert not weight.quantized().levels[0].any()
    assert penalty.alive({"w": weight})["b"].tolist() == [0, 1]
    assert float(penalty.bits({"w": weight}).detach()) < before
