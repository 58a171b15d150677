"""Write a file whole or not at all; read settings.

Output goes to a temporary file in the same folder, is synced, and then renamed over the target: whoever looks
sees the old file or the new one, after a kill or a full disk too; what a kill leaves (`.part`) the next write of the
same file clears. Not here: locking between processes.
"""

from __future__ import annotations

import errno
import os
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from enxuto.errors import UsageError
from enxuto.leftovers import clear, prefix_of, temporary

__all__ = ["atomic_write", "read_toml"]

_PART = ".part"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Yield a binary file object; on a clean exit its bytes become `path`, on any other `path` is untouched.

    Raises `UsageError` when the folder is missing or cannot be written, or the disk is full.
    """
    target = Path(path)

    def make() -> tuple[int, str]:
        try:
            if target.exists() and not target.is_file():
                raise UsageError(f"cannot write {target}: it is a folder or a device; name a file")
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


def _mode_of_new_files(target: Path) -> int:
    """Permissions for the finished file: those of the file it replaces, else the ordinary ones under the umask."""
    if target.exists():
        return target.stat().st_mode & 0o7777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
