"""The size ledger: what a model's weights cost in each form, calculation and measurement kept apart.

Every row is a number of bytes that exists as a file here, except the entropy, which is what an ideal order-0 coder
would need (coders that know scales and neighbours need less), and the first row: 4 bytes per parameter, or, of a model
whose weights are not all float32, the bytes that they take there. A model without weights has neither.
"""

from __future__ import annotations

import lzma
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from enxuto.codec import entropy
from enxuto.enx.file import CompressedModel
from enxuto.enx.inside import tensors_inside
from enxuto.enx.payload import Payload
from enxuto.enx.table import LevelsRow
from enxuto.machine.processors import processors
from enxuto.onnx_model import array_bytes, files

__all__ = ["Ledger", "LedgerRow", "entropy_bytes", "ledger_of", "original_sizes", "parameter_count"]

_BLOCK = 1 << 20
_LEAST = 1 / 8  # bytes; what is less than a bit is rounding
_LARGE = 1 << 24  # elements; tensors beyond are decoded one at a time, for their memory
_XZ_BLOCK = 8 << 20
_XZ_MOST = 256 << 20  # bytes; xz takes half a second per megabyte and core


@dataclass(frozen=True)
class LedgerRow:
    """A form of the model and its size. `measured` is false for bounds and arithmetic."""

    name: str
    bytes: float
    measured: bool


@dataclass(frozen=True, repr=False)
class Ledger:
    """Sizes of a model of `parameters` learned values, the first row being the one others are compared with."""

    parameters: int
    rows: tuple[LedgerRow, ...]

    def __repr__(self) -> str:
        sizes = "; ".join(f"{row.name} {row.bytes:,.0f} B" for row in self.rows)
        return f"<Ledger of {self.parameters:,} parameters: {sizes}>"

    def ratio(self, row: LedgerRow) -> float:
        """Return how many times smaller than the first row a row is; infinite where it takes no byte."""
        return self.rows[0].bytes / row.bytes if row.bytes >= _LEAST else math.inf

    def bits(self, row: LedgerRow) -> float:
        """Return a row's bits per parameter."""
        return 8 * row.bytes / self.parameters if self.parameters else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe values; a ratio to nothing is None."""
        rows = [
            {
                "name": row.name,
                "bytes": round(row.bytes),
                "measured": row.measured,
                "ratio": self.ratio(row) if math.isfinite(self.ratio(row)) else None,
                "bits_per_parameter": self.bits(row),
            }
            for row in self.rows
        ]
        return {"parameters": self.parameters, "rows": rows}


def original_sizes(path: str | Path, *, xz: bool = True) -> dict[str, int]:
    """Measure an ONNX file and all files it needs: their bytes, and the same through xz (preset 6, 8 MiB blocks).

    Above 256 MiB, and without `xz`, that is left out. The result goes into a compressed model's metadata as `original`.
    """
    places = files(path)
    total = sum(place.stat().st_size for place in places)
    sizes = {"bytes": total}
    if xz and total <= _XZ_MOST:
        with ThreadPoolExecutor(processors()) as pool:
            sizes["xz_bytes"] = sum(
                pool.map(lambda block: len(lzma.compress(block, preset=6)), _blocks(places))
            )
    return sizes


def _blocks(places: list[Path]) -> Iterator[bytes]:
    for place in places:
        with place.open("rb") as file:
            while block := file.read(_XZ_BLOCK):
                yield block


def entropy_bytes(payload: Payload) -> float:
    """Return the bytes an ideal order-0 coder needs: levels at their entropy, exact values at that of their planes."""
    row = payload.row
    if isinstance(row, LevelsRow):
        return sum(entropy(tensor.levels) * tensor.levels.size / 8 for tensor in payload.levels().values())
    arrays = payload.arrays()
    stored = [array_bytes(arrays[entry.name], entry.data_type) for entry in row.tensors]
    return _entropy_of_planes(stored, row.item_bytes)


def _entropy_of_planes(stored: Sequence[bytes | memoryview], width: int) -> float:
    """Return the bytes an ideal order-0 coder needs for the byte planes of elements of so many bytes."""
    counts, items = np.zeros((width, 256), np.int64), 0
    for data in stored:
        elements = np.frombuffer(data, np.uint8).reshape(-1, width)
        items += len(elements)
        for start in range(0, len(elements), _BLOCK):
            for place, plane in enumerate(elements[start : start + _BLOCK].T):
                counts[place] += np.bincount(plane, minlength=256)
    return max(0.0, float(-np.sum(_p_log2_p(counts / max(1, items))) * items / 8))


def _p_log2_p(p: np.ndarray) -> np.ndarray:
    """Return p·log2 p, and 0 for p = 0."""
    return p * np.log2(np.where(p > 0, p, 1.0))


def parameter_count(compressed: CompressedModel) -> int:
    """Return the number of learned values that the file names, or that of its quantized values where it names none."""
    stored = compressed.metadata.get("parameters")
    if isinstance(stored, int) and 0 < stored < 1 << 63:
        return stored
    return sum(e.elements for e, part in compressed.entries() if isinstance(part.row, LevelsRow))


def ledger_of(compressed: CompressedModel, *, file_bytes: int | None = None) -> Ledger:
    """Return the ledger of a compressed model; rows of the original are there if its metadata has them.

    file_bytes: the measured length of the file where there is one; else that of the file `save` would write.
    """
    count = parameter_count(compressed)
    original = compressed.metadata.get("original")
    stored = compressed.metadata.get("weight_bytes")
    if isinstance(stored, int) and 0 < stored < 1 << 63:
        rows = [LedgerRow("weights as they were", float(stored), measured=False)]
    else:
        rows = [LedgerRow("float32 weights", 4.0 * count, measured=False)]
    if isinstance(original, dict) and isinstance(original.get("bytes"), int):
        rows = (
            rows if rows[0].bytes else []
        )  # without weights, the ONNX file is what others are compared with
        rows.append(LedgerRow("ONNX file", original["bytes"], measured=True))
        if isinstance(original.get("xz_bytes"), int):
            rows.append(LedgerRow("ONNX file, xz", original["xz_bytes"], measured=True))
    large = any(payload.row.items > _LARGE for payload in compressed.payloads)
    with ThreadPoolExecutor(1 if large else processors()) as pool:
        bound = sum(pool.map(entropy_bytes, compressed.payloads))
    bound += sum(_entropy_of_planes([data], entry.item_bytes) for entry, data in tensors_inside(compressed))
    if count or bound:
        rows.append(LedgerRow("order-0 entropy of levels + exact values", bound, measured=False))
    rows.append(LedgerRow(".enx file", file_bytes or compressed.file_bytes, measured=True))
    return Ledger(count, tuple(rows))
