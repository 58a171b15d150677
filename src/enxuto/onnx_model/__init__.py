"""ONNX models: read them, list their weights with their roles, change them, take them apart, write them.

Imports numpy, onnx and ml_dtypes; neither torch nor numba nor ONNX Runtime.
"""

from enxuto.onnx_model.attributes import (
    constant_tensor,
    float_attribute,
    has_attribute,
    int_attribute,
    ints_attribute,
    text_attribute,
)
from enxuto.onnx_model.batch import fix_sizes, fixed_batch, free_batch
from enxuto.onnx_model.branches import hoist_weights, inline_branches
from enxuto.onnx_model.channels_last import channels_first, channels_last, takes_channels_last
from enxuto.onnx_model.constant_folding import fold_constants, settle
from enxuto.onnx_model.data_files import files, total_bytes
from enxuto.onnx_model.dtypes import array_bytes, array_from_bytes, byte_count, numpy_dtype
from enxuto.onnx_model.ending import (
    Ending,
    append_flatten,
    append_logarithm,
    cut_before_softmax,
    keeps_positions,
    output_ending,
    picks_values,
    position_sources,
)
from enxuto.onnx_model.fold import fold_batch_norm
from enxuto.onnx_model.functions import inline_functions
from enxuto.onnx_model.halves import bfloat16_as_float32, has_cells_of_halves
from enxuto.onnx_model.id_inputs import IdInputs, find_id_inputs
from enxuto.onnx_model.id_limits import id_limits
from enxuto.onnx_model.model import Model, WeightInfo
from enxuto.onnx_model.parts import is_vector, parts_of_features
from enxuto.onnx_model.pieces import piece_of
from enxuto.onnx_model.read_sizes import read_sizes
from enxuto.onnx_model.roles import Role
from enxuto.onnx_model.scopes import STANDARD_DOMAINS, read_counts, reads_of
from enxuto.onnx_model.skeleton import fill, skeleton, skeleton_slots, skeleton_tensors
from enxuto.onnx_model.states import State, check_feedback, find_states, is_called_state
from enxuto.onnx_model.static import static_values
from enxuto.onnx_model.tensors import check_finite
from enxuto.onnx_model.windows import Window, window_of
from enxuto.onnx_model.write import write_streaming

__all__ = [
    "STANDARD_DOMAINS",
    "Ending",
    "IdInputs",
    "Model",
    "Role",
    "State",
    "WeightInfo",
    "Window",
    "append_flatten",
    "append_logarithm",
    "array_bytes",
    "array_from_bytes",
    "bfloat16_as_float32",
    "byte_count",
    "channels_first",
    "channels_last",
    "check_feedback",
    "check_finite",
    "constant_tensor",
    "cut_before_softmax",
    "files",
    "fill",
    "find_id_inputs",
    "find_states",
    "fix_sizes",
    "fixed_batch",
    "float_attribute",
    "fold_batch_norm",
    "fold_constants",
    "free_batch",
    "has_attribute",
    "has_cells_of_halves",
    "hoist_weights",
    "id_limits",
    "inline_branches",
    "inline_functions",
    "int_attribute",
    "ints_attribute",
    "is_called_state",
    "is_vector",
    "keeps_positions",
    "numpy_dtype",
    "output_ending",
    "parts_of_features",
    "picks_values",
    "piece_of",
    "position_sources",
    "read_counts",
    "read_sizes",
    "reads_of",
    "settle",
    "skeleton",
    "skeleton_slots",
    "skeleton_tensors",
    "static_values",
    "takes_channels_last",
    "text_attribute",
    "total_bytes",
    "window_of",
    "write_streaming",
]
