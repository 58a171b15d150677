"""Latency of a torch module, on the CPU or a GPU. `enxuto.latency` is the same for ONNX Runtime."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from enxuto.errors import UsageError
from enxuto.latency import Latency
from enxuto.zoo.modes import evaluation_mode

__all__ = ["torch_latency"]


def torch_latency(
    model: nn.Module,
    input_shape: Sequence[int],
    *,
    device: str | torch.device = "cpu",
    batch: int = 1,
    repeats: int = 100,
    warmup: int = 10,
    threads: int = 0,
    seed: int = 0,
    images: torch.Tensor | None = None,
) -> Latency:
    """Time a network in evaluation mode; it is left as it was. On a GPU every run is waited for.

    Args:
        model: the network, on `device`.
        input_shape: (channels, height, width).
        device: of the network.
        batch: images a run.
        repeats, warmup: runs that are measured, and runs before them.
        threads: of the CPU; 0: torch's own number.
        seed: of random images.
        images: normalised, (N, channels, height, width): each run takes the next ones, from the first after the last.
            None: the same random ones each time.

    Returns: times in ms a run.

    Raises:
        UsageError: fewer than one run or one image.
    """
    if repeats < 1 or warmup < 0 or batch < 1:
        raise UsageError(
            f"need at least one run of one image, got {repeats} runs, {warmup} before, batch {batch}"
        )
    place = torch.device(device)
    generator = torch.Generator().manual_seed(seed)
    shown = torch.randn(batch, *input_shape, generator=generator).to(place)
    pool = None if images is None else images.to(place)
    times = np.empty(repeats)
    with evaluation_mode(model), _torch_threads(threads), torch.inference_mode():
        for turn in range(-warmup, repeats):
            if pool is not None:
                shown = pool[(torch.arange(batch, device=place) + (turn + warmup) * batch) % len(pool)]
            start = time.perf_counter_ns()
            model(shown)
            if place.type == "cuda":
                torch.cuda.synchronize(place)
            elapsed = time.perf_counter_ns() - start
            if turn >= 0:
                times[turn] = elapsed / 1e6
    median, p95 = np.quantile(times, [0.5, 0.95])
    spread = float(times.std(ddof=1)) if repeats > 1 else 0.0
    return Latency(batch, repeats, float(times.mean()), spread, float(median), float(p95))


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    """Inside, torch uses this many CPU threads (0: its own number)."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
