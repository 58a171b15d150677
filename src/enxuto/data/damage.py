"""What damaged or hostile bytes make Python's and other readers raise, as errors of ours with one line.

Readers check what they can before they believe it; this is the last boundary behind them. Not here: bytes that kill the
process (a mapped file that is cut while it is read).
"""

from __future__ import annotations

import csv
import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from enxuto.errors import DataError, FormatError

__all__ = ["BROKEN", "first_line", "reading"]

BROKEN = (
    OSError,
    EOFError,
    ValueError,  # Unicode errors too, and numbers of more digits than Python converts
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    BufferError,
    ArithmeticError,  # OverflowError: sizes beyond what C holds
    SystemError,  # C code that met what it took for impossible
    RuntimeError,  # RecursionError and NotImplementedError too: nesting; encrypted members
    SyntaxError,  # headers that are Python literals; PNG chunks
    tokenize.TokenError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    csv.Error,
    Warning,  # where warnings are errors
)
"""Errors that readers of files, Python's own and other libraries', raise for bytes that they did not expect."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, shortened; its kind where it says nothing."""
    lines = str(error).splitlines()
    text = lines[0].strip() if lines else ""
    text = text or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}…"


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Turn what damaged bytes raise into `FormatError`, and lack of memory for what they claim into `DataError`."""
    try:
        yield
    except MemoryError as error:
        raise DataError(
            f"{path} asks for more memory than there is; it may be damaged, else take a part of it"
        ) from error
    except RecursionError as error:
        raise FormatError(f"{path} is nested too deeply; it is damaged or no data set") from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror or first_line(error)}); mend its permissions, or name another"
        ) from error
    except BROKEN as error:
        raise FormatError(f"{path} cannot be read ({first_line(error)}); fetch or write it again") from error
