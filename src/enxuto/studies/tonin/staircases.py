"""The staircase of each quantizer, as the source's figures 2.9 to 2.11: weight against reconstructed weight."""

from __future__ import annotations

from typing import Any

import numpy as np

from enxuto.studies.tonin.quantizers import (
    BIAS,
    FIT,
    FIT_TENSOR,
    SOURCE_METHODS,
    make_quantizer,
    quantizer_settings,
)

__all__ = ["staircases"]

_LEVELS = 3  # 2^3 levels: wide enough stairs
_MINIFLOAT = [2, 2]
_SAMPLES = 4001  # weights looked at between −1 and 1


def staircases() -> dict[str, list[tuple[float, float]]]:
    """Return for each method the corners (weight, reconstructed weight) of its stairs over [−1, 1].

    Dead zones and companders have 2^3 levels, minifloats two bits of exponent and of mantissa. Scales are fitted to
    weights up to 1; half is a straight line at this scale.
    """
    return {name: _corners(_setting(name)) for name in SOURCE_METHODS if name != FIT_TENSOR}


def _setting(method: str) -> dict[str, Any]:
    if method in ("minifloat", BIAS, FIT):
        return {"mode": "grid", "method": method, "i": 5, "format": list(_MINIFLOAT)}
    return quantizer_settings([method], [_LEVELS])[0]


def _corners(settings: dict[str, Any]) -> list[tuple[float, float]]:
    weights = np.linspace(-1, 1, _SAMPLES, dtype=np.float32)
    quantizer = make_quantizer(settings)(1.0, 1.0)
    values = quantizer.reconstruct(quantizer.quantize(weights))
    corners = [(-1.0, float(values[0]))]
    jumps = np.flatnonzero(np.diff(values))
    if len(jumps) > _SAMPLES // 8:  # so fine that stairs are a line
        return [*corners, (1.0, float(values[-1]))]
    for place in jumps:
        x = float(weights[place] + weights[place + 1]) / 2
        corners += [(x, float(values[place])), (x, float(values[place + 1]))]
    return [*corners, (1.0, float(values[-1]))]
