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
from enxuto.study import Work


def square(work: Work) -> dict[str, Any]:
    """The square of `x`; a line in `log` for each call, where there is one."""
    if "log" in work.places:
        with Path(work.places["log"]).open("a") as log:
            log.write(f"{work.point} {os.getpid()}\n")
    return {"square": work.settings["x"] ** 2, "seed": work.seed}


def slow_square(work: Work) -> dict[str, Any]:
    """The same, in as many seconds as `seconds` says."""
    time.sleep(work.settings["seconds"])
    return square(work)


def total(work: Work) -> dict[str, Any]:
    """Sum of the squares of what comes before; writes it into a file, reads those of the points before."""
    (work.folder / "total.txt").write_text(str(sum(before.values["square"] for before in work.before)))
    return {"square": sum(before.values["square"] for before in work.before)}


def read_file(work: Work) -> dict[str, Any]:
    """What the point before wrote."""
    return {"text": (work.before[0].folder / "total.txt").read_text()}


def fail(work: Work) -> dict[str, Any]:
    """Raise what `kind` says."""
    kind = work.settings["kind"]
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


def kill_once(work: Work) -> dict[str, Any]:
    """End the process hard at the first call; later calls find the file and go on."""
    mark = work.folder / "was-here"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"tries": 2}


def threads(work: Work) -> dict[str, Any]:
    """What bounds threads here."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {"environment": [os.environ.get(name) for name in names], "told": work.threads}


LOCKS: list[object] = []


def hold_a_lock(work: Work) -> dict[str, Any]:
    """Make a lock between processes and keep it, as tqdm does; then take as many seconds as `seconds` says."""
    LOCKS.append(multiprocessing.RLock())
    time.sleep(work.settings["seconds"])
    return {"locks": len(LOCKS)}


def ask_to_end(work: Work) -> dict[str, Any]:
    """What a machine that shuts down does to its processes."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
    return {}


def big(work: Work) -> dict[str, Any]:
    """A result of `size` characters, more than a pipe holds."""
    return {"text": "x" * work.settings["size"]}
