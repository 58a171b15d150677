"""Functions that points of the tests name; worker processes import them from here."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from enxuto.errors import DataError
from enxuto.study import Task


def square(task: Task) -> dict[str, Any]:
    """The square of `x`; a line in `log` for each call, where there is one."""
    if "log" in task.paths:
        with Path(task.paths["log"]).open("a") as log:
            log.write(f"{task.point} {os.getpid()}\n")
    return {"square": task.settings["x"] ** 2, "seed": task.seed}


def slow_square(task: Task) -> dict[str, Any]:
    """The same, in as many seconds as `seconds` says."""
    time.sleep(task.settings["seconds"])
    return square(task)


def total(task: Task) -> dict[str, Any]:
    """Sum of the squares of what comes before; writes it into a file, reads those of the points before."""
    (task.folder / "total.txt").write_text(
        str(sum(predecessor.values["square"] for predecessor in task.predecessors))
    )
    return {"square": sum(predecessor.values["square"] for predecessor in task.predecessors)}


def read_file(task: Task) -> dict[str, Any]:
    """What the point before wrote."""
    return {"text": (task.predecessors[0].folder / "total.txt").read_text()}


def fail(task: Task) -> dict[str, Any]:
    """Raise what `kind` says."""
    kind = task.settings["kind"]
    if kind == "own":
        raise DataError("image 3 is\ndamaged")
    if kind == "other":
        return {"x": [][1]}
    if kind == "nan":
        return {"x": float("nan")}
    if kind == "object":
        return {"x": object()}
    if kind == "exit":
        sys.exit(3)
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def kill_once(task: Task) -> dict[str, Any]:
    """End the process hard at the first call; later calls find the file and go on."""
    mark = task.folder / "was-here"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"tries": 2}


def threads(task: Task) -> dict[str, Any]:
    """What bounds threads here."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {"environment": [os.environ.get(name) for name in names], "told": task.threads}


LOCKS: list[object] = []


def hold_a_lock(task: Task) -> dict[str, Any]:
    """Make a lock between processes and keep it, as tqdm does; then take as many seconds as `seconds` says."""
    LOCKS.append(multiprocessing.RLock())
    time.sleep(task.settings["seconds"])
    return {"locks": len(LOCKS)}


def ask_to_end(task: Task) -> dict[str, Any]:
    """What a machine that shuts down does to its processes."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
    return {}


def big(task: Task) -> dict[str, Any]:
    """A result of `size` characters, more than a pipe holds."""
    return {"text": "x" * task.settings["size"]}
