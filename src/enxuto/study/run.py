"""`Study`: points, computed in the order their dependencies ask for, each once, and recorded as they end.

What is recorded already is not computed again, but for points that failed, which are tried again. Where a point fails,
those that come after it are not run, and the others go on.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from enxuto.errors import UsageError
from enxuto.study.executor import Executor, Outcome, Session
from enxuto.study.local import Local
from enxuto.study.point import Point, Predecessor, Task
from enxuto.study.store import Store, Writer
from enxuto.study.store_result import Result

__all__ = ["Study", "StudyProgress", "StudyResults"]

Report = Callable[["StudyProgress"], None]


@dataclass(frozen=True)
class StudyProgress:
    """How far a run is: points in all, settled (known included), known before, failed, not run; and the last result.

    seconds: since the run began. eta: seconds until the end, from the points of the same kinds computed so far; None
    while a kind is to come of which none has ended.
    last: None in the first report, before anything is computed.
    """

    total: int
    settled: int
    known: int
    failed: int
    not_run: int
    seconds: float
    eta: float | None
    last: Result | None


@dataclass(frozen=True)
class StudyResults:
    """What became of a study's points: results by id, and for the points not run the reason why."""

    results: Mapping[str, Result]
    not_run: Mapping[str, str]

    def __getitem__(self, point: Point) -> Result:
        """The result of a point; `UsageError` says why there is none."""
        if point.id not in self.results:
            if point.id in self.not_run:
                raise UsageError(self.not_run[point.id], code="E081")
            raise UsageError(f"{point.id} is no point of this study", code="E021")
        return self.results[point.id]

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results.values())

    @property
    def failed(self) -> list[Result]:
        """Results with an error instead of values."""
        return [result for result in self if not result.done]

    @property
    def exit_code(self) -> int:
        """0 where every point has values, else 1."""
        return 1 if self.failed or self.not_run else 0


@dataclass(frozen=True)
class Study:
    """Points, and the folder of their results. Points that others come after belong to it without being listed."""

    points: Sequence[Point]
    folder: str | Path

    def ordered(self) -> list[Point]:
        """Every point once, those that others come after before them."""
        found: dict[str, Point] = {}
        ahead = list(reversed(self.points))
        while ahead:
            point = ahead.pop()
            if point.id in found:
                continue
            missing = [before for before in point.after if before.id not in found]
            if missing:
                ahead += [point, *reversed(missing)]
            else:
                found[point.id] = point
        return list(found.values())

    def run(self, executor: Executor | None = None, progress: Report | None = None) -> StudyResults:
        """Compute what is not recorded yet; by default in processes on this machine, one for each processor.

        progress: called at the start and after each point. Raises `UsageError` where the folder cannot be written,
        another process works in it, or the executor cannot be reached; what was computed until then is kept.
        """
        try:
            Path(self.folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot make the folder {self.folder}: {error.strerror or error}", code="E013"
            ) from error
        chosen = executor or Local()
        store = Store(Path(self.folder).resolve())
        with store.writing() as writer:
            run = _Run(self.ordered(), store, writer, chosen.threads, progress)
            if run.ready or run.waiting:
                with chosen.session() as session:
                    run.compute(session)
            return StudyResults(run.in_order(), run.not_run)


class _Run:
    """One run: what is ready, what waits for how many others, and what is settled."""

    def __init__(
        self, points: Sequence[Point], store: Store, writer: Writer, threads: int, progress: Report | None
    ) -> None:
        self._store, self._writer, self._threads, self._progress = store, writer, threads, progress
        self._began = time.perf_counter()
        self._points = {point.id: point for point in points}
        # A line that says something else of its point was changed by hand, and its values are of something else.
        self._results = {
            result.point: result
            for result in store.results()
            if result.done and result.point in self._points and result.fits_its_id()
        }
        self._known = len(self._results)
        self._failed = 0
        self._took: dict[str, list[float]] = {}  # seconds of the points computed in this run, by kind
        self.not_run: dict[str, str] = {}
        self.ready: deque[Point] = deque()
        self.waiting: Counter[str] = Counter()
        self._followers: dict[str, list[Point]] = {}
        for point in points:
            if point.id in self._results:
                continue
            missing = {before.id for before in point.after if before.id not in self._results}
            if not missing:
                self.ready.append(point)
            for name in missing:
                self.waiting[point.id] += 1
                self._followers.setdefault(name, []).append(point)
        self._report(None)

    def compute(self, session: Session) -> None:
        """Keep the session busy until everything is settled."""
        submitted = 0
        while self.ready or submitted:
            while self.ready and submitted < session.slots():
                session.submit(self._task(self.ready.popleft()))
                submitted += 1
            outcome = session.take()
            submitted -= 1
            self._settle(outcome)

    def in_order(self) -> dict[str, Result]:
        """Results in the order of the points."""
        return {name: self._results[name] for name in self._points if name in self._results}

    def _task(self, point: Point) -> Task:
        predecessors = tuple(
            Predecessor(one.id, self._results[one.id].values or {}, self._store.folder_of(one.id))
            for one in point.after
        )
        return Task(
            point=point.id, function=point.function, settings=point.settings, seed=point.seed,
            data_hash=point.data_hash, paths=point.paths, predecessors=predecessors,
            folder_path=self._store.folder_of(point.id), threads=self._threads,
        )  # fmt: skip

    def _settle(self, outcome: Outcome) -> None:
        point = self._points[outcome.point]
        result = Result.of(point, outcome)
        self._writer.add(result)
        self._results[point.id] = result
        if result.done:
            self._took.setdefault(point.function, []).append(result.seconds)
            for follower in self._followers.pop(point.id, ()):
                self.waiting[follower.id] -= 1
                if not self.waiting[follower.id]:
                    del self.waiting[follower.id]
                    if follower.id not in self.not_run:
                        self.ready.append(follower)
        else:
            self._failed += 1
            self._leave_out(point, f"{point.id} failed: {result.error}")
        self._report(result)

    def _leave_out(self, point: Point, reason: str) -> None:
        """Note all that comes after a failed point, directly or not, as not run."""
        ahead = [point]
        while ahead:
            for follower in self._followers.pop(ahead.pop().id, ()):
                self.not_run.setdefault(follower.id, f"not run, as {reason}")
                self.waiting.pop(follower.id, None)
                ahead.append(follower)

    def _report(self, last: Result | None) -> None:
        if self._progress is None:
            return
        seconds = time.perf_counter() - self._began
        settled = len(self._results) + len(self.not_run)
        self._progress(
            StudyProgress(
                total=len(self._points),
                settled=settled,
                known=self._known,
                failed=self._failed,
                not_run=len(self.not_run),
                seconds=seconds,
                eta=self._seconds_left(seconds),
                last=last,
            )
        )

    def _seconds_left(self, seconds: float) -> float | None:
        """Seconds left after `seconds`; a point that only loads a network says nothing of how long trainings take."""
        left = Counter(
            point.function
            for name, point in self._points.items()
            if name not in self._results and name not in self.not_run
        )
        if not left.keys() <= self._took.keys():
            return None
        ahead = sum(number * mean(self._took[kind]) for kind, number in left.items())
        # Several points at a time: what they took together is more than the time that went by.
        behind = sum(map(sum, self._took.values()))
        return seconds * ahead / behind if behind else 0.0
