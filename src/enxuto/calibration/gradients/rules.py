"""The table of derivative rules: for every operator that has one, nodes that compute the gradients of its inputs."""

from __future__ import annotations

from enxuto.calibration.gradients.activations import ACTIVATION_RULES
from enxuto.calibration.gradients.arithmetic import ARITHMETIC_RULES
from enxuto.calibration.gradients.convolutions import CONVOLUTION_RULES
from enxuto.calibration.gradients.graph import Rule
from enxuto.calibration.gradients.matrices import MATRIX_RULES
from enxuto.calibration.gradients.normalizations import NORMALIZATION_RULES
from enxuto.calibration.gradients.padding import PADDING_RULES
from enxuto.calibration.gradients.pools import POOL_RULES
from enxuto.calibration.gradients.reductions import REDUCTION_RULES
from enxuto.calibration.gradients.resizing import RESIZING_RULES
from enxuto.calibration.gradients.selections import SELECTION_RULES, split_rule
from enxuto.calibration.gradients.shapes import SHAPE_RULES

__all__ = ["RULES", "split_rule"]

RULES: dict[str, Rule] = {
    **ACTIVATION_RULES,
    **ARITHMETIC_RULES,
    **CONVOLUTION_RULES,
    **MATRIX_RULES,
    **NORMALIZATION_RULES,
    **PADDING_RULES,
    **POOL_RULES,
    **REDUCTION_RULES,
    **RESIZING_RULES,
    **SELECTION_RULES,
    **SHAPE_RULES,
}
"""Rules by operator of ONNX's own domain. Split has several outputs and a rule of its own (`split_rule`)."""
