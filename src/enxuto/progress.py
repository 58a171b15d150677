"""How far work has come, told in amounts of work and not in steps: pieces of a network differ in size by thousands."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

__all__ = ["ItemProgress", "Progress", "ProgressCounter"]

Progress = Callable[[str, int, int], None]
"""A callback for work of several stages: (stage, done, total), in any unit, such as operations or weights."""

ItemProgress = Callable[[int, int], None]
"""A callback for work of one stage: (done, total)."""


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
