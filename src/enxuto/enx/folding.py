"""What was folded of a model before it was compressed, as a file's metadata say, and the same done to the original."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from enxuto.onnx_model import Model, fold_batch_norm, fold_constants

__all__ = ["fold_alike", "folding_facts"]

_NORMS, _CONSTANTS = "folded", "constants_folded"


def folding_facts(*, norms: bool = True, constants: bool = False) -> dict[str, bool]:
    """Return metadata of a file; norms: whether batch norms were folded, constants: whether computed weights were."""
    return {name: True for name, folded in ((_NORMS, norms), (_CONSTANTS, constants)) if folded}


def fold_alike(model: Model, metadata: Mapping[str, Any]) -> Model:
    """Return a model with that folded which was folded before the file with these metadata was made."""
    if metadata.get(_CONSTANTS):
        model = fold_constants(model)[0]
    return fold_batch_norm(model)[0] if metadata.get(_NORMS) else model
