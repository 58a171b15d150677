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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from os import PathLike, fspath
from pathlib import Path
from typing import Any, BinaryIO

from enxuto.errors import UsageError, does_not_exist
from enxuto.machine.leftovers import clear, prefix_of, temporary

__all__ = [
    "ENDINGS",
    "atomic_write",
    "check_ending",
    "check_writable",
    "is_protected_input",
    "open_regular_file",
    "parse_toml",
    "protect_inputs",
    "read_small_file",
    "read_toml",
    "to_path",
]

ENDINGS: Mapping[str, str] = {
    ".enx": "compressed models",
    ".enxd": "difference files",
    ".onnx": "ONNX models",
    **dict.fromkeys((".pt", ".pth", ".safetensors", ".tflite", ".ort", ".pb"), "models of another format"),
    **dict.fromkeys((".html", ".htm"), "web pages"),
    **dict.fromkeys((".png", ".svg", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"), "pictures"),
    **dict.fromkeys((".csv", ".tsv", ".md", ".txt", ".pdf"), "tables and texts"),
    **dict.fromkeys((".json", ".jsonl", ".toml", ".yaml", ".yml"), "results and settings"),
    **dict.fromkeys((".npz", ".npy", ".parquet"), "arrays"),
    **dict.fromkeys((".zip", ".gz", ".xz", ".zst", ".tar"), "archives"),
}
"""What files are that end so. A name that ends in nothing of these may be that of any file."""

_inputs: set[tuple[int, int]] = set()  # device and number of files that must not be written over
_PART = ".part"
_LARGEST_TOML = 1 << 20  # bytes
_DEEPEST_TOML = 32
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


def to_path(place: object, what: str = "a path") -> Path:
    """Return what a caller gave as a path; `UsageError` for anything else. what: all that the caller may give."""
    text = fspath(place) if isinstance(place, (str, PathLike)) else None
    if not isinstance(text, str):
        raise UsageError(f"{what} is needed, not {type(place).__name__}")
    if "\0" in text:
        raise UsageError(f"{text!r:.80} is no path: it holds a NUL character")
    return Path(text)


def check_ending(path: Path, endings: Sequence[str], advice: str = "") -> None:
    """Raise `UsageError` where a name says that a file is of another kind (`ENDINGS`) than what is written.

    Args:
        path: the file to write.
        endings: that names of what is written may have, such as `.enx`.
        advice: what else the message says.
    """
    ending, right = path.suffix.lower(), " or ".join(endings)
    if ending in ENDINGS and ENDINGS[ending] not in {ENDINGS[one] for one in endings}:
        more = f", and {advice}" if advice else ""
        raise UsageError(
            f"{path}: names of {ENDINGS[ending]} end in {ending}, and this will be none; name it {right}{more}"
        )


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
                f"cannot write {target}: {error.strerror or error}; choose another place", code="E013"
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
            raise UsageError(
                f"cannot write {target}: {error.strerror}; nothing was changed", code="E013"
            ) from error
        finally:
            if os.path.exists(name):
                os.unlink(name)


@contextmanager
def open_regular_file(path: str | Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading; a device, a pipe or a socket is neither opened nor waited for.

    Raises `IsADirectoryError` for a folder and `OSError` (whose `strerror` says what it is) for the others.
    """
    _must_be_file(path, os.stat(path).st_mode)  # before it is opened: that alone can wind a tape back
    # Not to wait, should a pipe have come in its place since.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        _must_be_file(path, os.fstat(handle).st_mode)
        yield file


def read_small_file(path: str | Path, max_bytes: int) -> bytes:
    """Read all of a file of at most `max_bytes` bytes; a file that grows without end is not read further.

    Raises `OSError`, whose `strerror` says what is wrong, for a larger file and as `open_regular_file` does.
    """
    with open_regular_file(path) as file:
        held = file.read(max_bytes + 1)
    if len(held) > max_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {max_bytes >> 20} MiB", str(path))
    return held


def _must_be_file(path: str | Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        found = kinds.get(stat.S_IFMT(mode), "a device")
        raise OSError(errno.EINVAL, f"it is {found}, not a file", str(path))


def check_writable(path: str | Path, *, folder: bool = False) -> None:
    """Raise, before any work, the `UsageError` that writing `path` would raise.

    folder: whether `path` is a folder that files will be written into; where it is missing, its nearest existing
    parent is tried.
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
            f"cannot write {into}{target}: {error.strerror or error}; choose another place", code="E013"
        ) from error


@contextmanager
def protect_inputs(paths: Iterable[Path]) -> Iterator[None]:
    """Inside, `atomic_write` refuses to replace these files, by whatever name."""
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


def is_protected_input(path: Path) -> bool:
    """Whether a file is one that `protect_inputs` protects now."""
    try:
        found = path.stat()
    except OSError:
        return False
    return (found.st_dev, found.st_ino) in _inputs


def _check_target(target: Path) -> None:
    if target.exists() and not target.is_file():
        raise UsageError(f"cannot write {target}: it is a folder or a device; name a file", code="E013")
    if is_protected_input(target):
        raise UsageError(f"cannot write {target}: this command reads it; name another place", code="E014")


def read_toml(path: str | Path, table: str) -> dict[str, Any]:
    """Return the settings of a TOML file: those of `[table]` where it has one, else those at its top.

    Raises `UsageError` when the file is missing, is no TOML, or `table` is something else in it.
    """
    try:
        values = parse_toml(read_small_file(path, _LARGEST_TOML).decode("utf-8").replace("\r\n", "\n"))
    except FileNotFoundError as error:
        raise UsageError(does_not_exist(path, "TOML file"), code="E010") from error
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror or error}; name a TOML file", code="E011"
        ) from error
    except ValueError as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    found = values.get(table, values)
    if not isinstance(found, dict):
        raise UsageError(f"{path}: {table} must be a table, such as [{table}]")
    return found


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises `ValueError` for anything else, for deeper nesting than settings have, and for numbers beyond TOML's 64 bits,
    which no message could show.
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
