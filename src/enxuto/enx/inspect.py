"""`inspect`: what is in an `.enx` file or an ONNX model, as an object to look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from typing import Any

from enxuto.codec import entropy
from enxuto.enx.file import CompressedModel
from enxuto.enx.inside import tensors_inside
from enxuto.enx.learned import parameters
from enxuto.enx.ledger import Ledger, ledger_of, parameter_count
from enxuto.enx.payload import Payload
from enxuto.enx.signature import is_enx
from enxuto.enx.table import LevelsRow, TensorEntry
from enxuto.files import to_path
from enxuto.onnx_model import Model, total_bytes

__all__ = ["Inspection", "inspect", "rows_of_tensors", "tensor_facts"]


@dataclass(frozen=True, repr=False)
class Inspection:
    """What a file holds. `ledger` and `tensors` of an `.enx` file are decoded when first asked for.

    Attributes:
        path: the file; of a model that is no file its kind, such as `Model`.
        bytes: its length, or that of the file that would be written; of an ONNX model with its external data.
        parameters: how many learned values the model has.
        metadata: what an `.enx` file says of the model; empty for ONNX models.
        content: the `CompressedModel`, or the `Model` of an ONNX file.
    """

    path: str
    bytes: int
    parameters: int
    metadata: dict[str, Any] = field(default_factory=dict)
    content: CompressedModel | Model | None = None

    @property
    def bits_per_weight(self) -> float:
        """Bits of the whole file for each learned value; 0 where there is none."""
        return 8 * self.bytes / self.parameters if self.parameters else 0.0

    @cached_property
    def ledger(self) -> Ledger | None:
        """Sizes of the model in each form; None for ONNX models."""
        if not isinstance(self.content, CompressedModel):
            return None
        return ledger_of(self.content, file_bytes=self.bytes)

    @cached_property
    def tensors(self) -> list[dict[str, Any]]:
        """A row for each tensor: of `.enx` files how it is coded, of ONNX models what uses it."""
        if isinstance(self.content, CompressedModel):
            return rows_of_tensors(self.content)
        if self.content is None:
            return []
        return [
            {
                "name": info.name,
                "role": str(info.role),
                "shape": list(info.shape),
                "type": str(info.dtype),
                "bytes": info.bytes,
            }
            for info in self.content.infos()
        ]

    def __repr__(self) -> str:
        if isinstance(self.content, CompressedModel):
            kind, count = ".enx file", sum(1 for _ in self.content.entries())
            count += sum(1 for _ in tensors_inside(self.content))
        else:
            kind, count = "ONNX model", 0 if self.content is None else len(self.content.weight_names)
        bits = f", {self.bits_per_weight:.2f} bits per weight" if self.parameters else ""
        return (
            f"<Inspection of {self.path}: {kind}, {self.bytes:,} B, {self.parameters:,} parameters in {count} tensors"
            f"{bits}>"
        )


def inspect(path: str | PathLike[str] | CompressedModel | Model) -> Inspection:
    """Look into an `.enx` file or an ONNX model, given by its path or as an object.

    Raises `DataError` or `ModelError` for files that cannot be read, `FormatError` for damaged `.enx` files.
    """
    if isinstance(path, CompressedModel):
        kind = type(path).__name__
        return Inspection(kind, path.file_bytes, parameter_count(path), path.metadata, path)
    if isinstance(path, Model):
        return Inspection(type(path).__name__, path.size_bound(), parameters(path), {}, path)
    place = to_path(path, "a model or its path")
    if is_enx(place) or place.suffix == ".enx":
        compressed = CompressedModel.read(place)
        return Inspection(
            str(place), place.stat().st_size, parameter_count(compressed), compressed.metadata, compressed
        )
    model = Model.read(place)
    return Inspection(str(place), total_bytes(place), parameters(model), {}, model)


def rows_of_tensors(compressed: CompressedModel) -> list[dict[str, Any]]:
    """Return how each tensor of a file is coded (`tensor_facts`), last those of more than a kilobyte in its graph."""
    inside = [_exact_facts(entry, "graph") for entry, _ in tensors_inside(compressed)]
    return [*(tensor_facts(entry, payload) for entry, payload in compressed.entries()), *inside]


def _exact_facts(entry: TensorEntry, coder: str) -> dict[str, Any]:
    return {
        "name": entry.name,
        "shape": list(entry.shape),
        "type": str(entry.dtype),
        "quantizer": "exact",
        "coder": coder,
        "step": None,
        "settings": {},
        "bytes": None,
        "bits": None,
        "entropy": None,
    }


def tensor_facts(entry: TensorEntry, payload: Payload) -> dict[str, Any]:
    """Return how one tensor is coded.

    `step` is None where the quantizer has none, and [least, greatest] where rows or columns have their own; `settings`
    are the quantizer's other numbers. Bytes and bits are None where several tensors share a payload.
    """
    row = payload.row
    alone = len(row.tensors) == 1
    facts = _exact_facts(entry, row.coder)
    if alone:
        facts["bytes"] = row.bytes
        facts["bits"] = 8 * row.bytes / entry.elements if entry.elements else None
    if isinstance(row, LevelsRow):
        tensor = payload.levels()[entry.name]
        fields = row.quantizer.model_dump(exclude_none=True)
        facts["quantizer"] = fields.pop("kind")
        step = getattr(tensor.quantizer, "step", None)
        facts["step"] = [min(step), max(step)] if isinstance(step, tuple) else step
        facts["settings"] = {name: value for name, value in fields.items() if name != "step"}
        facts["entropy"] = entropy(tensor.levels)
    return facts
