"""What a study's machinery costs: 500 short points with records, beside the same computations without any.

    python benchmarks/study.py [--points 500] [--milliseconds 50] [--workers 1] [--rounds 3]
    python benchmarks/study.py --records 100000

A point computes (it does not sleep) for about the given time. Bare: as many processes as workers, each of which calls
the function in a loop; the machinery starts its own processes too, and both starts are measured. The two take turns;
the overhead is the ratio of the medians. Every record is synced to disk. On a machine that is busy otherwise
neither says much; then the share of the study's own time that is not spent in the points' functions remains.

With `--records`, instead: how long a store takes to read so many records, each as large as those of a curve.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from enxuto.study import Local, Point, Result, Store, Study, Task
from enxuto.study.executor import Outcome

sys.path.insert(0, str(Path(__file__).resolve().parent))  # workers find this file as `study`

_BLOCK = bytes(1 << 16)


def burn(task: Task) -> dict[str, str]:
    """Hash `loops` times: compiled code, as fast in every process (a loop in Python differs by a fifth)."""
    found = b""
    for _ in range(task.settings["loops"]):
        found = hashlib.sha256(found + _BLOCK).digest()
    return {"hash": found.hex()}


def tasks(count: int, loops: int) -> list[Task]:
    """The same tasks as the study's points make."""
    return [Task(str(n), "", {"loops": loops, "n": n}, 0, None, {}, (), Path()) for n in range(count)]


def bare_part(count: int, loops: int) -> None:
    """What one bare process does."""
    for task in tasks(count, loops):
        burn(task)


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, and of all processors in this process and those it has waited for."""

    clock: float
    cpu: float


@contextmanager
def costs(found: list[Cost]) -> Iterator[None]:
    """Append what the block costs."""
    before, began = sum(os.times()[:4]), time.perf_counter()
    yield
    found.append(Cost(time.perf_counter() - began, sum(os.times()[:4]) - before))


def bare(count: int, loops: int, workers: int) -> None:
    """The computations alone, shared among processes."""
    context = multiprocessing.get_context("spawn")
    shares = [count // workers + (number < count % workers) for number in range(workers)]
    processes = [context.Process(target=bare_part, args=(share, loops)) for share in shares]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


def studied(count: int, loops: int, workers: int) -> float:
    """A study of them; returns how many seconds of it were spent in the points' functions."""
    points = [Point("study:burn", {"loops": loops, "n": n}) for n in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        results = Study(points, folder).run(Local(workers=workers))
    if results.exit_code:
        raise SystemExit(f"a point failed: {results.failed[0].error}")
    return sum(result.seconds for result in results)


def read_records(count: int, rounds: int) -> None:
    """Write records of about 1,000 bytes, read them in a new store, and print what that costs."""
    values = {f"measure_{n}": 0.123456789 + n for n in range(20)}
    machine = {"cpu": "a processor with a name of usual length", "cores": 2, "gpu": None, "ram_gb": 15.6}
    versions = dict.fromkeys(("python", "enxuto", "numpy", "onnx", "onnxruntime", "numba", "torch"), "1.2.3")
    with tempfile.TemporaryDirectory() as folder:
        with (Path(folder) / "records.jsonl").open("wb") as file:
            for n in range(count):
                point = Point(
                    "study:burn", {"n": n, "mode": "grid", "method": "midtread"}, kind="curve.measure"
                )
                outcome = Outcome(point.id, values, None, 0.25, machine=machine, versions=versions)
                file.write(Result.of(point, outcome).line())
            size = file.tell()
        print(f"{count:,} records, {size / 1e6:.0f} MB", flush=True)
        for _ in range(rounds):
            before, began = time.process_time(), time.perf_counter()
            assert len(Store(folder).results()) == count
            print(
                f"read in {time.perf_counter() - began:.1f} s ({time.process_time() - before:.1f} s of a processor)"
            )


def loops_for(seconds: float) -> int:
    """How many loops take that long on a processor here."""
    loops = 10
    while True:
        began = time.process_time()
        bare_part(1, loops)
        taken = time.process_time() - began
        if taken >= seconds / 2:
            return round(loops * seconds / taken)
        loops *= 2


def main() -> None:
    """Measure and print a line a round, and the overhead."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=500)
    parser.add_argument("--milliseconds", type=float, default=50)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=int, default=0)
    options = parser.parse_args()
    if options.records:
        read_records(options.records, options.rounds)
        return
    loops = loops_for(options.milliseconds / 1000)
    without: list[Cost] = []
    machinery: list[Cost] = []
    outside: list[float] = []
    for number in range(options.rounds):
        with costs(without):
            bare(options.points, loops, options.workers)
        with costs(machinery):
            inside = studied(options.points, loops, options.workers)
        outside.append(machinery[-1].clock * options.workers / inside - 1)
        print(f"round {number + 1}: bare {without[-1].clock:.2f} s ({without[-1].cpu:.2f} s of processors), "
              f"study {machinery[-1].clock:.2f} s ({machinery[-1].cpu:.2f} s)", flush=True)  # fmt: skip
    print(f"{options.points} points of {options.milliseconds:g} ms, {options.workers} workers, "
          f"medians of {options.rounds} rounds:")  # fmt: skip
    for name in ("clock", "cpu"):
        one, other = (
            statistics.median(getattr(cost, name) for cost in costs) for costs in (without, machinery)
        )
        print(f"overhead by {'the clock' if name == 'clock' else 'processor time'}: {other / one - 1:+.2%}")
    print(
        f"time of the study outside the points' functions, over that inside: {statistics.median(outside):+.2%}"
    )


if __name__ == "__main__":
    main()
