"""How a study's progress shows: a bar with the time left on a terminal, else a line now and then; failures at once."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from enxuto.cli.shared.terminal import note, progress_bar, warn

if TYPE_CHECKING:
    from enxuto.study import Result, StudyProgress

__all__ = ["study_progress"]

_EVERY = 60.0  # seconds between lines away from a terminal


@contextmanager
def study_progress(what: str, name: Callable[[Result], str]) -> Iterator[Callable[[StudyProgress], None]]:
    """Yield what `Study.run` reports to; `name` says what a point that failed is called."""
    said = time.monotonic()
    with progress_bar(what) as bar:

        def report(progress: StudyProgress) -> None:
            nonlocal said
            bar(f"{what}, {progress.settled} of {progress.total}", progress.settled, progress.total)
            last = progress.last
            if last is None:
                if progress.known:
                    note(f"{progress.known} of {progress.total} points are recorded already")
            elif not last.done:
                warn(f"{name(last)}: {last.error}")
            if not sys.stderr.isatty() and time.monotonic() > said + _EVERY and progress.eta is not None:
                said = time.monotonic()
                note(f"{progress.settled} of {progress.total} points, about {time_left(progress.eta)} left")

        yield report


def time_left(seconds: float) -> str:
    """Seconds as people say them: 50 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
