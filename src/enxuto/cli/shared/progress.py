"""A bar that says which stage this is, how far it has come, and how much time it needs by the work that is left.

Amounts of work come from who does it: operations, weights or images, never a mere count of steps that differ in size.
The estimate is time so far times work left over work done; it does not fall while nothing comes to an end.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from enxuto.escaping import escape_invisible

__all__ = ["Stages", "progress_bar", "time_left"]

_ENOUGH = 0.01  # share of a stage after which its speed is known
_AT_LEAST = 1.0  # seconds


class Stages:
    """Names stages by number: `stage 3 of 6 · factoring`, in later rounds `trial 2 · stage 4 of 6 · rounding`."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._names = tuple(names)
        self._last = -1
        self._round = 1

    def label(self, what: str) -> str:
        """What the stage that begins or goes on is called."""
        if what not in self._names:
            return what
        place = self._names.index(what)
        self._round += place < self._last
        self._last = place
        trial = f"trial {self._round} · " if self._round > 1 else ""
        return f"{trial}stage {place + 1} of {len(self._names)} · {what}"


def time_left(elapsed: float, done: float, total: float | None) -> float | None:
    """Seconds that the rest of a stage takes at its speed so far; None while that is not known."""
    if not total or done <= 0 or elapsed < _AT_LEAST or done / total < _ENOUGH:
        return None
    return elapsed * max(0.0, total - done) / done


@contextmanager
def progress_bar(what: str, stages: Sequence[str] = ()) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function (what, done, total) that keeps a bar up to date on stderr; silent away from a terminal.

    stages: all that come, in their order, where that is known. done, total: work, in any unit.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if sys.stderr is None or not console.is_terminal:
        yield lambda what, done, total: None
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=20), _share_column(),
               _time_column())  # fmt: skip
    named = Stages(stages)
    at = {"what": what}
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(escape_invisible(named.label(what)), total=None, began=time.monotonic())

        def report(what: str, done: int, total: int) -> None:
            known = total if total > 1 or done else None
            if what != at["what"]:
                at["what"] = what
                label = escape_invisible(named.label(what))
                bar.update(task, description=label, completed=done, total=known, began=time.monotonic())
                bar.tasks[0].total = known  # `update` keeps the old total where it is told None
            else:
                bar.update(task, completed=done, total=known)

        yield report


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
            left = time_left(elapsed, task.completed, task.total)
            more = "" if left is None else f", about {_spoken(left)} left"
            return Text(f"{_clock(elapsed)}{more}")

    return Times()


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _spoken(seconds: float) -> str:
    """Seconds as people say them: 50 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{max(1, round(seconds))} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
