"""The errors that damaged or hostile bytes cause in readers of files, as enxuto's own errors of one line.

Each reader checks a file's claims before it acts on them; this is the last boundary behind them. Not here: bytes that
kill the process (a mapped file that is cut while it is read).
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

from enxuto.errors import DataError, FormatError, error_reason

__all__ = ["READ_ERRORS", "translate_archive_errors", "translate_read_errors"]

READ_ERRORS = (
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


@contextmanager
def translate_read_errors(path: str | Path) -> Iterator[None]:
    """Turn what damaged bytes raise into `FormatError`, and lack of memory for what they claim into `DataError`."""
    try:
        yield
    except MemoryError as error:
        raise DataError(
            f"{path} needs more memory than there is; it may be damaged, else take a part of it", code="E092"
        ) from error
    except RecursionError as error:
        raise FormatError(
            f"{path} is nested too deeply; it is damaged or no data set", code="E052"
        ) from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror or error_reason(error)}); mend its permissions, or name another",
            code="E011",
        ) from error
    except READ_ERRORS as error:
        raise FormatError(
            f"{path} cannot be read ({error_reason(error)}); fetch or write it again", code="E052"
        ) from error


@contextmanager
def translate_archive_errors(path: Path) -> Iterator[None]:
    """Inside, what a damaged `.npz` archive causes becomes one `FormatError`; what lacks memory stays as it is."""
    try:
        yield
    except MemoryError:
        raise
    except READ_ERRORS as error:
        raise FormatError(
            f"{path} is not a whole .npz archive that can be read ({error_reason(error)}); write it again",
            code="E052",
        ) from error
