"""Measures of a network against counting and scoring by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from enxuto.errors import UsageError
from enxuto.measure import measure, torch_latency, write_network
from enxuto.runtime import Runner
from enxuto.train.batches import TrainingData, evaluation_batches


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 12)
    )


def images(count: int = 30) -> TrainingData:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return TrainingData(pixels, torch.arange(count) % 12, (0.5,) * 3, (0.25,) * 3, 12, "pixels")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_measures_are_what_one_counts_by_hand(tmp_path: Path) -> None:
    model, test = network(), images()
    written = write_network(
        model, tmp_path, (3, 8, 8), preprocess=test.preprocess(), labels=list("abcdefghijkl")
    )
    found = measure(model, test, written, threads=1, repeats=5)
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(batch) for batch, _ in evaluation_batches(test, 30)])
    ranks = (logits.argsort(dim=1, descending=True) == test.labels[:, None]).int().argmax(dim=1)
    assert found.top1 == pytest.approx((ranks == 0).double().mean().item())
    assert found.top5 == pytest.approx((ranks < 5).double().mean().item())
    assert found.loss == pytest.approx(nn.functional.cross_entropy(logits, test.labels).item(), rel=1e-5)
    assert (found.samples, found.data_hash) == (30, "pixels")
    assert found.timed_images == 30  # 100 of a larger set
    assert found.parameters == (27 * 4 + 4) + 2 * 4 + (144 * 12 + 12)
    assert found.macs == 27 * 4 * 36 + 144 * 12
    assert (found.onnx_bytes, found.state_bytes) == tuple(
        (tmp_path / name).stat().st_size for name in ("model.onnx", "model.pt")
    )
    cpu = {"ONNX Runtime, CPU", "PyTorch, CPU"}
    assert set(found.latency) == cpu | ({"PyTorch, GPU"} if torch.cuda.is_available() else set())
    for times in found.latency.values():
        assert 0 < times.median <= times.p95
        assert (times.repeats, times.batch) == (5, 1)
    assert json.loads(json.dumps(found.to_dict()))["latency"]["PyTorch, CPU"]["repeats"] == 5


def test_files_hold_the_weights_the_preprocessing_and_the_labels(tmp_path: Path) -> None:
    model, test = network(), images()
    written = write_network(
        model, tmp_path, (3, 8, 8), preprocess=test.preprocess(), labels=list("abcdefghijkl")
    )
    state = torch.load(written.state, weights_only=True)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in state.items())
    metadata = {item.key: item.value for item in onnx.load(written.onnx).metadata_props}
    assert json.loads(metadata["enxuto.preprocess"]) == test.preprocess().to_dict()
    assert json.loads(metadata["enxuto.labels"]) == list("abcdefghijkl")
    (batch, _), model = next(evaluation_batches(test, 4)), model.eval()
    with torch.no_grad():
        np.testing.assert_allclose(Runner(written.onnx).scores(batch.numpy()), model(batch), atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.pt"]


def test_a_network_of_the_zoo_keeps_its_name(tmp_path: Path) -> None:
    from enxuto import zoo

    model = zoo.build("lenet5", classes=4, seed=1)
    written = write_network(model, tmp_path, (1, 32, 32), name="lenet5", classes=4)
    metadata = {item.key: item.value for item in onnx.load(written.onnx).metadata_props}
    assert metadata["enxuto.network"] == "lenet5"
    pixels = torch.zeros(2, 1, 32, 32)
    with torch.no_grad():
        np.testing.assert_allclose(
            Runner(written.onnx).scores(pixels.numpy()), model.eval()(pixels), atol=1e-5
        )


def test_timing_leaves_modes_threads_and_random_state_as_they_were() -> None:
    model = network()
    model[1].eval()
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    times = torch_latency(model, (3, 8, 8), repeats=3, warmup=0, threads=2, batch=2)
    assert (model.training, model[1].training, torch.get_num_threads()) == (True, False, threads)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert times.mean > 0
    assert torch_latency(model, (3, 8, 8), repeats=1).std == 0


def test_no_runs_are_refused() -> None:
    with pytest.raises(UsageError, match="at least one run"):
        torch_latency(network(), (3, 8, 8), repeats=0)


def test_latencies_go_through_the_images_one_by_one() -> None:
    seen: list[float] = []
    model = network()
    model.register_forward_hook(lambda module, inputs, output: seen.append(float(inputs[0][0, 0, 0, 0])))
    images = torch.arange(3.0)[:, None, None, None].expand(3, 3, 8, 8)
    torch_latency(model, (3, 8, 8), repeats=4, warmup=1, images=images)
    assert seen == [0, 1, 2, 0, 1]
