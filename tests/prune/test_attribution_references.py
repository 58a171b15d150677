"""Reference images: a blur keeps the light and the constants, means are exact."""

from __future__ import annotations

import math

import pytest
import torch

from enxuto.errors import DataError, UsageError
from enxuto.prune.attribution.references import blur, blur_by, constant_reference, mean_image, zero_reference


def test_blur_is_a_gaussian_and_keeps_constants() -> None:
    constant = torch.full((2, 3, 16, 12), 1.5)
    torch.testing.assert_close(blur(constant), constant)
    spot = torch.zeros(1, 1, 41, 41)
    spot[0, 0, 20, 20] = 1.0
    spread = blur_by(2.0)(spot)[0, 0]
    assert float(spread.sum()) == pytest.approx(1.0, abs=1e-5)
    assert torch.equal(spread, spread.T)
    assert float(spread[20, 23] / spread[20, 20]) == pytest.approx(math.exp(-9 / 8), rel=1e-5)
    assert float(spread[20, 27]) == 0.0  # cut at three deviations


def test_blur_treats_images_and_channels_alone_and_by_size() -> None:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    whole = blur(images)
    torch.testing.assert_close(whole[1:, 2:], blur(images[1:, 2:]))
    torch.testing.assert_close(whole, blur_by(2.0)(images))
    assert float(whole.var()) < 0.1 * float(images.var())


def test_blur_wider_than_the_image() -> None:
    images = torch.randn(1, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(blur_by(5.0)(images)).all()


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf])
def test_widths_that_are_none_are_refused(sigma: float) -> None:
    with pytest.raises(UsageError, match="sigma"):
        blur_by(sigma)


def test_mean_image_weighs_images_not_batches() -> None:
    images = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 1, 2, 2)
    labels = torch.zeros(5, dtype=torch.long)
    mean = mean_image([(images[:4], labels[:4]), (images[4:], labels[4:])])
    assert torch.equal(mean, torch.full((1, 2, 2), 2.0))
    assert torch.equal(constant_reference(mean)(images), torch.full((5, 1, 2, 2), 2.0))
    assert torch.equal(zero_reference(images), torch.zeros(5, 1, 2, 2))
    with pytest.raises(DataError, match="E043"):
        mean_image([])
