"""Says that loops are about to be compiled, which takes long the first time; without importing what compiles them."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["announce", "before_compiling"]

_report: Callable[[], None] | None = None
_is_announced = False


def before_compiling(report: Callable[[], None]) -> None:
    """Have `report` called before the first loop is compiled of which no compiled code is kept, once a process."""
    global _report
    _report = report


def announce() -> None:
    """Call what `before_compiling` was given, if this was not done in this process before."""
    global _is_announced
    if not _is_announced:
        _is_announced = True
        if _report is not None:
            _report()
