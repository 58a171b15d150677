"""The speed of an arm's networks: all its rounds and the unpruned network take turns, at each batch size.

Left out: training. Speeds depend on shapes alone, so the unpruned network is timed with fresh weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from enxuto.measure.timing import torch_latency
from enxuto.prune.removal.rebuild import load_pruned
from enxuto.prune.retrain import build_unpruned
from enxuto.prune.speed import latencies
from enxuto.studies.lottery.round import architecture_of, network_file
from enxuto.study.point import Task

__all__ = ["time_arm"]

_REPEATS = 10  # after one to warm up, as in the source
_GPU_REPEATS = 50


def time_arm(task: Task) -> dict[str, Any]:
    """Time the unpruned network and those of all points before; rows of mean, median, p95 in ms and the speed-up.

    A row's `round` is 0 for the unpruned network, then as the points come.
    """
    architecture = architecture_of(task)
    torch.set_num_threads(task.threads)
    networks = [build_unpruned(architecture, 0).eval()]
    networks += [
        load_pruned(network_file(before), architecture.factory).network
        for before in task.predecessors
        if not before.values.get("collapsed")  # such a network cannot be built
    ]
    rows = _cpu(networks, architecture.input_shape, task.settings["batches"], task.threads)
    if torch.cuda.is_available():
        rows += _gpu(networks, architecture.input_shape, task.settings["batches"])
    return {"threads": task.threads, "repeats": _REPEATS, "rows": rows}


def _cpu(
    networks: Sequence[nn.Module], shape: tuple[int, ...], batches: Sequence[int], threads: int
) -> list[dict[str, Any]]:
    found = latencies(networks, shape, batches=batches, repeats=_REPEATS, threads=threads)
    return [
        {"device": "cpu", "round": number, "batch": one.batch, "mean_ms": one.mean, "median_ms": one.median,
         "p95_ms": one.p95, "speedup": whole.median / one.median}
        for number, per_batch in enumerate(found)
        for one, whole in zip(per_batch, found[0], strict=True)
    ]  # fmt: skip


def _gpu(
    networks: Sequence[nn.Module], shape: tuple[int, ...], batches: Sequence[int]
) -> list[dict[str, Any]]:
    """One network after the other: on a GPU of one's own nothing else disturbs."""
    rows: list[dict[str, Any]] = []
    for batch in batches:
        times = [
            torch_latency(network.to("cuda"), shape, device="cuda", batch=batch, repeats=_GPU_REPEATS)
            for network in networks
        ]
        rows += [
            {"device": "gpu", "round": number, "batch": batch, "mean_ms": one.mean, "median_ms": one.median,
             "p95_ms": one.p95, "speedup": times[0].median / one.median}
            for number, one in enumerate(times)
        ]  # fmt: skip
    return rows
