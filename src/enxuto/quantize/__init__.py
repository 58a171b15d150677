"""From float weights to integer levels: quantizers and the choice of their steps."""

from enxuto.quantize.scalar import SOURCE_MINIFLOATS, DeadZone, Half, Minifloat, MuLaw, Quantizer

__all__ = ["SOURCE_MINIFLOATS", "DeadZone", "Half", "Minifloat", "MuLaw", "Quantizer"]
