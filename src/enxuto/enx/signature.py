"""How a file says that it is an `.enx` file; apart from what reads the rest, so that asking costs no imports."""

from __future__ import annotations

from pathlib import Path

from enxuto.files import open_regular_file

__all__ = ["MAGIC", "PATCH_MAGIC", "is_enx"]

MAGIC = b"\x89ENX\r\n\x1a\n"
"""The first eight bytes: as in PNG, what transfers as text, or of 7 bits, would change."""


PATCH_MAGIC = b"\x89EXD\r\n\x1a\n"
"""Of difference files (`enxuto.differences`), which are easily taken for the others."""


def is_enx(path: str | Path) -> bool:
    """Say whether a file begins with the format's signature; a missing file does not."""
    try:
        with open_regular_file(path) as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False
