"""Structural similarity of images (Wang, Bovik, Sheikh & Simoncelli 2004, "Image quality assessment", eq. 13)."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from enxuto.errors import DataError

__all__ = ["SSIM_WINDOW", "ssim"]

SSIM_WINDOW = 11
"""Pixels of a side of the window; images are at least as large."""

_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03

Float64 = NDArray[np.float64]


def ssim(reference: NDArray[np.floating], image: NDArray[np.floating], peak: float) -> float:
    """Return the mean structural similarity, 1 for equal images.

    Args:
        reference, image: arrays (…, H, W); the mean is over all windows that lie within.
        peak: the range of values, such as 255 or 1.

    Raises:
        DataError: shapes differ, or sides are shorter than the window.
    """
    one, other = np.asarray(reference, np.float64), np.asarray(image, np.float64)
    if one.shape != other.shape or one.ndim < 2 or min(one.shape[-2:]) < SSIM_WINDOW:
        raise DataError(f"structural similarity needs two images of {SSIM_WINDOW} pixels a side or more")
    small = (_K1 * peak) ** 2, (_K2 * peak) ** 2
    means = _blur(one), _blur(other)
    variances = _blur(one * one) - means[0] ** 2, _blur(other * other) - means[1] ** 2
    covariance = _blur(one * other) - means[0] * means[1]
    above = (2 * means[0] * means[1] + small[0]) * (2 * covariance + small[1])
    below = (means[0] ** 2 + means[1] ** 2 + small[0]) * (variances[0] + variances[1] + small[1])
    return float(np.mean(above / below))


def _blur(image: Float64) -> Float64:
    """Return Gaussian means over windows, (…, H − 10, W − 10)."""
    places = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    weights = np.exp(-(places**2) / (2 * _SIGMA**2))
    weights /= weights.sum()
    rows = sliding_window_view(image, SSIM_WINDOW, axis=-1) @ weights
    return np.asarray(sliding_window_view(rows, SSIM_WINDOW, axis=-2) @ weights, np.float64)
