"""What asks this process to end: Ctrl-C (SIGINT), and SIGTERM, which then ends it in the same order.

Python's own answer to SIGTERM is to be gone at once: half-written files and other processes would stay behind.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Terminated", "end_on_sigterm", "exit_code", "hold_interrupts"]

_INTERRUPTED, _TERMINATED = 130, 143  # 128 and the signal's number, as shells write it


class Terminated(KeyboardInterrupt):
    """SIGTERM came: whatever a Ctrl-C ends in order, ends in order."""


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """The code of a process that was interrupted: 130 by a Ctrl-C, 143 by SIGTERM."""
    return _TERMINATED if isinstance(interrupt, Terminated) else _INTERRUPTED


@contextmanager
def end_on_sigterm() -> Iterator[None]:
    """Inside, SIGTERM raises `Terminated`, once: a second one does not disturb the end.

    An exit with a code of its own makes way for SIGTERM's; what was finished before stays finished. A process that was
    told to ignore SIGTERM, or is not at its main thread, goes on doing so.
    """
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or before is not signal.SIG_DFL:
        yield
        return
    came: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        came.append(number)
        raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    except Terminated:
        raise SystemExit(_TERMINATED) from None
    except SystemExit as error:
        if came and error.code not in (0, None):
            raise SystemExit(_TERMINATED) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def hold_interrupts() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the block is done; for libraries that make an error of their own of it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    held = [number for number, handler in before.items() if callable(handler)]
    came: list[int] = []
    for number in held:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number in held:
            signal.signal(number, before[number])
    for again in dict.fromkeys(came):  # where the block failed, its error ends the work and says more
        signal.raise_signal(again)
