"""Receptive fields: how much of the image one place of a plane can see, and how far apart places are.

A window of size F, stride S and dilation d on a field of size r and stride j gives r + d·(F − 1)·j and j·S.
Where branches meet, the larger size and stride count. These are the theoretical fields: padding counts as image,
so a field can be larger than the image.

Source: A. Araujo, W. Norris, J. Sim, "Computing receptive fields of convolutional neural networks", Distill, 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

__all__ = ["Reach"]


@dataclass(frozen=True)
class Reach:
    """Field `size` and `stride` on the image in pixels, by axis, of the values spread over a `plane`."""

    size: tuple[int, ...]
    stride: tuple[Fraction, ...]
    plane: tuple[int, ...]

    @classmethod
    def of_image(cls, plane: Sequence[int]) -> Reach:
        """The field of the input itself: each place sees itself."""
        axes = len(plane)
        return cls((1,) * axes, (Fraction(1),) * axes, tuple(plane))

    def window(
        self, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], plane: Sequence[int]
    ) -> Reach:
        """Behind a convolution or pool; `plane` is the one it writes.

        Axes in front of the plane (a pool over channels has one) do not matter; with fewer, all is seen.
        """
        axes = len(self.size)
        if len(kernel) < axes:
            return self.whole()
        if not axes:  # an image without a plane, such as sound of one channel, or a row of features
            return self
        if len(plane) < axes:  # not known; it is no larger than the one before
            plane = self.plane
        kernel, stride, dilation, plane = (list(item)[-axes:] for item in (kernel, stride, dilation, plane))
        size = (
            int(r + d * (f - 1) * j)
            for r, j, f, d in zip(self.size, self.stride, kernel, dilation, strict=True)
        )
        return Reach(
            tuple(size), tuple(j * s for j, s in zip(self.stride, stride, strict=True)), tuple(plane)
        )

    def upsample(self, kernel: Sequence[int], factor: Sequence[int], plane: Sequence[int]) -> Reach:
        """Behind a transposed convolution: a place of it reads at most ⌈F/S⌉ places before it."""
        if len(kernel) != len(self.size):
            return self.whole()
        if len(plane) != len(self.size):  # not known
            plane = [int(n * f) for n, f in zip(self.plane, factor, strict=True)]
        size = (
            int(r + (ceil(f / s) - 1) * j)
            for r, j, f, s in zip(self.size, self.stride, kernel, factor, strict=True)
        )
        return Reach(
            tuple(size), tuple(j / s for j, s in zip(self.stride, factor, strict=True)), tuple(plane)
        )

    def whole(self) -> Reach:
        """Behind an operator that reads the whole plane: a fully connected layer, a global pool."""
        size = (int(r + (n - 1) * j) for r, j, n in zip(self.size, self.stride, self.plane, strict=True))
        return Reach(tuple(size), self.stride, (1,) * len(self.plane))

    def merge(self, other: Reach) -> Reach:
        """Where two branches meet: the larger of both, axis by axis."""
        if len(self.size) != len(other.size):
            return self if len(self.size) > len(other.size) else other
        return Reach(
            tuple(map(max, self.size, other.size)),
            tuple(map(max, self.stride, other.stride)),
            tuple(map(max, self.plane, other.plane)),
        )
