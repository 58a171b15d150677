"""`QuantizedTensor`: integer levels and the quantizer that gives them values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from enxuto.quantize.scalar import Quantizer

__all__ = ["QuantizedTensor"]


@dataclass(frozen=True)
class QuantizedTensor:
    """Integer levels (of the tensor's shape) and the quantizer that gives them values."""

    levels: np.ndarray
    quantizer: Quantizer

    def reconstruct(self) -> np.ndarray:
        """Return the float32 values, of the tensor's shape."""
        return self.quantizer.reconstruct(self.levels)
