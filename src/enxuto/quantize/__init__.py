"""Number formats (quantizers: what a level stands for), and schemes, which say what format each tensor gets.

`enxuto.compress` takes a scheme, or one quantizer for all tensors: `enxuto.compress(model, BalancedSteps(0.05))`.
"""

from enxuto.quantize.scalar import SOURCE_MINIFLOATS, DeadZone, Half, Minifloat, MuLaw, Quantizer
from enxuto.quantize.schemes import (
    BalancedSteps,
    FittedMinifloat,
    RangeSteps,
    RmsSteps,
    SameQuantizer,
    Scheme,
)

__all__ = [
    "SOURCE_MINIFLOATS",
    "BalancedSteps",
    "DeadZone",
    "FittedMinifloat",
    "Half",
    "Minifloat",
    "MuLaw",
    "Quantizer",
    "RangeSteps",
    "RmsSteps",
    "SameQuantizer",
    "Scheme",
]
