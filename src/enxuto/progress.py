"""How far work has come, told in amounts of work and not in steps: pieces of a network differ in size by thousands."""

from __future__ import annotations

import functools
from collections.abc import Callable
from threading import Lock
from typing import ParamSpec, TypeVar

from enxuto.errors import UsageError

__all__ = ["ItemProgress", "Progress", "ProgressCounter", "offers_bar"]

P = ParamSpec("P")
R = TypeVar("R")

Progress = Callable[[str, int, int], None]
"""A callback for work of several stages: (stage, done, total), in any unit, such as operations or weights."""

ItemProgress = Callable[[int, int], None]
"""A callback for work of one stage: (done, total)."""


def offers_bar(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function with `progress=True` shown as a bar on stderr, while it runs; `progress=False` as None."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        asked = kwargs.get("progress")
        if asked is not None and not isinstance(asked, bool) and not callable(asked):
            raise UsageError(
                f"progress= takes True, or a function of (stage, done, total), not {asked!r:.80}"
            )
        if not isinstance(asked, bool):
            return function(*args, **kwargs)
        kwargs["progress"] = None
        if not asked:
            return function(*args, **kwargs)
        from rich.console import Console
        from rich.progress import Progress as Bar

        with Bar(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("starting", total=None)
            kwargs["progress"] = lambda stage, done, total: bar.update(
                task, description=stage, completed=done, total=total
            )
            return function(*args, **kwargs)

    return run


class ProgressCounter:
    """Adds up what is done of `total`, from several threads too, and reports it after each piece."""

    def __init__(self, total: int, report: ItemProgress | None) -> None:
        """Start at 0 of `total`, in any unit. report: called at once and after each piece; None: nobody is told."""
        self._total = max(1, total)
        self._report = report
        self._done = 0
        self._lock = Lock()
        if report is not None:
            report(0, self._total)

    def add(self, amount: int) -> None:
        """Count a piece that is done."""
        with self._lock:
            self._done = min(self._total, self._done + amount)
            if self._report is not None:
                self._report(self._done, self._total)
