"""Exact tensors that lie in the graph of a file, where LZMA makes them shorter than byte planes would."""

from __future__ import annotations

from collections.abc import Iterator

from enxuto.enx.file import CompressedModel
from enxuto.enx.table import TensorEntry
from enxuto.onnx_model import skeleton_tensors

__all__ = ["tensors_inside"]

_LEAST = 1024  # bytes; what is shorter counts as graph


def tensors_inside(compressed: CompressedModel) -> Iterator[tuple[TensorEntry, bytes]]:
    """Yield the tensors of more than a kilobyte that a file's graph holds, and their bytes as ONNX files have them."""
    for name, tensor in skeleton_tensors(compressed.skeleton).items():
        if len(tensor.raw_data) > _LEAST:
            yield TensorEntry(name=name, shape=tuple(tensor.dims), type=tensor.data_type), tensor.raw_data
