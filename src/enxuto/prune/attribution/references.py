"""The images that a prediction is compared with: blurred copies, zeros, or the mean image of a data set.

DeepLIFT and conductance explain a difference of scores by the difference of an image from its reference. The source
blurs each image and gives no width; here the standard deviation is a sixteenth of the shorter side (2 pixels of 32),
which removes what a class is recognised by and keeps the colours where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from enxuto.errors import DataError, UsageError

__all__ = ["Reference", "blur", "blur_by", "constant_reference", "mean_image", "zero_reference"]

Reference = Callable[[Tensor], Tensor]
"""From images (batch, channels, height, width) to their references, of the same shape."""


def blur(images: Tensor) -> Tensor:
    """Return each image blurred by a Gaussian of a sixteenth of its shorter side."""
    return _blur(images, min(images.shape[-2:]) / 16)


def blur_by(sigma: float) -> Reference:
    """Return a reference that blurs by a Gaussian of standard deviation `sigma`, in pixels, above 0."""
    if not 0 < sigma < float("inf"):
        raise UsageError(f"blurred reference: sigma must be above 0 pixels, not {sigma}")
    return lambda images: _blur(images, sigma)


def zero_reference(images: Tensor) -> Tensor:
    """Return zeros: for normalised images, the mean colour everywhere."""
    return torch.zeros_like(images)


def constant_reference(image: Tensor) -> Reference:
    """Return a reference that is the same `image` (channels, height, width) for all, such as a `mean_image`."""
    return lambda images: image.to(images).expand_as(images)


def mean_image(batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the mean (channels, height, width) of all images of (images, labels) batches, summed in float64."""
    total: Tensor | None = None
    count = 0
    for images, _ in batches:
        part = images.sum(0, dtype=torch.float64)
        total = part if total is None else total + part
        count += len(images)
    if total is None or count == 0:
        raise DataError("mean image: no images were given", code="E043")
    return (total / count).float()


def _blur(images: Tensor, sigma: float) -> Tensor:
    """Rows, then columns, with a Gaussian cut at three deviations; edges repeat the outermost pixels."""
    radius = max(1, round(3 * sigma))
    positions = torch.arange(-radius, radius + 1, device=images.device, dtype=torch.float64)
    weights = torch.exp(-0.5 * (positions / sigma) ** 2)
    kernel = (weights / weights.sum()).to(images.dtype)
    channels = images.shape[1]
    wide = pad(images, (radius,) * 4, mode="replicate")
    rows = conv2d(wide, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return conv2d(rows, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
