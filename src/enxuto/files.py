"""Write a file whole or not at all; open files that are files; read settings.

Output goes to a temporary file in the same folder, is synced, and then renamed over the target: whoever looks
sees the old file or the new one, after a kill or a full disk too; what a kill leaves (`.part`) the next write of the
same file clears. Not here: locking between processes.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from enxuto.errors import UsageError
from enxuto.machine.leftovers import clear, prefix_of, temporary

__all__ = [
    "atomic_write",
    "check_place",
    "inputs_stay",
    "is_input",
    "parse_toml",
    "read_toml",
    "regular_file",
    "small_file",
]

_inputs: set[tuple[int, int]] = set()  # device and number of files that must not be written over
_PART = ".part"
_LARGEST_TOML = 1 << 20  # bytes
_DEEPEST_TOML = 32
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Yield a binary file object; on a clean exit its bytes become `path`, on any other `path` is untouched.

    Raises `UsageError` when the folder is missing or cannot be written, or the disk is full.
    """
    target = Path(path)

    def make() -> tuple[int, str]:
        try:
            _check_target(target)
            clear(target, _PART)
            return tempfile.mkstemp(prefix=prefix_of(target), suffix=_PART, dir=target.parent)
        except OSError as error:
            raise UsageError(
                f"cannot write {target}: {error.strerror or error}; choose another place"
            ) from error

    with temporary(make, lambda made: made[1]) as (handle, name):
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


@contextmanager
def regular_file(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file for reading, if it is one: nothing is read from a device, a pipe or a socket, nor waited for.

    Raises `IsADirectoryError` for a folder and `OSError` (whose `strerror` says what it is) for the others.
    """
    _must_be_file(path, os.stat(path).st_mode)  # before it is opened: that alone can wind a tape back
    # Not to wait, should a pipe have come in its place since.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        _must_be_file(path, os.fstat(handle).st_mode)
        yield file


def small_file(path: str | Path, most: int) -> bytes:
    """What a file holds, at most `most` bytes; whatever grows or has no end is not read on.

    Raises `OSError`, whose `strerror` says what is wrong, as `regular_file` does, and for more bytes than that.
    """
    with regular_file(path) as file:
        held = file.read(most + 1)
    if len(held) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most >> 20} MiB", str(path))
    return held


def _must_be_file(path: str | Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        found = kinds.get(stat.S_IFMT(mode), "a device")
        raise OSError(errno.EINVAL, f"it is {found}, not a file", str(path))


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
        values = parse_toml(small_file(path, _LARGEST_TOML).decode("utf-8").replace("\r\n", "\n"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}; name a TOML file") from error
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


def _mode_of_new_files(target: Path) -> int:
    """Permissions for the finished file: those of the file it replaces, else the ordinary ones under the umask."""
    if target.exists():
        return target.stat().st_mode & 0o7777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
