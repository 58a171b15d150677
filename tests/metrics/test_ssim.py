"""Structural similarity beside SciPy's filters, and the errors of outputs that are images."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from enxuto.errors import DataError
from enxuto.metrics.signal import as_images, measure_output
from enxuto.metrics.ssim import ssim


def pair(noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    image = random.random((2, 3, 20, 24))
    return image, image + noise * random.standard_normal(image.shape)


def test_it_is_what_scipys_filters_give() -> None:
    one, other = pair()

    def blurred(image: np.ndarray) -> np.ndarray:
        return np.asarray(gaussian_filter(image, 1.5, truncate=3.5)[5:-5, 5:-5])

    found = []
    for x, y in zip(one.reshape(-1, 20, 24), other.reshape(-1, 20, 24), strict=True):
        mx, my, small = blurred(x), blurred(y), (0.01**2, 0.03**2)
        vx, vy, both = blurred(x * x) - mx * mx, blurred(y * y) - my * my, blurred(x * y) - mx * my
        above = (2 * mx * my + small[0]) * (2 * both + small[1])
        found.append((above / ((mx**2 + my**2 + small[0]) * (vx + vy + small[1]))).mean())
    assert ssim(one, other, 1.0) == pytest.approx(np.mean(found), rel=1e-12)
    assert ssim(one, one, 1.0) == pytest.approx(1)


@pytest.mark.parametrize(("one", "other"), [((10, 20), (10, 20)), ((20, 20), (20, 21)), ((20,), (20,))])
def test_what_is_no_pair_of_images(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="11 pixels a side"):
        ssim(np.zeros(one), np.zeros(other), 1.0)


@pytest.mark.parametrize(
    ("low", "high", "peak"),
    [(0, 1, 1), (-0.05, 1.04, 1), (0, 255, 255), (-3, 250, 255), (-1, 1, 2), (0, 4000, 4000)],
)
def test_the_peak_is_that_of_images(low: float, high: float, peak: float) -> None:
    image = np.linspace(low, high, 2 * 3 * 16 * 16).reshape(2, 3, 16, 16)
    found = measure_output([(image[:1], image[:1] + 0.01), (image[1:], image[1:] + 0.01)])
    assert found is not None
    assert found.figures.peak == pytest.approx(peak)
    assert found.figures.psnr_db == pytest.approx(10 * math.log10(peak**2 / 1e-4))
    assert found.ssim is not None


@pytest.mark.parametrize(
    ("shape", "images"),
    [((2, 3, 16, 12), True), ((2, 16, 12, 1), True), ((2, 3, 10, 16), False), ((2, 8, 16, 16), False),
     ((2, 16, 16), False), ((2, 3), False)],
)  # fmt: skip
def test_which_outputs_are_images(shape: tuple[int, ...], images: bool) -> None:
    found = as_images(np.zeros(shape))
    assert (found is not None) == images
    assert found is None or found.shape[1] in (1, 3)


def test_outputs_that_are_no_numbers_have_no_errors() -> None:
    one, other = pair()
    other[0, 0, 0, 0] = np.nan
    assert measure_output([(one, other)]) is None
    assert measure_output([(one, one[:, :2])]) is None
