"""Number formats (quantizers: what a level stands for), and schemes, which say what format each tensor gets.

A scheme, or a quantizer for all tensors, is what `enxuto.compress` takes: `enxuto.compress(model, Balanced(0.05))`.
"""

from enxuto.quantize.scalar import SOURCE_MINIFLOATS, DeadZone, Half, Minifloat, MuLaw, Quantizer
from enxuto.quantize.schemes import Balanced, FittedMinifloat, Ranged, Scaled, Scheme, Uniform

__all__ = [
    "SOURCE_MINIFLOATS",
    "Balanced",
    "DeadZone",
    "FittedMinifloat",
    "Half",
    "Minifloat",
    "MuLaw",
    "Quantizer",
    "Ranged",
    "Scaled",
    "Scheme",
    "Uniform",
]
