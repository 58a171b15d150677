"""`compiled`: a function compiled by Numba, whose compiled code is kept where that is possible and never in the way.

Numba by itself refuses to compile where it can write neither beside the source file nor in the user's home, and fails
on a damaged file of compiled code and on a full disk. Here the one place that decides is `cache_place`; files carry a
checksum, and what is damaged is removed and compiled anew.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import hashlib
import logging
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
from numba.core import caching, config, dispatcher

from enxuto.machine.compiling import announce_compiling, on_first_compile
from enxuto.machine.folders import cache_folder, is_private, is_writable, temporary_folder

__all__ = ["cache_place", "clamp", "compiled", "inlined", "is_anything_kept", "on_first_compile"]

F = TypeVar("F", bound=Callable[..., Any])

_LOG = logging.getLogger("enxuto")
_DIGEST = 32  # bytes of SHA-256 in front of what a file holds
_OPTIONS: dict[str, Any] = {"nogil": True, "no_cfunc_wrapper": True}  # nobody calls loops from C
_announce: Callable[[], None] | None = None
_WAY_OUT = "NUMBA_CACHE_DIR may name a folder for it"


def compiled(function: F) -> F:
    """Compile a function with Numba at its first call, without the interpreter's lock; see the head of this file."""
    made: Any = numba.njit(**_OPTIONS)(function)
    if _is_compiled(made):  # not where NUMBA_DISABLE_JIT leaves the function as it is
        made._cache = _Cache(function)
    return made  # type: ignore[no-any-return]


def inlined(function: F) -> F:
    """Mark a function as a part of the loops that call it: it is compiled with each of them and never by itself.

    A compiled function that calls another compiled one takes all of its code in and optimises it once more, so that
    every level of calls costs as much again. What is small, or called from one place only, is a part.
    """
    part: Any = numba.njit(inline="always")(function)
    return part  # type: ignore[no-any-return]


@inlined
def clamp(value: Any, low: Any, high: Any) -> Any:
    """Return the value, or the bound that it is beyond. `min` and `max` would be compiled for every pair of types."""
    return low if value < low else high if value > high else value


@functools.cache
def cache_place(folder: Path) -> Path | None:
    """Where compiled code of source files in `folder` goes, None for nowhere; looked for once.

    `$NUMBA_CACHE_DIR`, else beside the source, else the user's cache folder, else a temporary folder of this user's
    own, which a warning names. Compiled code is run, so the last two must belong to this user alone.
    """
    source = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    inner = f"{folder.name}-{source}"
    if config.CACHE_DIR and is_writable(Path(config.CACHE_DIR) / inner):
        return Path(config.CACHE_DIR) / inner
    if folder.is_dir() and is_writable(_beside(folder)):
        return _beside(folder)
    kept = cache_folder() / "kernels"
    temporary = temporary_folder()
    if (temporary is None or temporary not in kept.parents) and _usable(kept, inner):
        return kept / inner
    if temporary is not None:
        new = not (temporary / "kernels").exists()
        if is_private(temporary) and _usable(temporary / "kernels", inner):
            if new:
                _say(f"compiled loops are kept in {temporary}: neither the package nor {kept} can be written")
            return temporary / "kernels" / inner
    _say("compiled loops can be kept nowhere, so that every run takes some seconds more to compile them")
    return None


def is_anything_kept() -> bool:
    """Say whether code of any loop of this package was compiled and kept before."""
    package = Path(__file__).parent.parent
    places = [Path(config.CACHE_DIR)] if config.CACHE_DIR else []
    places += [folder / "kernels" for folder in (cache_folder(), temporary_folder()) if folder is not None]
    found = (place.glob("*/*-checked.*.nbi") for place in places)
    return any(any(files) for files in (*found, package.glob("*/__pycache__/*-checked.*.nbi")))


def _usable(folder: Path, inner: str) -> bool:
    return is_private(folder) and is_private(folder / inner) and is_writable(folder / inner)


@functools.cache
def _say(what: str) -> None:
    """Tell the user, once; without a handler, `logging` writes warnings to stderr."""
    _LOG.warning("%s; %s", what, _WAY_OUT)


@functools.cache
def _stamp(function: Callable[..., Any]) -> str:
    """A hash of all that a kernel's code is made of: its file, the kernels that it calls, and constants."""
    code: Any = getattr(function, "__code__")  # noqa: B009 - functions have it, `Callable` does not say so
    found = hashlib.sha256(Path(code.co_filename).read_bytes())
    for name in code.co_names:
        value: Any = function.__globals__.get(name)
        if _is_compiled(value):
            if value.py_func is not function:
                found.update(_stamp(value.py_func).encode())
        elif isinstance(value, np.ndarray):
            found.update(value.tobytes())
        elif isinstance(value, (int, float, str, tuple)):
            found.update(repr(value).encode())
    return found.hexdigest()


class _Locator(caching._CacheLocator):  # type: ignore[misc]
    """What Numba asks about a function; where its files go is `_Cache`'s business."""

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        self._function = function
        self._py_file = file  # Numba's own messages read it

    def get_cache_path(self) -> str:
        return str(_beside(Path(self._py_file).absolute().parent))

    def ensure_cache_path(self) -> None:
        """Nothing: the place was tried when it was chosen."""

    def get_source_stamp(self) -> str:
        return _stamp(self._function)

    def get_disambiguator(self) -> str:
        return "checked"

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> _Locator | None:
        return cls(function, file) if Path(file).is_file() else None


class _Contents(caching.CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = [_Locator]  # noqa: RUF012 - as Numba has it


class _Files(caching.IndexDataCacheFile):  # type: ignore[misc]
    """Numba's files, each behind the SHA-256 of what it holds: damaged code must not run."""

    def _load_index(self) -> dict[Any, str]:
        try:
            version, stamp, overloads = pickle.loads(self._checked(self._index_path))  # noqa: S301 - see `_checked`
        except FileNotFoundError:
            return {}
        same = version == self._version and stamp == self._source_stamp
        return dict(overloads) if same else {}

    def _save_index(self, overloads: dict[Any, str]) -> None:
        self._write(self._index_path, self._dump((self._version, self._source_stamp, overloads)))

    def _load_data(self, name: str) -> Any:
        return pickle.loads(self._checked(self._data_path(name)))  # noqa: S301 - see `_checked`

    def _save_data(self, name: str, data: Any) -> None:
        self._write(self._data_path(name), self._dump(data))

    def _write(self, path: str, data: bytes) -> None:
        with self._open_for_write(path) as file:
            file.write(hashlib.sha256(data).digest() + data)

    @staticmethod
    def _checked(path: str) -> bytes:
        """Return what a file holds, unharmed; that nobody else wrote it is `cache_place`'s care."""
        data = Path(path).read_bytes()
        if hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
            raise ValueError(f"{path} is damaged")
        return data[_DIGEST:]

    def remove(self) -> None:
        """Remove all files of this kernel, where that is allowed."""
        base = self._index_name.removesuffix(".nbi")
        for path in Path(self._cache_path).glob(f"{glob.escape(base)}.*nb[ic]"):
            with contextlib.suppress(OSError):
                path.unlink()


class _Cache(caching.FunctionCache):  # type: ignore[misc]
    """Numba's cache of one function, which is opened at the first use and never fails.

    It reads beside the source too where that cannot be written: an image may come with code compiled when it was made.
    """

    _impl_class = _Contents

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._folder = Path(function.__code__.co_filename).absolute().parent
        self._open: bool | None = None  # None: nobody asked yet
        self._saves = True

    @property
    def cache_path(self) -> str | None:
        place = cache_place(self._folder)
        return None if place is None else str(place)

    def flush(self) -> None:
        """Forget everything, as Numba's own does."""
        for files in self._files() if self._is_open() else ():
            files.remove()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        for files in self._files() if self._is_open() else ():
            self._cache_file = files
            try:
                found = super().load_overload(sig, target_context)
            except Exception:  # noqa: BLE001 - whatever a damaged file may raise; it is made anew
                files.remove()
                continue
            if found is not None:
                return found
        announce_compiling()
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        place = cache_place(self._folder) if self._is_open() and self._saves else None
        if place is None:
            return
        self._cache_file = self._files_at(place)
        try:
            super().save_overload(sig, data)
        except OSError as error:
            self._saves = False
            _say(f"compiled loops cannot be kept in {place} ({error.strerror or error})")
        except Exception:  # noqa: BLE001 - an index damaged since it was read
            self._cache_file.remove()

    def _files(self) -> Iterator[_Files]:
        """Where to look, the place asked for only if there is nothing beside the source."""
        beside = _beside(self._folder)
        yield self._files_at(beside)
        place = cache_place(self._folder)
        if place is not None and place != beside:
            yield self._files_at(place)

    def _files_at(self, folder: Path) -> _Files:
        return _Files(str(folder), self._impl.filename_base, self._impl.locator.get_source_stamp())

    def _is_open(self) -> bool:
        if self._open is None:
            try:
                super().__init__(self._function)
                self._open = True
            except (
                RuntimeError,
                OSError,
            ):  # no source file: in an archive, say; nothing tells versions apart
                self._open = False
        return self._open


def _is_compiled(value: Any) -> bool:
    return isinstance(value, dispatcher.Dispatcher)


def _beside(folder: Path) -> Path:
    return folder / "__pycache__"
