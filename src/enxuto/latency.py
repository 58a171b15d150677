"""How long models take with ONNX Runtime: several models take turns, so that what else the machine does meets all."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from enxuto.errors import DataError
from enxuto.runtime import Runner

__all__ = ["Latency", "latency"]


@dataclass(frozen=True)
class Latency:
    """Measured times of one model at one batch size, in milliseconds per run."""

    batch: int
    repeats: int
    mean: float
    std: float
    median: float
    p95: float


def latency(
    runners: Sequence[Runner],
    *,
    batch_sizes: Sequence[int] = (1,),
    repeats: int = 50,
    warmup: int = 5,
    seed: int = 0,
    shape: Mapping[str, Sequence[int]] | None = None,
    images: np.ndarray | None = None,
) -> list[list[Latency]]:
    """Times of each runner (first index) at each batch size (second), on random inputs or on `images`.

    images: float32 (N, …) for the one input of all runners; each run takes the next ones, and begins again at the end.

    The models take turns run by run (A B A B …), so that whatever else the machine does meets all of them.
    Raises `DataError` for a batch size that a model cannot take, before anything is run.
    """
    if repeats < 1 or warmup < 0:
        raise DataError(f"need at least one measured run and no negative warm-up, got {repeats} and {warmup}")
    feeds: list[list[dict[str, np.ndarray]]] = [
        [runner.random_feeds(batch, seed=seed, shape=shape) for batch in batch_sizes]
        if images is None
        else [{}] * len(batch_sizes)
        for runner in runners
    ]
    found: list[list[Latency]] = [[] for _ in runners]
    for index, batch in enumerate(batch_sizes):
        times = np.empty((len(runners), repeats))
        for turn in range(-warmup, repeats):
            for which, runner in enumerate(runners):
                if images is not None:
                    rows = np.arange((turn + warmup) * batch, (turn + warmup + 1) * batch) % len(images)
                    feeds[which][index] = {runner.inputs[0].name: images[rows]}
                start = time.perf_counter_ns()
                runner.run(feeds[which][index])
                elapsed = time.perf_counter_ns() - start
                if turn >= 0:
                    times[which, turn] = elapsed / 1e6
        for which, row in enumerate(times):
            median, p95 = np.quantile(row, [0.5, 0.95])
            spread = float(row.std(ddof=1)) if repeats > 1 else 0.0
            found[which].append(Latency(batch, repeats, float(row.mean()), spread, float(median), float(p95)))
    return found
