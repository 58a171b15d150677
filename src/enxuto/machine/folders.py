"""Folders that enxuto may keep things in: the user's cache folder, or, without one, a private temporary folder.

Containers run as users that no list knows, with no home, or one that cannot be written. Not here: what is kept.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path

__all__ = ["cache_folder", "is_private", "is_writable", "temporary_folder"]


def cache_folder() -> Path:
    """Where downloads and the like go: `$ENXUTO_CACHE`, else the platform's cache folder with `enxuto` in it.

    A user without a home has no cache folder; then it is `temporary_folder`, unless someone else made that. Relative
    places of the platform count as none, as the XDG specification says: they would be another one in each folder.
    Nothing is made here.
    """
    chosen = os.environ.get("ENXUTO_CACHE")
    if chosen:
        return Path(chosen)
    mac = sys.platform == "darwin"
    variable = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
    named = Path("" if mac else os.environ.get(variable, ""))
    if named.is_absolute():
        return named / "enxuto"
    try:
        home = Path.home()
        if home.is_absolute():
            return (home / "Library" / "Caches" if mac else home / ".cache") / "enxuto"
    except RuntimeError:
        pass  # no HOME, and nobody knows this user
    place = temporary_folder()
    if place is not None and (_is_own(place) or not os.path.lexists(place)):
        return place
    return Path(_current_folder() or os.curdir) / ".enxuto-cache"


def temporary_folder() -> Path | None:
    """Name this user's folder among the temporary ones, None where there is no place for such; see `is_private`."""
    try:
        base = tempfile.gettempdir()
    except FileNotFoundError:
        return None
    named = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    if not named and base == _current_folder():  # Python's last resort; nobody wants caches among their files
        return None
    user = os.geteuid() if hasattr(os, "geteuid") else "user"
    return Path(base) / f"enxuto-{user}"


def _current_folder() -> str | None:
    """The current folder, None where it is gone: someone removed it while a shell stood in it."""
    try:
        return os.getcwd()
    except OSError:
        return None


def is_private(folder: Path) -> bool:
    """Make a folder if need be; say whether it is a true folder, this user's own, that no one else may write to.

    Whoever writes there decides what runs here, if code is kept in it.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return False
    return _is_own(folder)


def _is_own(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    if not stat.S_ISDIR(found.st_mode):
        return False
    if not hasattr(os, "geteuid"):
        return True
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022


def is_writable(folder: Path) -> bool:
    """Say whether files can be made in a folder, which is made if need be, by making one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True
