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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from enxuto.errors import UsageError

__all__ = ["atomic_write", "interrupts_wait", "parse_toml", "read_toml"]

_LARGEST_TOML = 1 << 20  # bytes
_DEEPEST_TOML = 32
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Yield a binary file object; on a clean exit its bytes become `path`, on any other `path` is untouched.

    Raises `UsageError` when the folder is missing or cannot be written, or the disk is full.
    """
    target = Path(path)
    try:
        if target.exists() and not target.is_file():
            raise UsageError(f"cannot write {target}: it is a folder or a device; name a file")
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


def read_toml(path: str | Path, table: str) -> dict[str, Any]:
    """Return the settings of a TOML file: those of `[table]` where it has one, else those at its top.

    Raises `UsageError` when the file is missing, is no TOML, or `table` is something else in it.
    """
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise UsageError(f"cannot read {path}: it is a folder or a device; name a TOML file")
        if os.path.getsize(path) > _LARGEST_TOML:
            raise UsageError(f"{path} is too large for settings; name a TOML file of a few lines")
        values = parse_toml(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    found = values.get(table, values)
    if not isinstance(found, dict):
        raise UsageError(f"{path}: {table} must be a table, such as [{table}]")
    return found


def parse_toml(text: str) -> dict[str, Any]:
    """Return what TOML says. Raises `ValueError` for anything else, and for what no setting is and no message can show.

    That is what is nested deeper than settings are, and numbers beyond TOML's 64 bits.
    """
    try:
        values = tomllib.loads(text)
        level: list[Any] = [values]
        for _ in range(_DEEPEST_TOML):
            inside = [value for one in level for value in (one.values() if isinstance(one, dict) else one)]
            if any(isinstance(value, int) and value.bit_length() > 64 for value in inside):
                raise ValueError("it holds a number beyond 64 bits")
            level = [value for value in inside if isinstance(value, (dict, list))]
    except (RecursionError, MemoryError):
        level = [text]
    if level:
        raise ValueError(f"it is nested more than {_DEEPEST_TOML} deep")
    return values


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
