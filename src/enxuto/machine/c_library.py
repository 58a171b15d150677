"""A C file compiled once for this machine, kept where compiled loops are kept, and loaded.

The source is the package's own, the compiler is the one that `PATH` leads to; nothing else chooses what runs. A library
lies beside the SHA-256 of its bytes: what is damaged, or was made from another source, is made anew.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from enxuto.machine.compiling import announce_compiling
from enxuto.machine.kernels import cache_place

__all__ = ["compiler", "load_library"]

_COMPILERS = ("cc", "gcc", "clang")
_FLAGS = ("-std=c99", "-O2", "-ffp-contract=off", "-fPIC", "-shared")
_PATIENCE = 120  # seconds for a compiler: it takes one or two


def compiler() -> str | None:
    """Return the C compiler of this machine, None where there is none."""
    return next((found for name in _COMPILERS if (found := shutil.which(name))), None)


def load_library(source: Path, headers: Sequence[Path] = ()) -> tuple[ctypes.CDLL, Path] | None:
    """Return the library of a C file and where it is kept; None where it cannot be made or loaded.

    Args:
        source: the C file.
        headers: files beside it that it includes: a change in them makes another library.
    """
    with contextlib.suppress(OSError):
        place, digest = cache_place(source.parent), hashlib.sha256()
        for path in (source, *headers):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        digest.update(" ".join((*_FLAGS, sys.platform, platform.machine())).encode())
        if place is None:
            return None
        library = place / f"{source.stem}-{digest.hexdigest()[:16]}.so"
        if not _is_whole(library) and not _build(source, library):
            return None
        return ctypes.CDLL(str(library)), library
    return None


def _checksum(library: Path) -> Path:
    return library.with_suffix(".sha256")


def _is_whole(library: Path) -> bool:
    try:
        return hashlib.sha256(library.read_bytes()).hexdigest() == _checksum(library).read_text()
    except (OSError, UnicodeDecodeError):
        return False


def _build(source: Path, library: Path) -> bool:
    """Compile in a folder of its own beside `library` and move the result there at once; say whether that went well."""
    command = compiler()
    if command is None:
        return False
    announce_compiling()
    try:
        with tempfile.TemporaryDirectory(prefix=f".{library.stem}.", dir=library.parent) as folder:
            made, checksum = Path(folder) / library.name, Path(folder) / "sha256"
            subprocess.run(
                [command, *_FLAGS, str(source), "-o", str(made)],
                check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE,
            )  # fmt: skip
            checksum.write_text(hashlib.sha256(made.read_bytes()).hexdigest())
            made.chmod(0o700)
            os.replace(made, library)
            os.replace(checksum, _checksum(library))
    except (OSError, subprocess.SubprocessError):
        return False
    return _is_whole(library)
