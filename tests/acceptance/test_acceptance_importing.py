"""Graphs of others as modules: they equal ONNX Runtime, lose 30 % of their filters, and what is left is exported.

`make importing` runs it and prints a line for each network. The `light` graphs of the onnx package have no weights;
they are drawn here. Timings are printed and not asserted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import ModelProto, numpy_helper

import enxuto
from enxuto import zoo
from enxuto.export import export_onnx
from enxuto.onnx_model import Model
from enxuto.prune.criteria.scores import scores
from enxuto.prune.rounds import UnprunedNetwork
from enxuto.prune.selection import Selection
from enxuto.runtime import Runner
from enxuto.slimming.measuring import latency_share, macs_of
from enxuto.slimming.networks import as_onnx
from enxuto.studies.pruning import StartingNetwork

pytestmark = pytest.mark.acceptance

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
SHARED = Path(__file__).parents[3] / "shared/models"
MODELS = [*sorted(SHARED.glob("*.onnx")), *sorted(SHARED.glob("other/squeezenet1.1/*.onnx"))]
A_THIRD = 0.75  # of the time
MULTIPLES = (1, 4, 8)
RUNS = 20  # that are profiled


def light(path: Path, _: Path) -> Model:
    """The graph with weights drawn for its ConstantOfShape nodes: those of a matrix keep the variance."""
    random = np.random.default_rng(0)
    proto = onnx.load(path)
    shapes = {item.name: numpy_helper.to_array(item) for item in proto.graph.initializer}
    proto.ir_version = 8  # before 4, what is given had to be listed as inputs
    nodes = [node for node in proto.graph.node if node.op_type == "ConstantOfShape"]
    layers = [node for node in proto.graph.node if node.op_type in ("Conv", "Gemm")]
    biases = {node.input[2] for node in layers if len(node.input) > 2}
    for node in nodes:
        shape = tuple(int(size) for size in shapes[node.input[0]])
        values = random.uniform(
            0.5, 1.5, shape
        )  # of normalisations; biases like that would add up to sure answers
        if node.output[0] in biases:
            values = random.normal(0, 0.1, shape)
        elif len(shape) > 1:
            values = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        proto.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), node.output[0]))
        proto.graph.node.remove(node)
    return without_unused(proto)


def without_unused(proto: ModelProto) -> Model:
    used = {name for node in proto.graph.node for name in node.input}
    for items in (proto.graph.initializer, proto.graph.input):
        for item in [one for one in items if one.name not in used]:
            items.remove(item)
    return Model.from_proto(proto)


def export_of(name: str, folder: Path) -> Model:
    network = zoo.build(name, seed=0).eval()
    path = folder / "network.onnx"
    export_onnx(network, path, input_shape=zoo.input_shape(name))
    return Model.read(path)


def read(path: Path, _: Path) -> Model:
    return Model.read(path)


CASES: dict[str, Callable[[Path], Model]] = {
    **{path.stem: partial(light, path) for path in sorted(LIGHT.glob("light_*.onnx"))},
    **{name: partial(export_of, name) for name in zoo.names()},
    **{path.parent.name + "-" + path.stem: partial(read, path) for path in MODELS},
}


def reason_of(pruned: Model, original: Model, folder: Path) -> str:
    """The kernels that keep the time, by ONNX Runtime's own profile: their share, and what is left of each."""
    now, before = (times_by_kernel(model, folder) for model in (pruned, original))
    slowest = sorted(now, key=lambda kernel: -now[kernel])[:3]
    parts = [
        f"{kernel} {now[kernel] / sum(now.values()):.0%}"
        + (f" (×{now[kernel] / before[kernel]:.2f})" if kernel in before else " (new)")
        for kernel in slowest
    ]
    return ", ".join(parts)


def times_by_kernel(model: Model, folder: Path) -> dict[str, float]:
    """Microseconds of one image by kind of kernel."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling = 1, True
    options.profile_file_prefix = str(folder / "profile")
    session = onnxruntime.InferenceSession(model.to_bytes(), options, providers=["CPUExecutionProvider"])
    feeds = Runner(model, threads=1).random_feeds(1, seed=0)
    for _ in range(RUNS):
        session.run(None, feeds)
    times: dict[str, float] = {}
    for event in json.loads(Path(session.end_profiling()).read_text()):
        if event.get("cat") == "Node" and event["name"].endswith("kernel_time"):
            kernel = event["args"]["op_name"]
            times[kernel] = times.get(kernel, 0.0) + event["dur"] / RUNS
    return times


@pytest.mark.parametrize("name", CASES)
def test_a_graph_is_a_module_that_can_be_pruned(name: str, tmp_path: Path) -> None:
    model = CASES[name](tmp_path)
    network = enxuto.load_module(model).eval()
    images = torch.randn(2, *network.input_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = network(images).numpy()
    runner = Runner(model, threads=1)
    expected = np.concatenate([runner.scores(images[row : row + 1].numpy()) for row in range(2)])
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max() + 1e-7

    start = StartingNetwork.of_model(model, {}, name)
    unpruned = UnprunedNetwork.from_architecture(start.architecture)
    weights = scores(start.network, [(images, torch.zeros(2, dtype=torch.int64))], "l1")
    state = {key: value.clone() for key, value in start.network.state_dict().items()}
    found_by_time = []
    for multiple in MULTIPLES:  # ONNX Runtime is fast at widths that its vectors divide
        step = unpruned.plan_round(start.kept, weights, 0.7, Selection("filters", "local", multiple=multiple))
        if step.achieved < 0.75:
            smaller = unpruned.prune(state, step.kept)  # compared with the network whose filters are zero
            made = as_onnx(smaller, start, model)
            time = latency_share(made, model, threads=1, rounds=3)
            found_by_time.append((time, multiple, step.achieved, made))
    assert found_by_time
    time, multiple, left, pruned = min(found_by_time, key=lambda found: found[0])
    share = macs_of(pruned) / macs_of(model)
    times = ", ".join(f"{one:.0%} in multiples of {by}" for one, by, *_ in found_by_time)
    reason = "" if time <= A_THIRD else f"; not a third faster: {reason_of(pruned, model, tmp_path)}"
    sys.stdout.write(f"\n{name}: filters {left:.1%}, MACs {share:.1%}, time {times}{reason}")
    assert share < 1
    scored = Runner(pruned, threads=1).scores(images[:1].numpy())
    assert scored.shape == expected[:1].shape
    assert np.isfinite(scored).all()
