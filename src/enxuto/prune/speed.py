"""How much faster pruned networks run than the unpruned one: ONNX Runtime on the CPU, networks taking turns.

All networks run turn by turn (A B C A B C …), so that whatever else the machine does meets all of them: trust the
ratios. Left out: GPUs (`enxuto.measure.torch_latency`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from enxuto.export import export_onnx
from enxuto.latency import Latency, latency
from enxuto.runtime import Runner

__all__ = ["latencies", "relative_latency"]


def latencies(
    networks: Sequence[nn.Module],
    input_shape: Sequence[int],
    *,
    batches: Sequence[int] = (1, 128),
    repeats: int = 10,
    warmup: int = 1,
    threads: int = 1,
) -> list[list[Latency]]:
    """Time networks in ONNX Runtime, taking turns; by default the source's 10 runs after one.

    Args:
        networks: the networks.
        input_shape: (channels, height, width).
        batches: batch sizes.
        repeats, warmup: runs that are measured, and runs before them.
        threads: of ONNX Runtime; 0: one a core.

    Returns: times in ms a run, for each network (first index) at each batch size (second).

    Raises:
        ModelError: a network cannot be exported.
    """
    with tempfile.TemporaryDirectory(prefix="enxuto-") as folder:
        paths = [Path(folder) / f"{number}.onnx" for number in range(len(networks))]
        for network, path in zip(networks, paths, strict=True):
            export_onnx(network, path, input_shape=tuple(input_shape), check=False)
        runners = [Runner(path, threads=threads) for path in paths]
    return latency(runners, batch_sizes=batches, repeats=repeats, warmup=warmup)


def relative_latency(
    smaller: nn.Module,
    whole: nn.Module,
    input_shape: Sequence[int],
    *,
    batch: int = 1,
    repeats: int = 30,
    threads: int = 1,
) -> float:
    """The median time of `smaller` over that of `whole`, taking turns."""
    (one,), (other,) = latencies(
        [smaller, whole], input_shape, batches=(batch,), repeats=repeats, warmup=3, threads=threads
    )
    return one.median / other.median
