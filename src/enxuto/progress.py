"""How far work has come, told in amounts of work and not in steps: pieces of a network differ in size by thousands."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

__all__ = ["Progress", "Work"]

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


class Work:
    """Adds up what is done of `total`, from several threads too, and tells of it after each piece.

    Amounts are in any unit, such as operations or weights. tell: (done, total); None tells nobody.
    """

    def __init__(self, total: int, tell: Callable[[int, int], None] | None) -> None:
        self._total = max(1, total)
        self._tell = tell
        self._done = 0
        self._lock = Lock()
        if tell is not None:
            tell(0, self._total)

    def add(self, amount: int) -> None:
        """Count a piece that is done."""
        with self._lock:
            self._done = min(self._total, self._done + amount)
            if self._tell is not None:
                self._tell(self._done, self._total)
