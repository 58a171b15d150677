"""Errors between a signal and its reconstruction (Tonin 2021, eq. 2.8–2.12), of weights or outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from enxuto.errors import DataError, UsageError
from enxuto.metrics.ssim import SSIM_WINDOW, ssim

__all__ = ["OutputSignal", "SignalMetrics", "SignalResult", "as_images", "measure_output"]

_CHANNELS = (1, 3, 4)  # of what is taken for an image
_NEAR = 0.1  # of the range of images: what a network's may lie beyond it


@dataclass(frozen=True)
class SignalResult:
    """Sums and means of squared and absolute errors, in the units of the values.

    sqnr_db: 10·log10(Σx² / SSE). psnr_db: 10·log10(peak² / MSE). Both are infinite for an exact
    reconstruction and −∞ for the reconstruction of a signal that is 0 everywhere by another.
    """

    values: int
    sse: float
    mse: float
    rmse: float
    sae: float
    mae: float
    sqnr_db: float
    psnr_db: float
    peak: float

    def to_dict(self) -> dict[str, float | None]:
        """JSON-safe values: None stands for infinite decibels."""
        return {name: value if math.isfinite(value) else None for name, value in asdict(self).items()}


@dataclass(frozen=True)
class OutputSignal:
    """Errors of an output of a model. ssim: of images (`metrics.ssim`), the mean over samples; None for others."""

    figures: SignalResult
    ssim: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """JSON-safe values: None stands for infinite decibels."""
        return {**self.figures.to_dict(), "ssim": self.ssim}


def measure_output(pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> OutputSignal | None:
    """Return the errors of an output, None where shapes differ or values are not finite.

    pairs: of every group of samples the original's output and the other's, samples first. PSNR's peak of images is 1 or
    255 where their values lie within such a range, else the range of the original's values.
    """
    if any(np.shape(before) != np.shape(after) for before, after in pairs):
        return None
    pairs = [(before, after) for before, after in pairs if np.size(before)]
    if not pairs:
        return None
    images = [as_images(before) for before, _ in pairs]
    lowest = min(float(np.min(before)) for before, _ in pairs)
    highest = max(float(np.max(before)) for before, _ in pairs)
    peak = next(
        (
            peak
            for peak in (1.0, 255.0)
            if lowest >= -_NEAR * peak and _NEAR * peak < highest <= (1 + _NEAR) * peak
        ),
        highest - lowest,
    )
    whole = all(one is not None for one in images)
    metrics = SignalMetrics(peak if whole and peak > 0 else None)
    similar, count = 0.0, 0
    try:
        for (before, after), one in zip(pairs, images, strict=True):
            metrics.update(before, after)
            other = as_images(after)
            if whole and one is not None and other is not None and peak > 0:
                similar += len(one) * ssim(one, other, peak)
                count += len(one)
    except DataError:
        return None
    return OutputSignal(metrics.result(), similar / count if count else None)


def as_images(value: NDArray[Any]) -> NDArray[Any] | None:
    """Return an output (N, C, H, W) or (N, H, W, C) of images as (N, C, H, W); None where it is of others."""
    if value.ndim == 4 and value.shape[1] in _CHANNELS:
        found = value
    elif value.ndim == 4 and value.shape[3] in _CHANNELS:
        found = value.transpose(0, 3, 1, 2)
    else:
        return None
    return found if min(found.shape[2:]) >= SSIM_WINDOW else None


class SignalMetrics:
    """Collects a signal and its reconstruction, piece by piece; `result()` at any time.

    peak: of PSNR; by default the largest absolute value of the signal (give 255 for 8-bit images).
    """

    def __init__(self, peak: float | None = None) -> None:
        if peak is not None and not 0 < peak < math.inf:
            raise UsageError(f"peak is {peak}; it must be positive and finite")
        self._given_peak = peak
        self._values = 0
        self._sse = self._sae = self._power = self._peak = 0.0

    def update(self, signal: ArrayLike, reconstruction: ArrayLike) -> None:
        """Add a piece: two arrays of one shape. Raises `DataError` for other shapes or values not finite."""
        if np.shape(signal) != np.shape(reconstruction):
            shapes = f"{np.shape(signal)} and {np.shape(reconstruction)}"
            raise DataError(f"signal and reconstruction have shapes {shapes}; they must be equal")
        original = np.asarray(signal, np.float64).ravel()
        decoded = np.asarray(reconstruction, np.float64).ravel()
        if not (np.isfinite(original).all() and np.isfinite(decoded).all()):
            raise DataError("signal or reconstruction holds NaN or infinite values", code="E045")
        error = original - decoded
        self._values += original.size
        self._sse += float(np.dot(error, error))
        self._sae += float(np.abs(error).sum())
        self._power += float(np.dot(original, original))
        self._peak = max(self._peak, float(np.abs(original).max(initial=0.0)))

    def result(self) -> SignalResult:
        """The figures so far. Raises `DataError` when there were no values."""
        if self._values == 0:
            raise DataError("no values were compared", code="E043")
        mse = self._sse / self._values
        peak = self._peak if self._given_peak is None else self._given_peak
        return SignalResult(
            values=self._values,
            sse=self._sse,
            mse=mse,
            rmse=math.sqrt(mse),
            sae=self._sae,
            mae=self._sae / self._values,
            sqnr_db=_decibels(self._power, self._sse),
            psnr_db=_decibels(peak * peak, mse),
            peak=peak,
        )


def _decibels(power: float, noise: float) -> float:
    """10·log10(power / noise); infinite without noise, −∞ without power."""
    if noise == 0:
        return math.inf
    return 10 * (math.log10(power) - math.log10(noise)) if power > 0 else -math.inf
