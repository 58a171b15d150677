"""ONNX models: read them, list their weights with their roles, change them, take them apart, write them.

Imports numpy, onnx and ml_dtypes; neither torch nor numba nor ONNX Runtime.
"""

from enxuto.onnx_model.batch import any_batch, fixed_batch
from enxuto.onnx_model.dtypes import array_bytes, array_from_bytes, byte_count, numpy_dtype
from enxuto.onnx_model.fold import fold_batch_norm
from enxuto.onnx_model.model import Model, WeightInfo
from enxuto.onnx_model.roles import Role
from enxuto.onnx_model.scopes import read_counts, reads_of
from enxuto.onnx_model.skeleton import fill, skeleton, skeleton_slots
from enxuto.onnx_model.tensors import check_finite
from enxuto.onnx_model.write import files, total_bytes, write_streaming

__all__ = [
    "Model",
    "Role",
    "WeightInfo",
    "any_batch",
    "array_bytes",
    "array_from_bytes",
    "byte_count",
    "check_finite",
    "files",
    "fill",
    "fixed_batch",
    "fold_batch_norm",
    "numpy_dtype",
    "read_counts",
    "reads_of",
    "skeleton",
    "skeleton_slots",
    "total_bytes",
    "write_streaming",
]
