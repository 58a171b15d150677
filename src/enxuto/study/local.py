"""`Local`: points on this machine, in processes of their own with bounded threads.

Each process computes one task at a time; while points are short it has the next one waiting, so that it does not wait
for the records to be written. A process that dies takes only its own point with it: the point has failed, and another
process takes its place. Processes end with their parent, after a kill of it too, and in order: libraries leave
semaphores (tqdm does, inside PyTorch's export) that Python would complain of. A Ctrl-C is the parent's affair alone.

The environment bounds OpenMP, BLAS, MKL, Numba and PyTorch; what counts processors by itself (ONNX Runtime) must be
given `Task.threads`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from queue import SimpleQueue
from types import FrameType

from enxuto.errors import UsageError
from enxuto.machine.processors import processors
from enxuto.study.executor import Outcome, Session, compute, failed_outcome
from enxuto.study.point import Task

__all__ = ["Local"]

_BOUNDED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
            "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS")  # fmt: skip
_AHEAD = 2  # tasks in a process while points are short: the one being computed, and the next
_SHORT = 1.0  # seconds
_PATIENCE = 5.0  # seconds until a process that does not end is killed
_GRACE = 2.0  # seconds that a process has to end in order when its parent has gone
_TERMINATED = 128 + signal.SIGTERM  # the exit code of a process that was asked to end, as shells write it


@dataclass(frozen=True)
class Local:
    """`workers` processes of `threads` threads each; workers None is as many as processors allow.

    Raises `UsageError` for numbers below 1.
    """

    workers: int | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        if self.threads < 1 or (self.workers is not None and self.workers < 1):
            raise UsageError(
                f"a study needs at least 1 worker and 1 thread, not {self.workers} and {self.threads}"
            )

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Yield the session; processes start when there is work for them and are ended on the way out."""
        pool = _Pool(self.workers or max(1, processors() // self.threads), self.threads)
        try:
            yield pool
        finally:
            pool.end()


class _Pool:
    """Processes, and who computes what."""

    def __init__(self, workers: int, threads: int) -> None:
        self._most, self._threads = workers, threads
        self._workers: list[_Worker] = []
        self._ready: deque[Outcome] = deque()

    def slots(self) -> int:
        return sum(worker.most for worker in self._workers) + self._most - len(self._workers)

    def submit(self, task: Task) -> None:
        free = max(self._workers, key=lambda worker: worker.most - len(worker.given), default=None)
        if free is None or (free.given and len(self._workers) < self._most):
            free = _Worker(self._threads)
            self._workers.append(free)
        free.give(task)

    def take(self) -> Outcome:
        while not self._ready:
            for worker in wait_for(self._workers):
                self._receive(worker)
        return self._ready.popleft()

    def _receive(self, worker: _Worker) -> None:
        """Take an outcome in; or, where the process has ended, say which point was lost and give the rest away."""
        try:
            outcome = worker.connection.recv()
        except (EOFError, OSError):
            self._workers.remove(worker)
            code = worker.end()
            given = list(worker.given)
            if given:
                self._ready.append(failed_outcome(given[0].point, f"its process {_describe_exit(code)}"))
            for task in given[1:]:
                self.submit(task)
            return
        worker.given.popleft()
        # A long point must not wait behind another one while there may be a process with nothing to do.
        worker.most = _AHEAD if outcome.seconds < _SHORT else 1
        self._ready.append(outcome)

    def end(self) -> None:
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.end()


def wait_for(workers: list[_Worker]) -> list[_Worker]:
    """Workers that have something to say, their end included; waits for the first."""
    heard = set(map(id, wait([worker.connection for worker in workers])))
    return [worker for worker in workers if id(worker.connection) in heard]


class _Worker:
    """A process, our end of the pipe to it, the tasks it has (the one it computes first), and how many to give it."""

    def __init__(self, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_serve, args=(theirs,))
        self.given: deque[Task] = deque()
        self.most = 1
        with _environment({name: str(threads) for name in _BOUNDED}):
            self.process.start()
        theirs.close()  # so that its end is heard

    def give(self, task: Task) -> None:
        self.given.append(task)
        with suppress(OSError):  # it has ended, which is heard of next
            self.connection.send(task)

    def end(self) -> int | None:
        """Wait for the end of the process; how it ended."""
        self.connection.close()
        self.process.join(_PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        return self.process.exitcode


def _serve(connection: Connection) -> None:
    """Compute what comes until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    os.dup2(2, 1)  # what a point prints must not stand among the parent's results
    tasks: SimpleQueue[Task] = SimpleQueue()
    threading.Thread(target=_receive, args=(connection, tasks), daemon=True).start()
    while True:
        connection.send(compute(tasks.get()))


def _leave(number: int, frame: FrameType | None) -> None:
    """End in order on SIGTERM; further SIGTERMs are ignored."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(_TERMINATED)


def _receive(connection: Connection, tasks: SimpleQueue[Task]) -> None:
    """Take tasks in at once, so that the parent never waits; end with the parent, however it ended.

    Nobody would hear of what is computed after that, and the next run computes it again in the same folder. So a
    computation that cannot be interrupted (compiled code) is not waited for.
    """
    with suppress(EOFError, OSError):
        while True:
            tasks.put(connection.recv())
    # To the main thread itself: a signal that another thread takes would not wake it.
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    time.sleep(_GRACE)
    os._exit(1)


def _describe_exit(code: int | None) -> str:
    code = -signal.SIGTERM if code == _TERMINATED else code
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name} (out of memory, perhaps)"
    return f"ended with code {code}"


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables for processes started meanwhile; they must be there before NumPy is loaded."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
