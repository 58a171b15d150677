"""The quantizers of Tonin 2021 as settings of points, and those that its text names without trying them.

As the source has it, one quantizer rounds all learned values of the network: kernels, matrices, biases, normalisation.
Settings are those of `studies.curve.modes`; further methods are

- `minifloat fit`: the formats of table 3.5, scaled by a power of two so that the largest just reaches the network's
  largest weight; `minifloat fit per tensor` does so for each tensor;
- `minifloat bias 3`: the bias of table 2.5's row Minifloat. There (4, 3) has 3, where the rule of the other rows,
  2^(p−1) − 1, gives 7; 2^(p−2) − 1 gives 3, and here the bias of every p from 2 on;
- `A-law`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from enxuto.errors import UsageError, did_you_mean
from enxuto.quantize.scalar import SOURCE_MINIFLOATS, DeadZone, Half, Minifloat, MuLaw
from enxuto.quantize.schemes import FittedMinifloat
from enxuto.studies.curve.modes import DEAD_ZONES, SOURCE_LEVELS, grid_settings
from enxuto.studies.tonin.a_law import ALaw

__all__ = [
    "BIAS",
    "FIT",
    "FIT_TENSOR",
    "SOURCE_METHODS",
    "LevelQuantizer",
    "make_quantizer",
    "quantizer_settings",
]

FIT, FIT_TENSOR, BIAS = "minifloat fit", "minifloat fit per tensor", "minifloat bias 3"
_A_LAW = "A-law"
SOURCE_METHODS: tuple[str, ...] = (*DEAD_ZONES, "μ-law", "minifloat", "half", _A_LAW, BIAS, FIT, FIT_TENSOR)
"""All methods, in the order of tables."""


class LevelQuantizer(Protocol):
    """What every quantizer here can do."""

    def quantize(self, x: npt.NDArray[np.float32], /) -> npt.NDArray[np.int32]:
        """Return the level of every element."""

    def reconstruct(self, levels: npt.NDArray[np.int32], /) -> npt.NDArray[np.float32]:
        """Return the value of every level."""


def quantizer_settings(
    methods: Sequence[str] | None = None, levels: Iterable[int] = SOURCE_LEVELS
) -> list[dict[str, Any]]:
    """Settings of all points of the grid; methods: some of `SOURCE_METHODS`, None for all.

    Raises `UsageError` for a method that is unknown.
    """
    chosen = SOURCE_METHODS if methods is None else tuple(methods)
    for name in chosen:
        if name not in SOURCE_METHODS:
            raise UsageError(
                f"no method is called {name!r}{did_you_mean(name, SOURCE_METHODS)}; there are "
                f"{', '.join(SOURCE_METHODS)}",
                code="E021",
            )
    exponents = list(levels)
    found = grid_settings(exponents, chosen)
    if _A_LAW in chosen:
        found += [{"mode": "grid", "method": _A_LAW, "i": i} for i in exponents]
    for name in (BIAS, FIT, FIT_TENSOR):
        if name in chosen:
            found += [
                {"mode": "grid", "method": name, "i": 1 + p + q, "format": [p, q]}
                for p, q in SOURCE_MINIFLOATS
                if name != BIAS or p >= 2
            ]
    return found


def make_quantizer(settings: Mapping[str, Any]) -> Callable[[float, float], LevelQuantizer]:
    """Return what gives a tensor its quantizer, from the largest magnitude in it and in the network."""
    method, i = settings["method"], int(settings["i"])
    same: LevelQuantizer
    if method in (FIT, FIT_TENSOR):
        fitted = FittedMinifloat(*settings["format"])
        return lambda tensor, network: fitted.fit(network if method == FIT else tensor)
    if method in DEAD_ZONES:
        same = DeadZone(2 / 2**i, DEAD_ZONES[method])
    elif method == "μ-law":
        same = MuLaw(2**i, mu=2.0**i)
    elif method == _A_LAW:
        same = ALaw(2**i)
    elif method == BIAS:
        p, q = settings["format"]
        same = Minifloat(p, q, 2.0 ** ((2 ** (p - 1) - 1) - (2 ** (p - 2) - 1)))
    else:
        same = Minifloat(*settings["format"]) if method == "minifloat" else Half()
    return lambda tensor, network: same
