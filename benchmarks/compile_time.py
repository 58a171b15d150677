"""Seconds of one core that compiling all loops takes, by function; run it with a copy of the source without a cache.

Usage:
    cp -r src /tmp/cold && find /tmp/cold -name '*.nb[ic]' -delete
    PYTHONPATH=/tmp/cold python benchmarks/compile_time.py
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

import numpy as np
from numba.core import event

from enxuto import codec
from enxuto.quantize.scalar import DeadZone
from enxuto.rounding import feedback
from enxuto.rounding.viterbi import nearest_path


class CompileTimes(event.Listener):  # type: ignore[misc]
    """Seconds that each function takes by itself, without those that it calls."""

    def __init__(self) -> None:
        self._open: list[list[float]] = []
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def on_start(self, event: Any) -> None:
        """Begin to count; the function may compile others."""
        self._open.append([time.thread_time(), 0.0])

    def on_end(self, event: Any) -> None:
        """Add what has passed, and take it off the function outside."""
        start, inner = self._open.pop()
        passed = time.thread_time() - start
        if self._open:
            self._open[-1][1] += passed
        function = event.data["dispatcher"].py_func
        self.seconds[f"{function.__module__}.{function.__name__}"].append(passed - inner)


def use_codec() -> None:
    """Run every loop of the codec on a few hundred weights."""
    generator = np.random.default_rng(0)
    scales = 3 * generator.laplace(size=(8, 6, 1, 1))
    weight = (scales + 0.2 * generator.laplace(size=(8, 6, 3, 3))).astype(np.float32)
    quantizer = DeadZone(0.5)
    levels = quantizer.quantize(weight)
    quantizer.reconstruct(levels)
    for shape in ((8, 6, 3, 3), (8, 54)):
        for coder in codec.CODERS:
            _, data = codec.encode(levels, [shape], coder=coder, trellis=codec.TRELLIS_CODERS.get(coder, 0))
            codec.decode(coder, data, [shape])
    codec.decode_levels(codec.encode_levels(levels * 1_000_003), levels.size)
    nearest_path(weight.reshape(8, -1).astype(np.float64))


def use_rounding() -> None:
    """Run calibrated rounding on a few hundred weights, with one path and with many."""
    rows, columns = 8, 54
    weights = np.random.default_rng(0).normal(size=(rows, columns))
    inputs, outputs = (feedback.upper_factor(np.eye(size) + 0.01) for size in (columns, rows))
    levels, steps = np.zeros((rows, columns), np.int32), (np.full(rows, 0.3), np.ones(columns))
    for paths in (1, 16):
        feedback.round_matrix(weights.copy(), *steps, inputs, outputs, levels, paths=paths)
    feedback.round_on_trellis(
        weights.copy(), *steps, inputs, outputs, np.zeros(rows, np.int64), levels, paths=16
    )


def main() -> None:
    """Print a table."""
    for use in (use_codec, use_rounding):
        times = CompileTimes()
        event.register("numba:compile", times)
        use()
        event.unregister("numba:compile", times)
        count = sum(map(len, times.seconds.values()))
        print(f"{use.__name__}: {sum(map(sum, times.seconds.values())):.1f} s, {count} compiled functions")
        for name, seconds in sorted(times.seconds.items(), key=lambda item: -sum(item[1]))[:8]:
            print(f"  {sum(seconds):5.2f} s  {len(seconds)}×  {name}")


if __name__ == "__main__":
    main()
