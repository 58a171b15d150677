"""A hash of the weights that a file was made from, by which `verify` knows them again.

What is stored exactly is compared with itself; quantized weights, moved as calibrated rounding moves them, may come
from any model of the same shapes. So the metadata hold `weights`: base64 (without padding) of eight bytes for all of
those tensors, and two for each, by which it is named. `docs/format.md` defines them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from enxuto.enx.table import LevelsRow, Row
from enxuto.errors import FormatError
from enxuto.onnx_model import Model, array_bytes

__all__ = ["FINGERPRINT_KEY", "changed_weights", "fingerprint", "hashed_names", "weights_in_common"]

FINGERPRINT_KEY = "weights"
"""Key of a file's metadata."""

_WHOLE, _EACH = 8, 2  # bytes


def hashed_names(rows: Iterable[Row], metadata: Mapping[str, Any]) -> list[str]:
    """Return the tensors that are hashed, in the table's order: those of levels, after calibration all of them."""
    return [
        entry.name
        for row in rows
        if isinstance(row, LevelsRow) or "calibrated" in metadata
        for entry in row.tensors
    ]


def fingerprint(model: Model, names: Iterable[str]) -> str:
    """Return the text for the metadata, of weights as they were before they were quantized."""
    digests = [_digest(model, name) for name in names]
    return base64.b64encode(_join(digests)).decode().rstrip("=")


def changed_weights(text: object, model: Model, names: Collection[str]) -> set[str] | None:
    """Return which of the weights `names` of a model are not those of the text; None: some are, unknown which.

    Raises `FormatError` where the text is no such hash.
    """
    wanted = _read(text, len(names))
    digests = [_digest(model, name) for name in names]
    found = _join(digests)
    if found == wanted:
        return set()
    places = range(_WHOLE, len(wanted), _EACH)
    named = {
        name
        for name, at in zip(names, places, strict=True)
        if wanted[at : at + _EACH] != found[at : at + _EACH]
    }
    return named or None


def weights_in_common(text: object, model: Model, names: Collection[str]) -> set[str]:
    """Return which of the weights `names` a model of other layers still has as they were.

    Raises `FormatError` where the text is no such hash.
    """
    wanted = _read(text, len(names))
    places = zip(names, range(_WHOLE, len(wanted), _EACH), strict=True)
    return {
        name
        for name, at in places
        if name in model and wanted[at : at + _EACH] == _digest(model, name)[:_EACH]
    }


def _read(text: object, count: int) -> bytes:
    """Return the hashes of a text of so many weights."""
    try:
        wanted = base64.b64decode(str(text) + "=" * (-len(str(text)) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError(
            "the hash of the original weights in the metadata is damaged", code="E052"
        ) from error
    if not isinstance(text, str) or len(wanted) != _WHOLE + _EACH * count:
        raise FormatError("the hash of the original weights in the metadata does not fit the table")
    return wanted


def _digest(model: Model, name: str) -> bytes:
    """SHA-256 of a tensor: ONNX's type, number of sizes, sizes (each as int64), then the bytes as ONNX stores them."""
    info = model.info(name)
    found = hashlib.sha256(
        struct.pack(f"<{2 + len(info.shape)}q", info.data_type, len(info.shape), *info.shape)
    )
    found.update(array_bytes(np.asarray(model.load(name)), info.data_type))
    return found.digest()


def _join(digests: list[bytes]) -> bytes:
    whole = hashlib.sha256(b"".join(digests)).digest()[:_WHOLE]
    return whole + b"".join(digest[:_EACH] for digest in digests)
