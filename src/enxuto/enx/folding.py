"""What was folded of a model before it was compressed, as a file's metadata say, and the same done to the original."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from enxuto.errors import FormatError
from enxuto.onnx_model import Model, fold_batch_norm, fold_constants, inline_functions
from enxuto.onnx_model.constant_folding import RULES

__all__ = ["fold_alike", "folding_facts"]

_NORMS, _CONSTANTS, _FUNCTIONS = "folded", "constants_folded", "functions_inlined"


def folding_facts(*, norms: bool = True, constants: bool = False, functions: bool = False) -> dict[str, int]:
    """Return metadata of a file.

    Args:
        norms: whether batch norms were folded.
        constants: whether computed weights were.
        functions: whether local functions were written out.
    """
    return {
        name: value
        for name, value, folded in (
            (_NORMS, True, norms),
            (_CONSTANTS, RULES, constants),
            (_FUNCTIONS, True, functions),
        )
        if folded
    }


def fold_alike(model: Model, metadata: Mapping[str, Any]) -> Model:
    """Return a model with that folded which was folded before the file with these metadata was made."""
    rules = metadata.get(_CONSTANTS)
    if isinstance(rules, int) and rules > RULES:
        raise FormatError(
            f"constants of this file's model were folded by rules of a later enxuto (number {rules}); update enxuto",
            code="E053",
        )
    if metadata.get(_FUNCTIONS):
        model = inline_functions(model)[0]
    if rules:
        model = fold_constants(model)[0]
    return fold_batch_norm(model)[0] if metadata.get(_NORMS) else model
