"""`measure`: all that the sources report of a trained network, from its files and from running it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from enxuto.data import Preprocess
from enxuto.export import export_onnx
from enxuto.files import atomic_write
from enxuto.latency import Latency, latency
from enxuto.measure.timing import torch_latency
from enxuto.runtime import Runner
from enxuto.summary.torch_module import summarize_module
from enxuto.train.batches import TrainingData, evaluation_batches
from enxuto.train.validation import score

_TIMED = 100  # test images that are run one by one, again and again

__all__ = ["Measurements", "NetworkFiles", "measure", "write_network"]

ORT_CPU, TORCH_CPU, TORCH_GPU = "ONNX Runtime, CPU", "PyTorch, CPU", "PyTorch, GPU"


@dataclass(frozen=True)
class NetworkFiles:
    """A network's files: `state` holds the weights as torch saves them, `onnx` the network for any runtime."""

    state: Path
    onnx: Path


@dataclass(frozen=True)
class Measurements:
    """What was measured.

    top1, top5: shares 0…1 of the test images, top5 None for ten classes and fewer; loss: their mean cross-entropy
    in nats. data_hash: of the test images. parameters: all, frozen ones too. macs: multiply–accumulates for one image,
    as `enxuto.summary` counts. onnx_bytes, state_bytes: sizes of the files. latency: by runtime and device, of one
    image, in ms. threads: of the CPU (0: one per core). timed_images: how many test images the runs took in turn.
    """

    top1: float
    top5: float | None
    loss: float
    samples: int
    data_hash: str
    parameters: int
    macs: int
    onnx_bytes: int
    state_bytes: int
    latency: dict[str, Latency]
    threads: int
    timed_images: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values."""
        return asdict(self)


def write_network(
    model: nn.Module,
    folder: str | Path,
    input_shape: Sequence[int],
    *,
    name: str | None = None,
    classes: int | None = None,
    preprocess: Preprocess | None = None,
    labels: Sequence[str] | None = None,
) -> NetworkFiles:
    """Write `model.pt` (state dict) and `model.onnx` into an existing folder, each whole or not at all.

    Args:
        model: the network.
        folder: where to write.
        input_shape: (channels, height, width).
        name, classes: of a network of the zoo, for the ONNX file's metadata.
        preprocess, labels: written into the ONNX file's metadata.

    Raises:
        ModelError: the network cannot be exported.
    """
    state, onnx = Path(folder) / "model.pt", Path(folder) / "model.onnx"
    weights = {key: value.detach().cpu() for key, value in model.state_dict().items()}
    with atomic_write(state) as file:
        torch.save(weights, file)
    if name is None:
        export_onnx(to_cpu(model), onnx, input_shape=tuple(input_shape), preprocess=preprocess, labels=labels)
    else:
        export_onnx(
            name, onnx, classes=classes, input_shape=tuple(input_shape), weights=state, preprocess=preprocess,
            labels=labels,
        )  # fmt: skip
    return NetworkFiles(state, onnx)


def measure(
    model: nn.Module,
    test: TrainingData,
    files: NetworkFiles,
    *,
    threads: int = 0,
    repeats: int = 100,
    seed: int = 0,
) -> Measurements:
    """Score a network on test images, and time it and its ONNX file on some of them; on a GPU too, if there is one.

    Each timed run takes one image: the next of 100 that are drawn by the seed, from the first after the last.

    Args:
        model: the network.
        test: test images with the training set's mean and std (`TrainingData.like`).
        files: what `write_network` wrote of it.
        threads: CPU threads of both runtimes; 0: one a core in ONNX Runtime, torch's own number in torch.
        repeats: timed runs.
        seed: which test images are timed.
    """
    scores = score(model, test)
    order = np.random.default_rng(seed).permutation(len(test))[:_TIMED]
    images = torch.cat([batch for batch, _ in evaluation_batches(test.subset(order), _TIMED)]).cpu()
    channels, height, width = test.images.shape[1:]
    shape = (channels, height, width)
    on_cpu = to_cpu(model)
    times = {
        ORT_CPU: latency(
            [Runner(files.onnx, threads=threads)], repeats=repeats, warmup=10, images=images.numpy()
        )[0][0],
        TORCH_CPU: torch_latency(on_cpu, shape, repeats=repeats, threads=threads, images=images),
    }
    if torch.cuda.is_available():
        device = torch.device("cuda")
        times[TORCH_GPU] = torch_latency(
            copy.deepcopy(on_cpu).to(device), shape, device=device, repeats=repeats, images=images
        )
    return Measurements(
        top1=scores.top1,
        top5=scores.top5,
        loss=scores.loss,
        samples=scores.samples,
        data_hash=test.hash,
        parameters=sum(weight.numel() for weight in model.parameters()),
        macs=summarize_module(on_cpu, shape).macs,
        onnx_bytes=files.onnx.stat().st_size,
        state_bytes=files.state.stat().st_size,
        latency=times,
        threads=threads,
        timed_images=len(images),
    )


def to_cpu(model: nn.Module) -> nn.Module:
    """The model itself where it is on the CPU in the usual layout, else a copy there."""
    if all(not weight.is_cuda and weight.is_contiguous() for weight in model.parameters()):
        return model
    return copy.deepcopy(model).to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload, no-any-return]
