"""Open what enxuto writes or reads, whichever of the two it is: an ONNX model or an `.enx` file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enxuto.container import CompressedModel, is_enx
from enxuto.data import Preprocess
from enxuto.errors import EnxutoError
from enxuto.onnx_model import Model
from enxuto.onnx_model.carried import CARRIED, LABELS_KEY, PREPROCESS_KEY, carrying

if TYPE_CHECKING:
    import onnxruntime

__all__ = [
    "LABELS_KEY",
    "PREPROCESS_KEY",
    "load",
    "load_with_metadata",
    "onnx_metadata",
    "preprocess_of",
    "session",
    "with_metadata",
]


def load(path: str | Path, *, threads: int = 0) -> Model:
    """Read an `.enx` file (decoded at once) or an ONNX file as a `Model`; `threads` = 0 takes one per processor.

    Raises `DataError` or `ModelError` for files that cannot be read, `FormatError` for damaged `.enx` files.
    """
    return load_with_metadata(path, threads=threads)[0]


def load_with_metadata(path: str | Path, *, threads: int = 0) -> tuple[Model, dict[str, Any]]:
    """Read a model and what is known of it: an `.enx` file's metadata, or an ONNX file's of the same meaning."""
    if is_enx(path):
        compressed = CompressedModel.read(path)
        return compressed.to_model(threads=threads), compressed.metadata
    model = Model.read(path)
    return model, onnx_metadata(model)


def onnx_metadata(model: Model) -> dict[str, Any]:
    """Return `preprocess` and `labels` of an ONNX model where it carries them; damaged ones are left out."""
    found: dict[str, Any] = {}
    names = {key: name for name, key in CARRIED.items()}
    for prop in model.proto.metadata_props:
        key = names.get(prop.key)
        if key is not None:
            try:
                found[key] = json.loads(prop.value)
            except (ValueError, RecursionError):
                continue
    return found


def preprocess_of(metadata: dict[str, Any]) -> Preprocess | None:
    """Return the preprocessing that a model's metadata holds, None where it holds none (or one unknown here)."""
    stored = metadata.get("preprocess")
    if not isinstance(stored, dict):
        return None
    try:
        return Preprocess.from_dict(stored)
    except EnxutoError:
        return None


def with_metadata(compressed: CompressedModel) -> CompressedModel:
    """Return the compressed model with its preprocessing and labels also in the ONNX graph.

    `CompressedModel.to_model` and `write_onnx` see to that by themselves.
    """
    return replace(compressed, skeleton=carrying(compressed.skeleton, compressed.metadata, add=True))


def session(path: str | Path, *, threads: int = 0) -> onnxruntime.InferenceSession:
    """Return an ONNX Runtime session of an `.enx` or ONNX file, decoded in memory."""
    from enxuto import runtime

    return runtime.session(load(path), threads=threads)
