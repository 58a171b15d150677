"""Images out of nothing, for calibrating without data: noise with the statistics that photographs share.

The power of natural images falls as about 1/f² with spatial frequency, their channels are strongly correlated, and
they have edges. Here a few random layers of coloured 1/f^a noise cover each other along random outlines; brightness
and contrast vary. Nothing is learnt from any data set.

Source: Field 1987 ("Relations between the statistics of natural images and the response properties of cortical
cells"); the "dead leaves" model of occlusion (Lee, Mumford & Huang 2001); Baradad et al. 2021 (arXiv:2106.05963),
who train networks on such images.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["smooth_noise", "synthetic_images"]

_LAYERS = 6
_MIXING = 0.35  # of each channel's own noise, beside what all channels share


def synthetic_images(
    count: int, height: int, width: int, channels: int, seed: int = 0
) -> npt.NDArray[np.uint8]:
    """Return images (count, height, width, channels), uint8; the same for the same arguments."""
    generator = np.random.default_rng(seed)
    made = np.empty((count, height, width, channels), np.uint8)
    for number in range(count):
        picture = _texture(generator, height, width, channels)
        for _ in range(generator.integers(1, _LAYERS)):
            outline = smooth_noise(generator, height, width, generator.uniform(2.0, 3.5))
            cover = outline > generator.normal(0, 0.7)
            picture[cover] = _texture(generator, height, width, channels)[cover]
        made[number] = np.clip(np.rint(255 * picture), 0, 255)
    return made


def _texture(
    generator: np.random.Generator, height: int, width: int, channels: int
) -> npt.NDArray[np.float64]:
    """Return one surface (h, w, c) around a random colour."""
    slope = generator.uniform(1.0, 2.2)
    shared = smooth_noise(generator, height, width, slope)
    own = np.stack([smooth_noise(generator, height, width, slope) for _ in range(channels)], axis=2)
    contrast = generator.uniform(0.03, 0.25)
    colour = generator.uniform(0.05, 0.95) + generator.normal(0, 0.1, channels)
    return np.asarray(colour + contrast * ((1 - _MIXING) * shared[:, :, None] + _MIXING * own))


def smooth_noise(
    generator: np.random.Generator, height: int, width: int, slope: float
) -> npt.NDArray[np.float64]:
    """Return noise (h, w) of mean 0 and variance 1 whose power falls as 1/f**slope; zeros where there is one place."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1.0
    amplitude = frequency ** (-slope / 2)
    amplitude[0, 0] = 0.0
    shape = amplitude.shape
    spectrum = amplitude * (generator.standard_normal(shape) + 1j * generator.standard_normal(shape))
    field = np.fft.irfft2(spectrum, s=(height, width))
    size = float(field.std())
    return np.asarray(field / size if size > 0 else field)
