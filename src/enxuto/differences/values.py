"""The values of one payload by what moved since the old one: levels and exact numbers, both ways.

A `ValueCoder` goes through the payloads in the new file's order, and what it has learned from one holds for the next.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from enxuto.codec.moves import Moves
from enxuto.codec.recoding import encode_bytes_in_frame, encode_in_frame
from enxuto.enx.payload import Payload, quantizers_of
from enxuto.enx.table import ExactRow, LevelsRow, Row
from enxuto.errors import FormatError
from enxuto.quantize.grid import Grid
from enxuto.quantize.scalar import DeadZone, Quantizer
from enxuto.quantize.tensor import QuantizedTensor
from enxuto.quantize.trellis import multiples, states_before

__all__ = ["ValueCoder", "can_follow", "is_remade", "levels_of", "remake", "steps_of", "trellis_of"]

_LARGEST = 2.0**30 - 1
_WORD = {1: "<i1", 2: "<i2"}  # larger elements are one or several words of four bytes

Int64 = npt.NDArray[np.int64]


def can_follow(row: Row, old: Row) -> bool:
    """Say whether a payload can be told by what moved since another: both hold the same tensors in the same way."""
    return (
        row.tensors == old.tensors
        and isinstance(row, LevelsRow) == isinstance(old, LevelsRow)
        and row.items > 0
    )


class ValueCoder:
    """Codes values of payloads by those of old payloads; levels and exact values are learned apart."""

    def __init__(self) -> None:
        self._levels, self._exact = Moves(), Moves()

    def copy(self) -> ValueCoder:
        """Return one that has learned the same."""
        other = ValueCoder()
        other._levels, other._exact = self._levels.copy(), self._exact.copy()
        return other

    def encode(self, payload: Payload, old: Payload) -> bytes:
        """Return what moved from an old payload to one that can follow it."""
        row = payload.row
        if isinstance(row, ExactRow):
            words = _words(row, payload.exact_bytes()).astype(np.int64)
            moved = _wrap(words - _words(row, old.exact_bytes()), row)
            return self._exact.encode(moved, np.zeros(moved.size, np.int64))
        assert isinstance(row, LevelsRow), "there are two kinds"
        quantizers = [tensor.quantizer for tensor in payload.levels().values()]
        return self._levels.encode(levels_of(payload), **_expected(row, quantizers, old))

    def decode(self, data: memoryview, row: Row, frame: bytes, old: Payload) -> bytes | npt.NDArray[np.int32]:
        """Return the levels, or the bytes of exact values, that `encode` made `data` of; `FormatError` for others."""
        if isinstance(row, ExactRow):
            words = _words(row, old.exact_bytes())
            moved = self._exact.decode(data, np.zeros(words.size, np.int64))
            return _bytes(row, _wrap(words.astype(np.int64) + moved, row))
        levels = self._levels.decode(data, **_expected(row, quantizers_of(row, frame), old))
        if levels.size and not -(1 << 31) < levels.min() <= levels.max() < 1 << 31:
            raise FormatError(f"the levels of {row.label} are out of range", code="E052")
        return levels.astype(np.int32)


def remake(row: Row, frame: bytes, values: bytes | npt.NDArray[np.int32]) -> Payload:
    """Return the payload of values in a frame; its row has a length and a checksum that are set here.

    Raises `FormatError` where frame and values do not fit each other.
    """
    if isinstance(row, ExactRow):
        assert isinstance(values, bytes), "what `decode` returns for such rows"
        data = encode_bytes_in_frame(frame, values, row.item_bytes)
    else:
        assert not isinstance(values, bytes), "what `decode` returns for such rows"
        shapes = [entry.shape for entry in row.tensors]
        steps = frame[: row.steps_bytes]
        data = steps + encode_in_frame(row.coder, frame[row.steps_bytes :], values, shapes)
    if row.padding > row.items // 4096:
        raise FormatError(f"the payload of {row.label} has more padding than any needs", code="E052")
    data += bytes(row.padding)
    return Payload(row.model_copy(update={"bytes": len(data), "crc32": f"{zlib.crc32(data):08x}"}), data)


def is_remade(payload: Payload, frame: bytes) -> bool:
    """Say whether a payload's values in its frame give the same bytes again."""
    exact = isinstance(payload.row, ExactRow)
    try:
        return (
            remake(payload.row, frame, payload.exact_bytes() if exact else levels_of(payload)).data
            == payload.data
        )
    except FormatError:
        return False


def levels_of(payload: Payload) -> npt.NDArray[np.int32]:
    """Return the levels of all tensors of a payload, one after the other."""
    return np.concatenate([tensor.levels.reshape(-1) for tensor in payload.levels().values()])


def _expected(row: LevelsRow, quantizers: list[Quantizer], old: Payload) -> dict[str, Any]:
    """Return what `Moves` is told: what is expected, the length of a row, the trellis and the old path on it."""
    earlier = list(old.levels().values())
    pairs = list(zip(quantizers, earlier, strict=True))
    found: dict[str, Any] = {"columns": 0}
    if len(pairs) == 1 and len(earlier[0].levels.shape) > 1:
        found["columns"] = max(1, earlier[0].levels.size // max(1, len(earlier[0].levels)))
    if trellis := trellis_of(quantizers[0]):
        found["trellis"] = trellis
        alike = trellis_of(earlier[0].quantizer) == trellis
        levels = earlier[0].levels
        found["before"] = states_before(levels, trellis) if alike else np.zeros(levels.size, np.uint8)
    return {
        **found,
        "expected": np.concatenate([_in_steps(one, tensor).reshape(-1) for one, tensor in pairs]),
    }


def trellis_of(quantizer: Quantizer) -> int:
    """Return how many states a quantizer's trellis has, 0 without one."""
    return quantizer.trellis if isinstance(quantizer, Grid) else 0


def steps_of(quantizer: Quantizer, shape: tuple[int, ...]) -> npt.NDArray[np.float64] | None:
    """Return a quantizer's steps in a form that broadcasts against the shape; None for one that has none."""
    if isinstance(quantizer, Grid):
        rows, columns = quantizer.steps(shape)
        return np.asarray(rows.astype(np.float64) * columns)
    if not isinstance(quantizer, DeadZone):
        return None
    steps = np.asarray(np.asarray(quantizer.step, np.float32), np.float64)
    sizes = [-1 if axis == quantizer.axis else 1 for axis in range(len(shape))]
    return steps.reshape(sizes) if steps.ndim else steps


def _in_steps(quantizer: Quantizer, old: QuantizedTensor) -> npt.NDArray[Any]:
    """Return how many of a quantizer's steps the old values are: their levels, or on a trellis what these stand for."""
    if quantizer == old.quantizer:
        trellis = trellis_of(quantizer)
        return multiples(old.levels, trellis) if trellis else old.levels
    steps = steps_of(quantizer, old.levels.shape)
    if steps is None:
        return old.levels
    with np.errstate(all="ignore"):
        scaled = np.nan_to_num(old.reconstruct() / steps, posinf=_LARGEST, neginf=-_LARGEST)
    return np.rint(np.clip(scaled, -_LARGEST, _LARGEST)).astype(np.int32)


def _words(row: ExactRow, values: bytes) -> npt.NDArray[Any]:
    """Return exact values as whole numbers: of elements of several words all upper words first, the lowest last."""
    words = np.frombuffer(values, _word(row))
    return words.reshape(row.items, -1)[:, ::-1].T.reshape(-1)


def _bytes(row: ExactRow, words: Int64) -> bytes:
    return words.reshape(-1, row.items)[::-1].T.astype(_word(row)).tobytes()


def _wrap(words: Int64, row: ExactRow) -> Int64:
    """Return whole numbers as the machine's words of that size hold them."""
    return words.astype(_word(row)).astype(np.int64)


def _word(row: ExactRow) -> str:
    return _WORD.get(row.item_bytes, "<i4")
