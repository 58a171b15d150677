"""The table of rules: for every operator that has one, the module that computes it."""

from __future__ import annotations

from enxuto.importing.node import Rule
from enxuto.importing.rules.activations import ACTIVATION_RULES
from enxuto.importing.rules.arithmetic import ARITHMETIC_RULES
from enxuto.importing.rules.convolutions import CONVOLUTION_RULES
from enxuto.importing.rules.made import MADE_RULES
from enxuto.importing.rules.matrices import MATRIX_RULES
from enxuto.importing.rules.movements import MOVEMENT_RULES
from enxuto.importing.rules.normalizations import NORMALIZATION_RULES
from enxuto.importing.rules.padding import PADDING_RULES
from enxuto.importing.rules.pools import POOL_RULES
from enxuto.importing.rules.reductions import REDUCTION_RULES
from enxuto.importing.rules.resizing import RESIZING_RULES
from enxuto.importing.rules.selections import SELECTION_RULES

__all__ = ["RULES"]

RULES: dict[str, Rule] = {
    **ACTIVATION_RULES,
    **ARITHMETIC_RULES,
    **CONVOLUTION_RULES,
    **MADE_RULES,
    **MATRIX_RULES,
    **MOVEMENT_RULES,
    **NORMALIZATION_RULES,
    **PADDING_RULES,
    **POOL_RULES,
    **REDUCTION_RULES,
    **RESIZING_RULES,
    **SELECTION_RULES,
}
"""Rules by operator of ONNX's own domain."""
