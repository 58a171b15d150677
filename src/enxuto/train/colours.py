"""Rotation of images, and shifts of their colours along those in which the training images differ most.

Sources: colours, A. Krizhevsky et al. 2012, "ImageNet classification with deep convolutional neural networks",
section 4.1, second form of augmentation: to every pixel of an image Σ pᵢ·αᵢ·λᵢ is added, with the eigenvectors pᵢ and
eigenvalues λᵢ of the covariance of RGB values over all pixels of the training images, and αᵢ ~ N(0, 0.1²) drawn for
each use of an image. The paper does not say in which unit: here values are scaled to 0…1, and nothing is cut off.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

__all__ = ["principal_colours", "rotate"]

_AT_ONCE = 4096  # images


def principal_colours(images: Tensor) -> tuple[tuple[float, ...], ...]:
    """Eigenvalue times eigenvector of the covariance of channels over all pixels, largest first.

    images: uint8 (N, C, H, W); values are scaled to 0…1. Returns C vectors of C numbers. The sums are exact, so the
    order of images and the device change nothing; the largest component of each vector is positive.
    """
    channels = images.shape[1]
    total, products = np.zeros(channels), np.zeros((channels, channels))
    for part in torch.split(images, _AT_ONCE):
        values = part.transpose(0, 1).reshape(channels, -1).double()
        total += values.sum(dim=1).cpu().numpy()
        products += (values @ values.T).cpu().numpy()
    count = images.numel() // channels
    mean = total / count
    covariance = (products / count - np.outer(mean, mean)) / 255**2
    sizes, vectors = np.linalg.eigh(covariance)
    found = []
    for value, vector in zip(sizes[::-1], vectors.T[::-1], strict=True):
        sign = np.sign(vector[np.abs(vector).argmax()]) or 1.0
        found.append(tuple(float(part) for part in max(value, 0.0) * sign * vector))
    return tuple(found)


def rotate(images: Tensor, angles: Tensor) -> Tensor:
    """Turn each image about its centre, counter-clockwise by its angle in radians; what was outside is black.

    images: (N, C, H, W), any dtype; angles: (N,). Values are bilinear, float32, of the same shape.
    """
    height, width = images.shape[2:]
    cosine, sine = angles.cos()[:, None, None], angles.sin()[:, None, None]
    down = (torch.arange(height, device=images.device) - (height - 1) / 2)[None, :, None]
    across = (torch.arange(width, device=images.device) - (width - 1) / 2)[None, None, :]
    # Where each pixel of the result comes from, in pixels from the centre; then in the units of grid_sample.
    column, row = cosine * across - sine * down, sine * across + cosine * down
    grid = torch.stack((2 * column / width, 2 * row / height), dim=3).to(torch.float32)
    return grid_sample(images.to(torch.float32), grid, "bilinear", "zeros", align_corners=False)
