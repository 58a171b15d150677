"""How a study's progress shows: points done and the time left, and failures and what trainings remark at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from enxuto.cli.shared.terminal import note, progress_bar, warn

if TYPE_CHECKING:
    from enxuto.study import Result, StudyProgress

__all__ = ["study_progress"]


@contextmanager
def study_progress(
    what: str, name: Callable[[Result], str], remarks: Iterable[str] = ()
) -> Iterator[Callable[[StudyProgress], None]]:
    """Yield what `Study.run` reports to.

    Args:
        what: what the study is called.
        name: returns what a point that failed is called.
        remarks: to be made before the first point is computed, where any is. What the values of a finished point say
            under `notes` is remarked too, each line once.
    """
    said: set[str] = set()

    def tell(lines: Iterable[object]) -> None:
        for line in map(str, lines):
            if line not in said:
                said.add(line)
                warn(line)

    with progress_bar(what) as bar:

        def report(progress: StudyProgress) -> None:
            settled, total = progress.settled, progress.total
            bar(what, settled, total, detail=f"{settled} of {total} points", left=progress.eta)
            last = progress.last
            if last is None:
                if progress.known:
                    note(f"{progress.known} of {total} points are recorded already")
                if progress.known < total:
                    tell(remarks)
            elif not last.done:
                warn(f"{name(last)}: {last.error}")
            else:
                tell((last.values or {}).get("notes", ()))

        yield report
