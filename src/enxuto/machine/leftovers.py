"""Temporary files and folders beside what they become: those that a killed process left are cleared by the next one.

Whoever writes holds a lock on what it writes, which ends with its process, however that ends. What has the name of such
a temporary file and is held by nobody is a leftover. Where there are no such locks (Windows), nothing is cleared.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

if sys.platform != "win32":
    import fcntl

__all__ = ["clear", "prefix_of", "temporary"]

_Made = TypeVar("_Made")

_LONGEST = 60  # characters of the target's own name, as a temporary name must not become too long for the file system
_CHANCE = r"[A-Za-z0-9_]{8}"  # what `tempfile` puts behind a prefix
_cleared: set[str] = set()


def prefix_of(target: Path) -> str:
    """How the temporary name of a file or folder begins: `.model.enx.`"""
    return f".{target.name[:_LONGEST]}."


def clear(target: Path, suffix: str = "") -> None:
    """Remove what killed processes left of `target`, once a process. Never raises for what cannot be removed."""
    known = str(target.absolute())
    if sys.platform == "win32" or known in _cleared:
        return
    _cleared.add(known)
    ours = re.compile(re.escape(prefix_of(target)) + _CHANCE + re.escape(suffix))
    with suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            if ours.fullmatch(entry.name) and not entry.is_symlink():
                _remove(entry.path)


@contextmanager
def temporary(make: Callable[[], _Made], path_of: Callable[[_Made], str]) -> Iterator[_Made]:
    """Make a temporary file or folder, and hold it inside. Raises what `make` raises.

    Made anew where one who clears was quicker than the lock.
    """
    while True:
        made = make()
        handle = _hold(path_of(made))
        if handle is not None:
            break
    try:
        yield made
    finally:
        if handle >= 0:
            os.close(handle)


def _hold(path: str) -> int | None:
    """Lock a file or folder: a handle to close, −1 where nothing can be locked; None where it is gone."""
    if sys.platform == "win32":
        return -1
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with suppress(OSError):  # a file system without locks: there nobody can clear either
        fcntl.flock(handle, fcntl.LOCK_SH)
    try:
        if os.path.samestat(os.fstat(handle), os.stat(path)):
            return handle
    except OSError:
        pass
    os.close(handle)
    return None


def _remove(path: str) -> None:
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused where somebody holds it
            if os.path.isdir(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)
        finally:
            os.close(handle)
