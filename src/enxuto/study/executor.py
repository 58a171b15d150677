"""Where points are computed: what every executor can do, the computation itself, and the executor in this process.

`compute` never raises for what a point's function does: a failure is an outcome with one line that says why, so that
the other points go on.
"""

from __future__ import annotations

import functools
import sys
import time
import traceback
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from enxuto._version import __version__
from enxuto.errors import EnxutoError, UsageError
from enxuto.machine.facts import machine, versions
from enxuto.study.point import Task, copy_as_json, import_function

__all__ = ["Executor", "Outcome", "Serial", "Session", "compute", "failed_outcome"]


@dataclass(frozen=True)
class Outcome:
    """How a computation ended: `values`, or else one line of `error` (and the `trace` that led there).

    seconds: of the function alone. machine, versions: where it ran; empty where that is not known.
    """

    point: str
    values: Mapping[str, Any] | None
    error: str | None
    seconds: float
    trace: str | None = None
    machine: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


class Session(Protocol):
    """An executor that is open."""

    def slots(self) -> int:
        """How many tasks to have submitted at a time, so that no process waits for more."""
        ...

    def submit(self, task: Task) -> None:
        """Hand over a task to compute."""
        ...

    def take(self) -> Outcome:
        """Wait for the next outcome, in whatever order they come."""
        ...


class Executor(Protocol):
    """A place for computations; `session` keeps it open, and ends what still runs when it is left."""

    @property
    def threads(self) -> int:
        """How many threads each computation may use."""
        ...

    def session(self) -> AbstractContextManager[Session]:
        """Open it."""
        ...


def compute(task: Task) -> Outcome:
    """Call a task's function and time it."""
    began = time.perf_counter()
    values, error, trace = None, None, None
    try:
        if task.version != __version__:
            raise UsageError(
                f"the study is of enxuto {task.version}, but {__version__} is installed where points are computed",
                code="E081",
            )
        values = copy_as_json(import_function(task.function)(task), f"what {task.function} returned")
    except EnxutoError as problem:
        error, trace = one_line(str(problem)), _trace()
    except Exception as problem:  # noqa: BLE001 - whatever a study's function does, the other points go on
        error, trace = one_line(_describe(problem)), _trace()
    seconds = time.perf_counter() - began
    return Outcome(task.point, values, error, seconds, trace, *_describe_machine("torch" in sys.modules))


@functools.cache
def _describe_machine(torch_loaded: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Machine and versions, looked at once a process, and again when PyTorch has come, which alone tells of a GPU."""
    return machine(), versions()


def failed_outcome(point: str, reason: str) -> Outcome:
    """The outcome of a point whose process ended without one."""
    return Outcome(point, None, one_line(reason), 0.0)


def one_line(text: str) -> str:
    """Text with its line breaks and runs of blanks as single blanks, cut at 500 characters."""
    return " ".join(text.split())[:500].encode(errors="replace").decode()


def _trace() -> str:
    return traceback.format_exc().encode(errors="replace").decode()


def _describe(problem: Exception) -> str:
    """Kind and message of an error that nobody expected, and the line it comes from."""
    frames = traceback.extract_tb(problem.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(problem).__name__}: {problem}{where}"


@dataclass(frozen=True)
class Serial:
    """Points one by one in this process: for debuggers and for points too short to send away."""

    threads: int = 1

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Yield the session."""
        yield _Queue()


class _Queue:
    def __init__(self) -> None:
        self._waiting: deque[Task] = deque()

    def slots(self) -> int:
        return 1

    def submit(self, task: Task) -> None:
        self._waiting.append(task)

    def take(self) -> Outcome:
        return compute(self._waiting.popleft())
