"""What training takes of a model's preprocessing: colour, resizing and crop when images are decoded, the scale later.

Images are kept as bytes, so that resizing and cropping come first and normalisation with every batch.
"""

from __future__ import annotations

from dataclasses import replace

from enxuto.data import Preprocess

__all__ = ["pixel_scale", "with_resize", "without_scale"]


def without_scale(preprocess: Preprocess) -> Preprocess:
    """Its colour, resizing and crop alone: pixels stay 0…255, (C, H, W)."""
    return replace(preprocess, divide_by=1.0, mean=(0.0,), std=(1.0,), layout="NCHW")


def pixel_scale(preprocess: Preprocess, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Its mean and std for pixels divided by 255, a value a channel."""
    factor = preprocess.divide_by / 255
    mean, std = (
        tuple(value * factor for value in (values * channels if len(values) == 1 else values))
        for values in (preprocess.mean, preprocess.std)
    )
    return mean, std


def with_resize(preprocess: Preprocess | None, size: tuple[int, int] | None) -> Preprocess | None:
    """The preprocessing with another resizing, to (height, width); as it is where `size` is None."""
    if size is None:
        return preprocess
    return Preprocess(resize=size) if preprocess is None else replace(preprocess, resize=size)
