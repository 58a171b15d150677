"""Decode payloads with the C decoder (`enx.c`) where a compiler or a compiled library is there.

Whatever C refuses is decoded once more in Python, which says what is wrong. `ENXUTO_DECODER` chooses: `c` or `numba`;
without it the C decoder is taken where it can be had: it is faster and compiled in a second or two.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from enxuto.enx.table import ExactRow, Header, Row, TensorEntry, dump_header
from enxuto.errors import UsageError
from enxuto.machine.c_library import compiler, load_library
from enxuto.onnx_model import byte_count

__all__ = ["decode_levels", "decode_values", "decoder_name"]

_FOLDER = Path(__file__).parent
_VARIABLE = "ENXUTO_DECODER"
_IN_FRONT = b'{"metadata":{},"parts":['


@dataclass(frozen=True)
class _Library:
    """The functions of decoder/enx.h that read a payload by itself."""

    functions: ctypes.CDLL
    place: Path

    def decode(self, row: Row, payload: bytes, outputs: list[np.ndarray]) -> bool:
        """Fill one array for each tensor with its bytes; False where the payload is refused."""
        pointers = (ctypes.c_void_p * len(outputs))(*(array.ctypes.data for array in outputs))
        return self._call("enx_decode", row, payload, pointers)

    def levels(self, row: Row, payload: bytes, levels: np.ndarray) -> bool:
        """Fill `levels` (n,) of all tensors one after the other; False where the payload is refused."""
        return self._call("enx_levels", row, payload, ctypes.c_void_p(levels.ctypes.data))

    def _call(self, name: str, row: Row, payload: bytes, output: Any) -> bool:
        text, file = _json(row), ctypes.c_void_p()
        if self.functions.enx_open_row(ctypes.byref(file), text, ctypes.c_size_t(len(text)), None):
            return False
        try:
            code: int = getattr(self.functions, name)(file, ctypes.c_size_t(0), payload, output)
        finally:
            self.functions.enx_close(file)
        return code == 0


def decode_values(row: Row, payload: bytes) -> dict[str, np.ndarray] | None:
    """Return the values of all tensors of a payload by name, None where Python has to decode it.

    Args:
        row: the payload's row of the table, checked.
        payload: its bytes; their checksum need not have been looked at.
    """
    library = _library()
    if library is None or len(payload) != row.bytes:
        return None
    outputs = [
        np.empty(entry.stored_bytes, np.uint8) if _is_packed(entry) else np.empty(entry.shape, entry.dtype)
        for entry in row.tensors
    ]
    if not library.decode(row, payload, outputs):
        return None
    return {
        entry.name: entry.from_bytes(array.tobytes()) if _is_packed(entry) else array
        for entry, array in zip(row.tensors, outputs, strict=True)
    }


def decode_levels(row: Row, payload: bytes) -> np.ndarray | None:
    """Return the levels (n,) int32 of all tensors of a payload, None where Python has to decode it."""
    library = _library()
    if library is None or isinstance(row, ExactRow) or len(payload) != row.bytes:
        return None
    levels = np.empty(row.items, np.int32)
    return levels if library.levels(row, payload, levels) else None


def _is_packed(entry: TensorEntry) -> bool:
    return byte_count((2,), entry.data_type) < 2 * entry.dtype.itemsize


def _json(row: Row) -> bytes:
    """Return the row as the table has it."""
    return dump_header(Header(metadata={}, parts=(row,))).removeprefix(_IN_FRONT).removesuffix(b"]}")


def decoder_name() -> str:
    """Say which decoder is used, and where it comes from or why: one line for `enxuto doctor`."""
    library = _library()
    if library is not None:
        return f"C, compiled: {library.place}"
    if _choice() == "numba":
        return f"Numba, as {_VARIABLE} says"
    return f"Numba: {'no C compiler was found' if compiler() is None else 'enx.c could not be compiled'}"


def _choice() -> str:
    chosen = os.environ.get(_VARIABLE, "")
    if chosen not in ("", "c", "numba"):
        raise UsageError(f"{_VARIABLE} is {chosen!r:.40}, but there are only c and numba", code="E021")
    return chosen


def _library() -> _Library | None:
    """The C decoder if it is to be used; `UsageError` where it was asked for by name and cannot be had."""
    choice = _choice()
    if choice == "numba":
        return None
    library = _load()
    if library is None and choice == "c":
        raise UsageError(
            f"{_VARIABLE} is c, but enx.c could not be compiled here: install a C compiler (cc, gcc, clang) "
            f"or unset {_VARIABLE}",
            code="E090",
        )
    return library


@functools.cache
def _load() -> _Library | None:
    """Compile or load it once; C writes little-endian values, as ONNX has them."""
    found = load_library(_FOLDER / "enx.c", [_FOLDER / "enx.h"]) if sys.byteorder == "little" else None
    return None if found is None else _Library(*found)
