"""How far long work is: which stage of how many, how much of it is done, and how much time is left of it.

At a terminal that is a bar, elsewhere a plain line now and then. Amounts of work come from who does it: operations,
weights or images, never a mere count of steps that differ in size. The time left is that of the stage: the time so far
times the work left over the work done; it does not fall while nothing comes to an end.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from enxuto.cli.shared.streams import write
from enxuto.escaping import escape_invisible

__all__ = ["PlainProgress", "Report", "Stages", "clock_time", "progress_bar", "time_left"]

_ENOUGH = 0.02  # share of a stage after which its speed is known
_AT_LEAST = 1.0  # seconds
_FIRST, _EVERY = 10.0, 30.0  # seconds before the first plain line, and between two


class Report(Protocol):
    """What work reports to.

    Args:
        what: the stage.
        done, total: work, in any unit.
        detail: what else there is to say of the stage, which may change.
        left: seconds that are left, where who does the work knows better than by done and total.
    """

    def __call__(
        self, what: str, done: int, total: int, *, detail: str = "", left: float | None = None
    ) -> None:
        """Show it."""


class Stages:
    """Names stages by number: `stage 3 of 6: factoring`, in later trials `trial 2, stage 4 of 6: rounding`."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._names = tuple(names)
        self._last = -1
        self._trial = 1

    def label(self, what: str) -> str:
        """Return the label of the stage that begins or continues."""
        if what not in self._names:
            return what
        place = self._names.index(what)
        self._trial += place < self._last
        self._last = place
        trial = f"trial {self._trial}, " if self._trial > 1 else ""
        return f"{trial}stage {place + 1} of {len(self._names)}: {what}"


def time_left(elapsed: float, done: float, total: float | None) -> float | None:
    """Return the seconds that the rest of a stage takes at its speed so far; None while that is not known."""
    if not total or done <= 0 or elapsed < _AT_LEAST or done / total < _ENOUGH:
        return None
    return elapsed * max(0.0, total - done) / done


def clock_time(seconds: float) -> str:
    """Return seconds as a clock shows them: `0:07`, `12:30`, `1:02:05`."""
    whole = round(seconds)
    hours = f"{whole // 3600}:{whole // 60 % 60:02d}" if whole >= 3600 else f"{whole // 60}"
    return f"{hours}:{whole % 60:02d}"


@contextmanager
def progress_bar(what: str, stages: Sequence[str] = ()) -> Iterator[Report]:
    """Yield what work reports to: a bar on stderr at a terminal, else plain lines now and then.

    Args:
        what: what is shown before the first report.
        stages: all that come, in their order, where that is known.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if sys.stderr is None or not console.is_terminal:
        yield PlainProgress(stages, lambda line: write(sys.stderr, escape_invisible(line) + "\n")).report
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=16), _share_column(),
               _time_column())  # fmt: skip
    named = Stages(stages)
    stage = what
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(
            escape_invisible(named.label(what)),
            total=None,
            began=time.monotonic(),
            left=None,
            label=named.label(what),
        )

        def report(what: str, done: int, total: int, *, detail: str = "", left: float | None = None) -> None:
            nonlocal stage
            known = total if total > 1 or done else None
            if what != stage:
                stage = what
                bar.update(task, label=named.label(what), began=time.monotonic())
                bar.tasks[0].total = known  # `update` keeps the old total where it is told None
            label = escape_invisible(_add_detail(bar.tasks[0].fields["label"], detail))
            bar.update(task, description=label, completed=done, total=known, left=left)

        yield report


class PlainProgress:
    """Writes how far work is as plain lines, for streams that are no terminal: few, and none in the first seconds."""

    def __init__(
        self,
        stages: Sequence[str],
        write_line: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin now.

        Args:
            stages: all that come, in their order, where that is known.
            write_line: is given each line.
            clock: the time in seconds.
        """
        self._stages = Stages(stages)
        self._write_line = write_line
        self._clock = clock
        self._stage = self._label = ""
        self._began = clock()
        self._next = self._began + _FIRST

    def report(
        self, what: str, done: int, total: int, *, detail: str = "", left: float | None = None
    ) -> None:
        """Take a report; write a line if it is time for one. Arguments: as of `Report`."""
        now = self._clock()
        if what != self._stage:
            self._stage, self._label, self._began = what, self._stages.label(what), now
        if now < self._next:
            return
        self._next = now + _EVERY
        known = total if total > 1 or done else None
        if left is None:
            left = time_left(now - self._began, done, known)
        share = "" if known is None else f", {done / known:.0%} done"
        rest = "" if left is None else f", {clock_time(left)} left"
        self._write_line(f"{_add_detail(self._label, detail)}{share}{rest}")


def _add_detail(label: str, detail: str) -> str:
    return f"{label}, {detail}" if detail else label


def _share_column() -> Any:
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class Share(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text("" if task.total is None else f"{task.percentage:3.0f}%")

    return Share()


def _time_column() -> Any:
    """Time in this stage and, where its speed is known, what is left of it."""
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class Times(ProgressColumn):
        def render(self, task: Task) -> Text:
            elapsed = time.monotonic() - float(task.fields["began"])
            left = task.fields["left"]
            if left is None:
                left = time_left(elapsed, task.completed, task.total)
            return Text(clock_time(elapsed) + ("" if left is None else f", {clock_time(left)} left"))

    return Times()
