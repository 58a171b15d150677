"""Ways to compress a model, as settings of points: the source's grid of quantizers, and enxuto's own.

A mode is a function from settings and what is given to a compressed model, under a name in `MODES`; a further one is
one more function and one more family of settings. Every setting has a `method`, which is a line in the charts, and `i`,
which orders the points of that line.

Source: Tonin 2021, section 3.5: one quantizer for the whole network and all its weights, biases and normalisation
included, Δ = 2/2^i (μ-law: 2^i levels, x_max = 1, μ = 2^i), i = 2…24; half and the minifloats of its table 3.5.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from enxuto.compression.data_free import compress
from enxuto.enx.file import CompressedModel
from enxuto.enx.learned import parameters
from enxuto.errors import UsageError, did_you_mean
from enxuto.onnx_model import Model, Role
from enxuto.quantize.scalar import SOURCE_MINIFLOATS, DeadZone, Half, Minifloat, MuLaw, Quantizer
from enxuto.quantize.schemes import SameQuantizer

if TYPE_CHECKING:
    from enxuto.calibration.calibration import Calibration

__all__ = [
    "CALIBRATED_METHOD",
    "DEAD_ZONES",
    "DEFAULT_METHOD",
    "MODES",
    "SOURCE_LEVELS",
    "ModeInput",
    "calibrated_settings",
    "compress_by_mode",
    "default_settings",
    "grid_settings",
    "method_names",
]

Settings = dict[str, Any]

SOURCE_LEVELS = range(2, 25)
DEAD_ZONES: Mapping[str, float] = MappingProxyType(
    {
        "midrise": 0.0,
        "dead-zone 0.1": 0.1,
        "dead-zone 0.25": 0.25,
        "dead-zone 0.4": 0.4,
        "midtread": 0.5,
        "dead-zone 0.7": 0.7,
    }
)
"""δ by method, as the source names them."""

DEFAULT_METHOD = "enxuto"
"""The method of the default scheme; other modes of enxuto's own begin with it too."""
CALIBRATED_METHOD = f"{DEFAULT_METHOD} calibrated"
"""The method of calibrated rounding."""

_CORRECTIONS, _ABOUT = 2, 0.05  # of a price, and the share of the bits that it may be off
_EVERYTHING = (Role.KERNEL, Role.DEPTHWISE, Role.MATRIX, Role.BIAS, Role.NORM)


@dataclass(frozen=True)
class ModeInput:
    """What modes compress: a model, with how many threads, and its calibration for modes that need it.

    metadata: of the file that `enxuto compress` makes of the model.
    """

    model: Model
    threads: int
    calibration: Callable[[], Calibration]
    metadata: Mapping[str, Any] = field(default_factory=dict)


def grid_settings(
    levels: Iterable[int] = SOURCE_LEVELS, methods: Sequence[str] | None = None
) -> list[Settings]:
    """Settings of the source's grid; `methods`: some of `method_names`, None for all of them."""
    exponents = list(levels)
    found: list[Settings] = [
        {"mode": "grid", "method": method, "i": i} for method in (*DEAD_ZONES, "μ-law") for i in exponents
    ]
    found += [
        {"mode": "grid", "method": "minifloat", "i": 1 + p + q, "format": [p, q]}
        for p, q in SOURCE_MINIFLOATS
    ]
    found.append({"mode": "grid", "method": "half", "i": 16})
    return found if methods is None else [one for one in found if one["method"] in methods]


def default_settings(bits: Iterable[float]) -> list[Settings]:
    """Settings of files as `enxuto compress` makes them: by default, and of so many bits per weight (`--bits`)."""
    both = {"mode": "default", "method": DEFAULT_METHOD, "rounding": "trellis", "steps": "checked"}
    return [{**both, "i": 32, "bits": None}, *({**both, "i": value, "bits": value} for value in bits)]


def calibrated_settings(bits: Iterable[float], calibration: Mapping[str, Any]) -> list[Settings]:
    """Settings of calibrated rounding, at the price of a bit that comes to about so many bits per weight.

    calibration: which images calibrate (`studies.curve.calibration.CalibrationSplit`).
    """
    return [
        {
            "mode": "calibrated",
            "method": CALIBRATED_METHOD,
            "i": value,
            "bits": value,
            "calibration": dict(calibration),
        }
        for value in bits
    ]


def method_names() -> list[str]:
    """All methods, in the order of the charts."""
    return [*DEAD_ZONES, "μ-law", "minifloat", "half", DEFAULT_METHOD, CALIBRATED_METHOD]


def compress_by_mode(settings: Mapping[str, Any], source: ModeInput) -> CompressedModel:
    """Compress a model as settings say. Raises `UsageError` for a mode that is unknown here."""
    mode = MODES.get(str(settings["mode"]))
    if mode is None:
        hint = did_you_mean(str(settings["mode"]), MODES)
        raise UsageError(
            f"no mode is called {settings['mode']!r}{hint}; there are {', '.join(MODES)}", code="E021"
        )
    return mode(settings, source)


def _original(settings: Mapping[str, Any], source: ModeInput) -> CompressedModel:
    return compress(source.model, roles=(), threads=source.threads)


def _grid(settings: Mapping[str, Any], source: ModeInput) -> CompressedModel:
    return compress(
        source.model, SameQuantizer(_quantizer(settings)), roles=_EVERYTHING, threads=source.threads
    )


def _default(settings: Mapping[str, Any], source: ModeInput) -> CompressedModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what synthetic inputs let doubt is measured here on the user's own
        return compress(
            source.model,
            bits=settings["bits"],
            rounding=settings["rounding"],
            metadata=dict(source.metadata),
            threads=source.threads,
            steps=settings["steps"],
        )


def _compress_calibrated(settings: Mapping[str, Any], source: ModeInput) -> CompressedModel:
    """At a price that comes to about so many bits: a guess, corrected by the law that a bit less is 4 times the error.

    A curve needs no point at exactly these bits, which a search would take several times as long to find.
    """
    from enxuto.compression.at_price import compress_at

    calibration, bits = source.calibration(), float(settings["bits"])
    price = calibration.price_of_bits(bits)
    for _ in range(_CORRECTIONS):
        small = compress_at(calibration, price).model
        excess = 8 * small.file_bytes / parameters(source.model) - bits
        if abs(excess) <= _ABOUT * bits:
            return small
        price *= 4.0**excess
    return compress_at(calibration, price).model


def _quantizer(settings: Mapping[str, Any]) -> Quantizer:
    method, i = settings["method"], settings["i"]
    if method in DEAD_ZONES:
        return DeadZone(2 / 2**i, DEAD_ZONES[method])
    if method == "μ-law":
        return MuLaw(2**i, mu=2.0**i)
    if method == "minifloat":
        return Minifloat(*settings["format"])
    return Half()


MODES: Mapping[str, Callable[[Mapping[str, Any], ModeInput], CompressedModel]] = MappingProxyType(
    {"original": _original, "grid": _grid, "default": _default, "calibrated": _compress_calibrated}
)
"""By the name under which settings ask for them."""
