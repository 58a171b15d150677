"""The last table: original, pruned network and file, on images that chose nothing, and timed taking turns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from enxuto.compression.judge import Judge, Judgement
from enxuto.latency import latency
from enxuto.onnx_model import Model
from enxuto.runtime import Runner
from enxuto.slimming.result import Measured, Share
from enxuto.summary import summarize_onnx

__all__ = ["latency_share", "macs_of", "measure_rows", "median_interval"]

_ROUNDS = 17
_REPEATS = 5


def macs_of(model: Model) -> int:
    """Multiply-accumulates for one image."""
    return summarize_onnx(model).macs


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """An interval that holds the median of what the values are drawn from with at least 95 %: two of them, by rank.

    The rank of the lower end is the largest k with P(Binomial(n, ½) < k) ≤ 2.5 %; with fewer than 6 values there is
    none, and the ends are the least and the largest.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    count = len(ordered)
    odds, tail, rank = 0.5**count, 0.0, 0
    while rank < count // 2 and tail + odds <= 0.025:
        tail += odds
        odds *= (count - rank) / (rank + 1)
        rank += 1
    low = max(0, rank - 1)
    return float(ordered[low]), float(ordered[count - 1 - low])


def _timed(models: Sequence[Model], threads: int, rounds: int) -> tuple[list[float], list[Share]]:
    runners = [Runner(model, threads=threads) for model in models]
    medians = np.array(
        [[one[0].median for one in latency(runners, repeats=_REPEATS, warmup=2)] for _ in range(rounds)]
    )
    ratios = medians / medians[:, :1]
    shares = [Share(float(np.median(column)), *median_interval(column.tolist())) for column in ratios.T]
    return np.median(medians, axis=0).tolist(), shares


def latency_share(model: Model, original: Model, *, threads: int, rounds: int = 7) -> float:
    """The latency of a model beside the original's, for one image: the median of rounds in which both take turns."""
    return _timed([original, model], threads, rounds)[1][1].value


def measure_rows(
    models: Sequence[tuple[str, Model, int]], judge: Judge, *, threads: int
) -> tuple[Measured, ...]:
    """Measure models; the first is the original.

    Args:
        models: name, model, bytes of its file.
        judge: by held-out images, with the original as its reference.
        threads: of ONNX Runtime while it is timed.
    """
    milliseconds, shares = _timed([model for _, model, _ in models], threads, _ROUNDS)
    answers: list[Judgement | None] = [None, *(judge.of_model(model) for _, model, _ in models[1:])]
    return tuple(
        Measured(name, size, macs_of(model), time, share, judged)
        for (name, model, size), time, share, judged in zip(
            models, milliseconds, shares, answers, strict=True
        )
    )
