"""Inputs out of nothing for a model of any kind, by the names, types and shapes of what it takes.

Images have four axes, with 1, 3 or 4 channels first or last. Sound is a long axis with nothing beside it. Other inputs
of three or four axes are spectra, smooth in both directions. Whole numbers are ids, some frequent and most rare (Zipf),
below the rows of the table that they point into. Masks are ones, segments zeros, positions count up, rates are 16,000 a
second. States are what the model gives after the samples before, zeros at first. All else are normalised features:
independent noise of variance 1. Sizes that are free are tried in turn until the model runs.

How wide the values of images are is written nowhere, unless a model carries its preprocessing. −1 … 1 is assumed, or
−127.5 … 127.5 where outputs hardly differ from one narrower image to the next.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from enxuto.calibration.output_losses import computed_outputs, listed_outputs
from enxuto.calibration.synthetic import smooth_noise, synthetic_images
from enxuto.data import Preprocess
from enxuto.data.samples import Group, Samples
from enxuto.errors import DataError, UsageError
from enxuto.onnx_model import Model, State, find_states, id_limits
from enxuto.onnx_model.inputs import InputInfo
from enxuto.runtime import Runner

__all__ = ["SyntheticInputs", "synthetic_inputs"]

_SIDES = ((128, 128), (48, 192), (224, 224), (32, 128), (64, 64), (28, 28), (256, 256), (320, 320))
_LENGTHS = (64, 576, 16000, 512, 1024, 32)
_CHANNELS = (1, 3, 4)
_LONG = 400  # a shorter axis holds features, not sound
_COUNTS = ((1 << 12, 16), (1 << 15, 8), (1 << 22, 4))  # samples, for so many values in one at most
_MANY = ((1 << 12, 64), (1 << 15, 16), (1 << 22, 4))  # the same, for a model that is run a few times only
_MOST = 1 << 22  # values in a sample
_TEXTS = 8  # of these where inputs are rows of ids, each of which all weights of a network work on
_BYTES = 256
_RATE = 16000
_HARMONICS = 20
_LOUDNESS = 0.1  # root mean square of sound, of full scale
_NARROW, _WIDE = 1.0, 127.5
_STATES = ("state", "states", "hidden", "cache", "memory")
_HARDLY = 0.02  # of the outputs' mean square: what differs between samples

Array = NDArray[Any]


@dataclass(frozen=True)
class SyntheticInputs:
    """Samples that a model runs on, and what they are, such as `'x': images (3, 48, 192), −1 … 1`."""

    samples: Samples
    description: str


def synthetic_inputs(
    model: Model, preprocess: Preprocess | None = None, *, seed: int = 0, threads: int = 0, many: bool = False
) -> SyntheticInputs:
    """Return synthetic inputs on which a model runs, the same for the same arguments.

    Args:
        model: the model.
        preprocess: what makes its input of pixels, where that is known.
        seed: of all noise.
        threads: of ONNX Runtime; 0 takes one per processor.
        many: other numbers of samples, for a model that is run a few times only: more of images, fewer of ids.

    Raises:
        UsageError: the model runs on none of the inputs tried, or gives no finite numbers.
        ModelError: ONNX Runtime cannot run the model at all.
    """
    measured = computed_outputs(model)
    if listed_outputs(measured):
        raise UsageError("its outputs are no tensors", code="E032")
    runner = Runner(measured, threads=threads)
    states, failure = find_states(model), "its outputs are not finite numbers"
    for sides, length in _free_sizes([item for item in runner.inputs if item.name not in states]):
        maker = _Maker(sides, length, id_limits(model), preprocess, seed, _MANY if many else _COUNTS, states)
        try:
            made = _with_states(runner, maker.make(runner.inputs, _NARROW), states)
            spread = _spread(runner, made.samples)
            if spread < _HARDLY and maker.guesses_width(runner.inputs):
                wide = maker.make(runner.inputs, _WIDE)
                made = wide if _spread(runner, wide.samples) > 2 * spread else made
        except (DataError, UsageError) as error:
            failure = str(error)
            continue
        if np.isfinite(spread):
            return made
    raise UsageError(f"the model runs on no synthetic inputs that were tried: {failure}", code="E032")


def _free_sizes(inputs: Sequence[InputInfo]) -> Iterator[tuple[tuple[int, int], int]]:
    """Yield heights and widths, and lengths, to try for sizes that are not fixed."""
    free = {len(item.shape) for item in inputs if None in item.shape[1:]}
    pictures = _SIDES if free & {4, 5} else _SIDES[:1]
    lengths = _LENGTHS if free & {2, 3} else _LENGTHS[:1]
    for sides in pictures:
        for length in lengths:
            yield sides, length


@dataclass
class _Maker:
    """Makes the arrays of all inputs, with one choice of the sizes that are free."""

    sides: tuple[int, int]
    length: int
    limits: Mapping[str, int]
    preprocess: Preprocess | None
    seed: int
    counts: Sequence[tuple[int, int]]
    states: Mapping[str, State]
    generator: np.random.Generator = field(init=False)
    told: list[str] = field(default_factory=list)

    def make(self, inputs: Sequence[InputInfo], width: float) -> SyntheticInputs:
        """Return samples of all inputs; width: the largest value of images."""
        self.generator, self.told = np.random.default_rng(self.seed), []
        stacked = len(inputs) == 1 or all(item.shape and item.shape[0] is None for item in inputs)
        sizes = [self._size(item) for item in inputs]
        if sum(sizes) > _MOST:
            raise UsageError(f"its inputs have {sum(sizes):,} values, which takes too long", code="E032")
        values = sum(self._sample(item, width).size for item in inputs)
        count = next(count for most, count in self.counts if values <= most)
        ids = any(_is_row_of_ids(item) and size > 1 for item, size in zip(inputs, sizes, strict=True))
        if self.counts is _MANY and ids:
            count = min(count, _TEXTS)
        columns: dict[str, Array | list[Array]] = {}
        for item in inputs:
            rows = [self._sample(item, width).astype(item.dtype) for _ in range(count)]
            columns[item.name] = np.concatenate(rows) if stacked and item.shape else rows
        described = "; ".join(dict.fromkeys(self.told))
        return SyntheticInputs(Samples(columns, "synthetic inputs", stacked), described)

    def guesses_width(self, inputs: Sequence[InputInfo]) -> bool:
        """Say whether an input takes images as real numbers whose range nothing tells."""
        return self.preprocess is None and any(_channel_axis(item) and _is_float(item) for item in inputs)

    def _sample(self, item: InputInfo, width: float) -> Array:
        """Return one sample of an input, with the axis of samples if the input has one."""
        if item.name in self.states:
            zeros = self.states[item.name].zeros()
            self._tell(item, "states", zeros.shape)
            return zeros
        axis = _channel_axis(item)
        if axis is not None:
            return self._picture(item, axis, width)
        shape = self._shape(item)
        what, values = self._floats(item, shape) if _is_float(item) else self._whole_numbers(item, shape)
        self._tell(item, what, shape)
        return values

    def _tell(self, item: InputInfo, what: str, shape: Sequence[int]) -> None:
        sizes = f" ({', '.join(map(str, shape[1:]))})" if len(shape) > 1 else ""
        self.told.append(f"{item.name!r}: {what}{sizes}")

    def _shape(self, item: InputInfo) -> tuple[int, ...]:
        """Return the shape of one sample: 1 along the first axis, and where a state has a free size."""
        if not item.shape:
            return ()
        free = 1 if _named(item, *_STATES) else self.length
        sizes = [free if size is None else size for size in item.shape]
        if item.shape[0] is None or len(item.shape) == 1 or item.shape[0] == 1:
            sizes[0] = 1 if item.shape[0] in (None, 1) else sizes[0]
        return tuple(sizes)

    def _size(self, item: InputInfo) -> int:
        """Return how many values a sample of an input has."""
        axis = _channel_axis(item)
        if item.name in self.states:
            return math.prod(self.states[item.name].shape)
        if axis is None:
            return math.prod(self._shape(item))
        return math.prod(self._picture_sides(item)) * (item.shape[axis] or 3)

    def _picture_sides(self, item: InputInfo) -> tuple[int, int]:
        sides = item.shape[2:] if _channel_axis(item) == 1 else item.shape[1:3]
        return sides[0] or self.sides[0], sides[1] or self.sides[1]

    def _picture(self, item: InputInfo, axis: int, width: float) -> Array:
        height, across = self._picture_sides(item)
        channels = item.shape[axis] or 3
        pixels = synthetic_images(1, height, across, channels, int(self.generator.integers(1 << 31)))
        if not _is_float(item):
            self.told.append(f"{item.name!r}: images ({channels}, {height}, {across}), 0 … 255")
            made: Array = pixels
        elif (
            self.preprocess is not None and self.preprocess.output_shape()[0 if axis == 1 else 2] == channels
        ):
            self.told.append(f"{item.name!r}: images ({channels}, {height}, {across}), preprocessed")
            return self.preprocess.to_batch(list(pixels))
        else:
            self.told.append(
                f"{item.name!r}: images ({channels}, {height}, {across}), −{width:g} … {width:g}"
            )
            made = (pixels.astype(np.float32) / np.float32(127.5) - 1) * np.float32(width)
        return np.ascontiguousarray(np.moveaxis(made, 3, 1)) if axis == 1 else made

    def _floats(self, item: InputInfo, shape: tuple[int, ...]) -> tuple[str, Array]:
        longer = [size for size in shape[1:] if size > 1]
        if _named(item, *_STATES):
            return "states", np.zeros(shape)
        if _named(item, "mask"):
            return "ones", np.ones(shape)
        if (
            len(longer) == 1
            and len(shape) < 4
            and (longer[0] >= _LONG or (_named(item, "audio", "wave", "sound", "speech", "pcm", "signal")))
        ):
            return "sound", self._sound(longer[0]).reshape(shape)
        if len(longer) > 1:
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
        most = self.limits.get(item.name, _BYTES)
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


def _spread(runner: Runner, samples: Samples) -> float:
    """Return the share of outputs' mean square that differs from sample to sample, NaN where values are not finite."""
    pieces: list[list[Array]] = [runner.values(part.feeds, runner.output_names) for part in _parts(samples)]
    largest = 0.0
    for number in range(len(runner.output_names)):
        outputs = [piece[number] for piece in pieces]
        if outputs[0].dtype.kind not in "fV":
            largest = max(largest, _HARDLY)  # whole numbers tell nothing
            continue
        whole = [np.asarray(one, np.float64) for one in outputs]
        if not all(np.isfinite(one).all() or np.isneginf(one).any() for one in whole):
            return float("nan")
        if len({one.size for one in whole}) > 1:
            return 1.0
        if not whole[0].size:
            continue
        rows = np.stack([one.reshape(-1) for one in whole])
        if rows.shape[1] > 1:
            rows = rows - rows.mean(axis=1, keepdims=True)
        power = float(np.mean(rows**2))
        largest = max(largest, float(rows.var(axis=0).mean()) / power if power > 0 else 0.0)
    return largest


def _with_states(runner: Runner, made: SyntheticInputs, states: Mapping[str, State]) -> SyntheticInputs:
    """Return samples whose states are those that the model gives after the samples before, from zeros on."""
    if not states or made.samples.stacked:
        return made
    columns = {name: list(column) for name, column in made.samples.columns.items()}
    feeds = {name: np.zeros_like(columns[name][0]) for name in states}
    for index in range(len(made.samples)):
        for name, state in feeds.items():
            columns[name][index] = state
        left = dict(
            zip(
                runner.output_names,
                runner.run({name: column[index] for name, column in columns.items()}),
                strict=True,
            )
        )
        for name, state in feeds.items():
            given = [one for one in states[name].outputs if one in left and left[one].shape == state.shape]
            if given:
                feeds[name] = left.pop(given[0]).astype(state.dtype)
    return replace(made, samples=replace(made.samples, columns=columns, _digests={}))


def _parts(samples: Samples) -> Iterator[Group]:
    for group in samples.groups():
        yield from group.parts(1)


def _channel_axis(item: InputInfo) -> int | None:
    """Return the axis of an image's channels; None for what is no image."""
    if len(item.shape) != 4 or _named(item, "mel", "fbank", "spectrogram", "feature", "features", "cache"):
        return None
    if item.shape[1] in _CHANNELS:
        return 1
    return 3 if item.shape[3] in _CHANNELS else None


def _is_row_of_ids(item: InputInfo) -> bool:
    return not _is_float(item) and _channel_axis(item) is None


def _is_float(item: InputInfo) -> bool:
    return item.dtype.kind == "f" or item.dtype == ml_dtypes.bfloat16


def _named(item: InputInfo, *words: str) -> bool:
    """Say whether a word is a part of an input's name."""
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", item.name)
    return any(part.lower() in words for part in parts)
