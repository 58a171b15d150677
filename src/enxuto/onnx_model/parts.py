"""Which weights are parts of features and worth quantizing where every byte counts: tables and vectors, no masks."""

from __future__ import annotations

import numpy as np

from enxuto.onnx_model.model import Model, WeightInfo

__all__ = ["is_vector", "parts_of_features"]

_TYPES = (1, 10, 11, 16)  # float32, float16, float64, bfloat16
_FEWEST = 32  # elements
_PATTERN = 16  # different values, at most, that are a mask or a pattern rather than learned


def parts_of_features(model: Model) -> list[str]:
    """Return the names of weights that are added to features, scale them or are joined to them.

    Not those that are kept exact as well: few values, values that are not finite, and outputs of the model.
    """
    outputs = {item.name for item in model.proto.graph.output}
    return [
        info.name
        for info in model.infos()
        if info.part
        and info.data_type in _TYPES
        and info.elements >= _FEWEST
        and info.name not in outputs
        and _is_learned(model.load(info.name))
    ]


def is_vector(info: WeightInfo) -> bool:
    """Say whether a part of features is a vector, of one axis with more than one element."""
    return info.part and sum(size > 1 for size in info.shape) <= 1


def _is_learned(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).all()) and len(np.unique(values)) > _PATTERN
