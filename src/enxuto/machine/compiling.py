"""Says that loops are about to be compiled, which takes long the first time; without importing what compiles them."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["announce_compiling", "on_first_compile"]

_announce: Callable[[], None] | None = None


def on_first_compile(announce: Callable[[], None] | None) -> None:
    """Have `announce` called once, just before the next loop is compiled; None: nothing is called.

    It is called in the thread that needs the loop. Code that was kept from an earlier run is loaded without a call.
    """
    global _announce
    _announce = announce


def announce_compiling() -> None:
    """Call what `on_first_compile` was given last, if it was not called yet."""
    global _announce
    announce, _announce = _announce, None
    if announce is not None:
        announce()
