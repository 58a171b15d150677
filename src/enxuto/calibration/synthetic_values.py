"""What an input is filled with, by its name, type, shape, and what the graph does with it (see `synthetic_inputs`)."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from enxuto.calibration.synthetic import smooth_noise, synthetic_images
from enxuto.data import Preprocess
from enxuto.data.samples import Samples
from enxuto.errors import UsageError
from enxuto.onnx_model import IdInputs, State
from enxuto.onnx_model.inputs import InputInfo

__all__ = [
    "MANY",
    "NARROW",
    "USUAL",
    "WIDE",
    "Maker",
    "SyntheticInputs",
    "Way",
    "begins_as_zeros",
    "channel_axis",
    "holds_few",
    "is_float",
]

NARROW, WIDE = 1.0, 127.5
USUAL = ((1 << 12, 16), (1 << 15, 8), (1 << 22, 4))
"""How many samples, for so many values in one at most."""
MANY = ((1 << 12, 64), (1 << 15, 16), (1 << 22, 4))
"""The same, for a model that is run a few times only."""

_CHANNELS = (1, 3, 4)
_LONG = 400  # a shorter axis holds features, not sound
_MOST = 1 << 22  # values in a sample
_TEXTS = 8  # samples of rows of ids, each of which all weights of a network work on
_BYTES = 256
_RATE = 16000
_HARMONICS = 20
_LOUDNESS = 0.1  # root mean square of sound, of full scale
_STATES = ("state", "states", "hidden", "cache", "memory")
_FEW = 4  # values of a sample that may be a time, a scale or the like

Array = NDArray[Any]


@dataclass(frozen=True)
class SyntheticInputs:
    """Samples that a model runs on, and what they are, such as `'x': images (3, 48, 192), −1 … 1`."""

    samples: Samples
    description: str


@dataclass(frozen=True)
class Way:
    """One way to fill inputs.

    ids: which inputs are ids and masks. below: where it is given, the number that ids stay below whose table is not
    known. every: whether the others stay below it too. positive: which real numbers lie from 0 to 1: none (""), the
    `few` of inputs that hold hardly any, or `all`. rows: whether the first axes of inputs are sizes of one sample,
    not samples. turned: whether masks of yes and no are no everywhere, as those are that tell what to leave out.
    is_second: whether it is tried only where others fail.
    """

    ids: IdInputs
    below: int | None = None
    every: bool = False
    positive: str = ""
    rows: bool = False
    turned: bool = False
    is_second: bool = False


@dataclass
class Maker:
    """Makes the arrays of all inputs, with one choice of the sizes that are free.

    beside: inputs that are called like states, and have an open size in common with one that is not.
    """

    sides: tuple[int, int]
    length: int
    way: Way
    preprocess: Preprocess | None
    seed: int
    counts: Sequence[tuple[int, int]]
    states: Mapping[str, State]
    beside: Collection[str] = ()
    generator: np.random.Generator = field(init=False)
    told: list[str] = field(default_factory=list)

    def make(self, inputs: Sequence[InputInfo], width: float) -> SyntheticInputs:
        """Return samples of all inputs; width: the largest value of images."""
        self.generator, self.told = np.random.default_rng(self.seed), []
        first = len(inputs) == 1 or all(item.shape and item.shape[0] is None for item in inputs)
        stacked = first and not self.way.rows
        sizes = [self._size(item) for item in inputs]
        if sum(sizes) > _MOST:
            raise UsageError(f"its inputs have {sum(sizes):,} values, which takes too long", code="E032")
        values = sum(self._sample(item, width).size for item in inputs)
        count = next(count for most, count in self.counts if values <= most)
        ids = any(_is_row_of_ids(item) and size > 1 for item, size in zip(inputs, sizes, strict=True))
        if self.counts is MANY and ids:
            count = min(count, _TEXTS)
        columns: dict[str, Array | list[Array]] = {}
        for item in inputs:
            rows = [self._sample(item, width).astype(item.dtype) for _ in range(count)]
            columns[item.name] = np.concatenate(rows) if stacked and item.shape else rows
        described = "; ".join(dict.fromkeys(self.told))
        return SyntheticInputs(Samples(columns, "synthetic inputs", stacked), described)

    def guesses_width(self, inputs: Sequence[InputInfo]) -> bool:
        """Say whether an input takes images as real numbers whose range nothing tells."""
        return self.preprocess is None and any(channel_axis(item) and is_float(item) for item in inputs)

    def _sample(self, item: InputInfo, width: float) -> Array:
        """Return one sample of an input, with the axis of samples if the input has one."""
        if item.name in self.states:
            zeros = self.states[item.name].zeros()
            self._tell(item, "states", zeros.shape)
            return zeros
        axis = channel_axis(item)
        if axis is not None:
            return self._picture(item, axis, width)
        shape = self._shape(item)
        if item.name in self.way.ids.real:
            what, values = self._ids(item, shape)
        else:
            what, values = self._floats(item, shape) if is_float(item) else self._whole_numbers(item, shape)
        self._tell(item, what, shape)
        return values

    def _tell(self, item: InputInfo, what: str, shape: Sequence[int]) -> None:
        told = shape if self.way.rows else shape[1:]
        sizes = f" ({', '.join(map(str, told))})" if told else ""
        self.told.append(f"{item.name!r}: {what}{sizes}")

    def _shape(self, item: InputInfo) -> tuple[int, ...]:
        """Return the shape of one sample: 1 along the first axis, and where a state has a free size."""
        if not item.shape:
            return ()
        free = 1 if self._is_state(item) else self.length
        sizes = [free if size is None else size for size in item.shape]
        if self.way.rows:
            return tuple(sizes)
        if item.shape[0] is None or len(item.shape) == 1 or item.shape[0] == 1:
            sizes[0] = 1 if item.shape[0] in (None, 1) else sizes[0]
        return tuple(sizes)

    def _is_state(self, item: InputInfo) -> bool:
        return begins_as_zeros(item.name) and item.name not in self.beside

    def _size(self, item: InputInfo) -> int:
        """Return how many values a sample of an input has."""
        axis = channel_axis(item)
        if item.name in self.states:
            return math.prod(self.states[item.name].shape)
        if axis is None:
            return math.prod(self._shape(item))
        return math.prod(self._picture_sides(item)) * (item.shape[axis] or 3)

    def _picture_sides(self, item: InputInfo) -> tuple[int, int]:
        sides = item.shape[2:] if channel_axis(item) == 1 else item.shape[1:3]
        return sides[0] or self.sides[0], sides[1] or self.sides[1]

    def _picture(self, item: InputInfo, axis: int, width: float) -> Array:
        height, across = self._picture_sides(item)
        channels = item.shape[axis] or 3
        pixels = synthetic_images(1, height, across, channels, int(self.generator.integers(1 << 31)))
        if not is_float(item):
            self.told.append(f"{item.name!r}: images ({channels}, {height}, {across}), 0 … 255")
            made: Array = pixels
        elif (
            self.preprocess is not None and self.preprocess.output_shape()[0 if axis == 1 else 2] == channels
        ):
            self.told.append(f"{item.name!r}: images ({channels}, {height}, {across}), preprocessed")
            return self.preprocess.to_batch(list(pixels))
        elif self.way.positive == "all":
            self.told.append(f"{item.name!r}: images ({channels}, {height}, {across}), 0 … 1")
            made = pixels.astype(np.float32) / np.float32(255)
        else:
            self.told.append(
                f"{item.name!r}: images ({channels}, {height}, {across}), −{width:g} … {width:g}"
            )
            made = (pixels.astype(np.float32) / np.float32(127.5) - 1) * np.float32(width)
        return np.ascontiguousarray(np.moveaxis(made, 3, 1)) if axis == 1 else made

    def _floats(self, item: InputInfo, shape: tuple[int, ...]) -> tuple[str, Array]:
        longer = [size for size in shape[1:] if size > 1]
        if self._is_state(item):
            return "states", np.zeros(shape)
        if _named(item, "mask"):
            return "ones", np.ones(shape)
        if self.way.positive == "all" or (self.way.positive and holds_few(item)):
            return "numbers from 0 to 1", self.generator.random(shape)
        if (
            len(longer) == 1
            and len(shape) < 4
            and shape[0] == 1
            and (longer[0] >= _LONG or (_named(item, "audio", "wave", "sound", "speech", "pcm", "signal")))
        ):
            return "sound", self._sound(longer[0]).reshape(shape)
        if len(longer) > 1 or (longer and longer[0] >= _LONG):
            planes = int(np.prod(shape[:-2]))
            made = [
                smooth_noise(self.generator, shape[-2], shape[-1], self.generator.uniform(0.5, 1.5))
                for _ in range(planes)
            ]
            return "spectra", np.stack(made).reshape(shape)
        return "normalised features", self.generator.standard_normal(shape)

    def _sound(self, length: int) -> Array:
        """Return a voice in noise (length,): from clean to hardly heard, with pauses."""
        colour = self.generator.uniform(0.0, 2.0)
        noise = smooth_noise(self.generator, 1, length, colour)[0]
        voice = _voice(self.generator, length) * np.exp(smooth_noise(self.generator, 1, length, 2.0)[0])
        loudest = 10 ** (self.generator.uniform(-10, 40) / 20)  # of the voice over the noise
        made = loudest * voice / max(float(voice.std()), 1e-9) + noise
        return np.asarray(_LOUDNESS * made / max(float(made.std()), 1e-9))

    def _whole_numbers(self, item: InputInfo, shape: tuple[int, ...]) -> tuple[str, Array]:
        if item.dtype.kind == "b" and self.way.turned:
            return "zeros", np.zeros(shape)
        if item.dtype.kind == "b" or _named(item, "mask"):
            return "ones", np.ones(shape)
        if _named(item, "rate") or item.name.lower() in ("sr", "fs"):
            return f"{_RATE:,} samples a second", np.full(shape, _RATE)
        if _named(item, "len", "lengths", "length", "size"):
            return "lengths", np.full(shape, self.length)
        if _named(item, "type", "segment"):
            return "zeros", np.zeros(shape)
        if _named(item, "position", "positions"):
            return "positions", np.broadcast_to(np.arange(shape[-1] if shape else 1), shape or (1,))
        if item.name in self.way.ids.masks:
            return "ones", np.ones(shape)
        return self._ids(item, shape)

    def _ids(self, item: InputInfo, shape: tuple[int, ...]) -> tuple[str, Array]:
        """Return ids, some frequent and most rare."""
        ids, below = self.way.ids, self.way.below
        known = ids.limits if item.name in ids.real else ids.exact
        most = known.get(item.name, min(_BYTES, ids.limits.get(item.name, _BYTES)))
        if below is not None and (self.way.every or item.name not in ids.limits):
            most = min(most, below)
        if most == 1:
            return "zeros", np.zeros(shape)
        odds = 1 / (1.0 + np.arange(most))
        order = self.generator.permutation(most)
        chosen = self.generator.choice(most, shape, p=odds / odds.sum())
        return f"ids below {most:,}", order[chosen]


def _voice(generator: np.random.Generator, length: int) -> Array:
    """Return harmonics (length,) of a wandering pitch, in two syllables a second."""
    seconds = np.arange(length) / _RATE
    knots = np.arange(0, seconds[-1] + 0.25, 0.25)
    wander = np.interp(seconds, knots, generator.normal(0, 0.2, len(knots)))
    phase = 2 * np.pi * np.cumsum(generator.uniform(90, 250) * 2**wander) / _RATE
    slope, turn, start = (
        generator.uniform(0.5, 1.5),
        generator.uniform(0, 6.3, _HARMONICS),
        generator.uniform(0, 6.3),
    )
    tones = sum((1 + n) ** -slope * np.sin((1 + n) * phase + turn[n]) for n in range(_HARMONICS))
    return np.asarray(tones * np.clip(np.sin(4 * np.pi * seconds + start) + 0.5, 0, 1))


def channel_axis(item: InputInfo) -> int | None:
    """Return the axis of an image's channels; None for what is no image."""
    if len(item.shape) != 4 or _named(item, "mel", "fbank", "spectrogram", "feature", "features", "cache"):
        return None
    if item.shape[1] in _CHANNELS:
        return 1
    return 3 if item.shape[3] in _CHANNELS else None


def holds_few(item: InputInfo) -> bool:
    """Say whether a sample of an input has hardly any values: a time, a scale or the like."""
    sizes = item.shape[1:]
    return math.prod(size or _FEW + 1 for size in sizes) <= _FEW


def _is_row_of_ids(item: InputInfo) -> bool:
    return not is_float(item) and channel_axis(item) is None


def is_float(item: InputInfo) -> bool:
    """Say whether an input takes real numbers, of whatever width."""
    return item.dtype.kind == "f" or item.dtype == ml_dtypes.bfloat16


def begins_as_zeros(name: str) -> bool:
    """Say whether an input begins as zeros, by its name: states do, and what is kept from step to step."""
    return _has_word(name, _STATES)


def _named(item: InputInfo, *words: str) -> bool:
    """Say whether a word is a part of an input's name."""
    return _has_word(item.name, words)


def _has_word(name: str, words: Collection[str]) -> bool:
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    return any(part.lower() in words for part in parts)
