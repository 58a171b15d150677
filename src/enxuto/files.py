"""Write a file whole or not at all; read settings.

Output goes to a temporary file in the same folder, is synced, and then renamed over the target: whoever looks
sees the old file or the new one, after a kill or a full disk too. Not here: locking between processes.
"""

from __future__ import annotations

import errno
import os
import signal
import tempfile
import threading
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from enxuto.errors import UsageError

__all__ = ["atomic_write", "check_place", "inputs_stay", "interrupts_wait", "is_input", "read_toml"]

_inputs: set[tuple[int, int]] = set()  # device and number of files that must not be written over
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Yield a binary file object; on a clean exit its bytes become `path`, on any other `path` is untouched.

    Raises `UsageError` when the folder is missing or cannot be written, or the disk is full.
    """
    target = Path(path)
    try:
        _check_target(target)
        # The temporary name must not become too long where the target's own just fits.
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:60]}.", suffix=".part", dir=target.parent)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror or error}; choose another place") from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, _mode_of_new_files(target))
        os.replace(name, target)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise UsageError(f"cannot write {target}: {error.strerror}; nothing was changed") from error
    finally:
        if os.path.exists(name):
            os.unlink(name)


def check_place(path: str | Path, *, folder: bool = False) -> None:
    """Raise the `UsageError` that writing `path` would end in, before any work.

    folder: files are to be written into it; where it is missing, the folder that it would be made in is tried.
    """
    target = Path(path)
    place = target if folder else target.parent
    try:
        if not folder:
            _check_target(target)
        while folder and not place.exists() and place != place.parent:
            place = place.parent
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        into = "into " if folder else ""
        raise UsageError(
            f"cannot write {into}{target}: {error.strerror or error}; choose another place"
        ) from error


@contextmanager
def inputs_stay(paths: Iterable[Path]) -> Iterator[None]:
    """Let `atomic_write` refuse to replace these files, by whatever name, until the block is done."""
    before = set(_inputs)
    for path in paths:
        with suppress(OSError):
            found = path.stat()
            _inputs.add((found.st_dev, found.st_ino))
    try:
        yield
    finally:
        _inputs.clear()
        _inputs.update(before)


def is_input(path: Path) -> bool:
    """Say whether a file is one of those that must stay."""
    try:
        found = path.stat()
    except OSError:
        return False
    return (found.st_dev, found.st_ino) in _inputs


def _check_target(target: Path) -> None:
    if target.exists() and not target.is_file():
        raise UsageError(f"cannot write {target}: it is a folder or a device; name a file")
    if is_input(target):
        raise UsageError(f"cannot write {target}: this command reads it; name another place")


def read_toml(path: str | Path, table: str) -> dict[str, Any]:
    """Return the settings of a TOML file: those of `[table]` where it has one, else those at its top.

    Raises `UsageError` when the file is missing, is no TOML, or `table` is something else in it.
    """
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    found = values.get(table, values)
    if not isinstance(found, dict):
        raise UsageError(f"{path}: {table} must be a table, such as [{table}]")
    return found


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Hold a Ctrl-C back until the block is done; for libraries that would make an error of their own of it."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        before(signal.SIGINT, None)


def _mode_of_new_files(target: Path) -> int:
    """Permissions for the finished file: those of the file it replaces, else the ordinary ones under the umask."""
    if target.exists():
        return target.stat().st_mode & 0o7777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
