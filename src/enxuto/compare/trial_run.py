"""How far apart the outputs of a model and of one made from it are, on the same few inputs.

Inputs are images, named arrays, or drawn at random by types and shapes. Random inputs show whether the second model
computes what the first does, not how well either answers. Not here: labels and what they count (`evaluation`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import ml_dtypes
import numpy as np

from enxuto.data import Dataset, Preprocess, plain_preprocess
from enxuto.data.samples import Samples
from enxuto.errors import DataError, UsageError
from enxuto.onnx_model import Model
from enxuto.onnx_model.inputs import InputInfo, as_input, check_shape
from enxuto.runtime import Runner

__all__ = ["OutputCheck", "TrialRun", "compare_outputs"]

_BATCH = 16
_UNRELATED = 1.0  # relative error of an output of zeros
_ALIKE = 0.1  # relative error of outputs that are alike at most: 20 dB
_MOSTLY = 0.75  # of the inputs: whose answers are the same where outputs are alike
_WHOLE = {
    "u1": (0, 256),
    "i1": (-128, 128),
}  # bytes are images and the like; wider integers mostly index tables


@dataclass(frozen=True)
class OutputCheck:
    """One output over all inputs.

    largest_error: of any value. relative_error: root of the sum of squared errors over that of squared outputs.
    agreement: for rows of numbers, the share of inputs with the largest one at the same place; for whole numbers, with
    equal ones; else None.
    All three are None for an output that is empty for all inputs.
    problem: what is wrong, None if nothing: another shape, NaN or infinities, or an error as large as the output.
    alike: whether the figures are those of a model that computes what the first does: a relative error of at most 0.1
    (20 dB), and the same answers for three quarters of the inputs or more. None where there are no figures.
    """

    name: str
    largest_error: float | None
    relative_error: float | None
    agreement: float | None
    problem: str | None

    @property
    def alike(self) -> bool | None:
        """Whether the figures say that both models compute the same; None without figures."""
        if self.problem is not None:
            return False
        known = [error <= _ALIKE for error in (self.relative_error,) if error is not None]
        known += [share >= _MOSTLY for share in (self.agreement,) if share is not None]
        return all(known) if known else None


@dataclass(frozen=True)
class TrialRun:
    """What came out: `inputs` were run, drawn by `seed` or of `data` (their hash)."""

    inputs: int
    seed: int
    data: str | None
    outputs: tuple[OutputCheck, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, one line an output."""
        return tuple(f"output {one.name!r} {one.problem}" for one in self.outputs if one.problem)

    @property
    def unlike(self) -> tuple[str, ...]:
        """The outputs whose figures do not say that both models compute the same."""
        return tuple(one.name for one in self.outputs if one.alike is False)

    @property
    def alike(self) -> bool:
        """Whether the figures say that both models compute the same: those of all outputs that have any."""
        return not self.unlike and any(one.alike for one in self.outputs)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe values."""
        return asdict(self)


def compare_outputs(
    original: Model,
    candidate: Model,
    inputs: int,
    *,
    images: Dataset | None = None,
    samples: Samples | None = None,
    preprocess: Preprocess | None = None,
    seed: int = 0,
    shape: Sequence[int] | None = None,
    threads: int = 0,
) -> TrialRun:
    """Run two models on the same inputs and compare every output.

    Args:
        original: the model that outputs are compared with.
        candidate: the model made from it.
        inputs: how many inputs.
        images: inputs from the front of this data set, through `preprocess`. Without it, inputs are random: standard
            normal numbers, any bytes, 0 and 1 for other integers, both truth values.
        samples: inputs from the front of named arrays.
        preprocess: of the images; what the input needs at least where None.
        seed: of random inputs.
        shape: sizes behind the first axis, for random inputs of models that leave them open.
        threads: of ONNX Runtime; 0: one a core.

    Raises:
        UsageError: fewer than 1 input.
        DataError: a model cannot run.
    """
    if inputs < 1:
        raise UsageError(f"at least 1 input must be run, not {inputs}")
    one, two = Runner(original, threads=threads), Runner(candidate, threads=threads)
    feeds: Iterator[tuple[int, dict[str, np.ndarray]]]
    if samples is not None:
        feeds = _sample_feeds(one, samples.head(inputs))
    elif images is not None:
        feeds = _image_feeds(one, images, preprocess, inputs)
    else:
        feeds = _random_feeds(one, inputs, seed, shape)
    given = samples if samples is not None else images
    collected: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in one.output_names}
    count = 0
    for batch, feed in feeds:
        first, second = _run(one, feed, given), two.values(feed, one.output_names)
        for name, a, b in zip(one.output_names, first, second, strict=True):
            collected[name].append((np.asarray(a), np.asarray(b)))
        count += batch
    outputs = tuple(_compare_output(name, pairs) for name, pairs in collected.items())
    return TrialRun(count, seed, None if given is None else given.hash, outputs)


def _run(runner: Runner, feed: dict[str, np.ndarray], given: Samples | Dataset | None) -> list[np.ndarray]:
    try:
        return runner.values(feed, runner.output_names)
    except DataError as error:
        if given is None:
            raise
        raise DataError(f"{given.path}: {error}", code=error.code) from error


def _sample_feeds(runner: Runner, samples: Samples) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Yield (number of samples, feeds): some at a time, or one where the model does not take several at once."""
    for group in samples.groups():
        size = _BATCH
        if group.count > 1:
            try:
                runner.values(next(group.parts(2)).feeds, runner.output_names)
            except DataError:  # a batch of one is in the graph, or an output has no row for each
                size = 1
        for part in group.parts(size):
            yield part.count, part.feeds


def _random_feeds(
    runner: Runner, inputs: int, seed: int, shape: Sequence[int] | None
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Yield (number of inputs, random batch); where a model fixes the batch size, the last batch is whole too."""
    rng = np.random.default_rng(seed)
    batch, whole = _batch_size(runner, inputs)
    for start in range(0, inputs, batch):
        count = batch if whole else min(batch, inputs - start)
        yield (
            count,
            {
                info.name: _random_values(rng, info, _input_shape(info, count, shape))
                for info in runner.inputs
            },
        )


def _batch_size(runner: Runner, inputs: int) -> tuple[int, bool]:
    """Inputs at a time, and whether the model leaves no choice (where its inputs disagree: one at a time)."""
    fixed = {info.shape[0] for info in runner.inputs if info.shape and info.shape[0]}
    if len(fixed) == 1:
        return next(size for size in fixed if size is not None), True
    return (1, False) if fixed else (min(inputs, _BATCH), False)


def _input_shape(info: InputInfo, batch: int, shape: Sequence[int] | None) -> list[int]:
    if not info.shape:
        return []
    behind = list(info.shape[1:])
    if shape is not None and len(shape) == len(behind):
        behind = [given if size is None else size for size, given in zip(behind, shape, strict=True)]
    first = batch if info.shape[0] is None else info.shape[0]
    if any(size is None for size in behind):
        raise DataError(
            f"input {info.name!r} leaves sizes open; give those behind the first by shape=, or give data=",
            code="E023",
        )
    return [first, *(int(size) for size in behind if size is not None)]


def _random_values(rng: np.random.Generator, info: InputInfo, sizes: Sequence[int]) -> np.ndarray:
    dtype = info.dtype
    if dtype.kind == "b":
        return rng.integers(0, 2, sizes).astype(dtype)
    if dtype.kind in "iu":
        low, high = _WHOLE.get(f"{dtype.kind}{dtype.itemsize}", (0, 2))
        return rng.integers(low, high, sizes).astype(dtype)
    if dtype.kind == "f" or dtype == ml_dtypes.bfloat16:
        return np.asarray(rng.standard_normal(sizes)).astype(dtype)
    raise DataError(
        f"input {info.name!r} is of type {dtype}, of which nothing can be drawn; give data=", code="E023"
    )


def _image_feeds(
    runner: Runner, images: Dataset, preprocess: Preprocess | None, inputs: int
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Batches of images; where the batch size is fixed, the last image is repeated to fill it."""
    if len(runner.inputs) != 1:
        raise DataError(
            f"the model has {len(runner.inputs)} inputs; images go into models with one", code="E044"
        )
    info = runner.inputs[0]
    preprocess = preprocess or plain_preprocess(info.shape, info.dtype.kind in "iu")
    wanted = min(inputs, len(images))
    batch, whole = _batch_size(runner, wanted)
    for start in range(0, wanted, batch):
        indices = [*range(start, min(wanted, start + batch))]
        filled = indices + indices[-1:] * (batch - len(indices) if whole else 0)
        values = preprocess.apply([images.image(index) for index in filled])
        check_shape(info, values.shape)
        yield len(indices), {info.name: as_input(info, values)}


def _compare_output(name: str, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> OutputCheck:
    """One output of all batches."""
    power = wrong = largest = 0.0
    same: list[np.ndarray] = []
    sizes = False
    for a, b in pairs:
        if a.shape != b.shape:
            return OutputCheck(
                name, None, None, None, f"has the shape {b.shape} where the original's is {a.shape}"
            )
        if not a.size:  # nothing that could differ
            continue
        is_image = a.dtype.kind in "iu" and a.dtype.itemsize == 1 and a.ndim > 2
        if (
            a.dtype.kind != "f" and a.dtype != ml_dtypes.bfloat16 and not is_image
        ):  # classes, places: no sizes
            equal = np.asarray(np.equal(a, b)).reshape(len(a) if a.ndim else 1, -1)
            same.append(np.asarray(equal.all(axis=1)))
            continue
        sizes = True
        x, y = a.astype(np.float64), b.astype(np.float64)
        usual = np.isfinite(x)
        if not np.isfinite(y[usual]).all():
            return OutputCheck(name, None, None, None, "has NaN or infinities where the original has numbers")
        error = (y - x)[usual]
        power, wrong = power + float((x[usual] ** 2).sum()), wrong + float((error**2).sum())
        largest = max(largest, float(np.abs(error).max(initial=0.0)))
        if x.ndim == 2 and x.shape[1] > 1:
            same.append(x.argmax(1) == y.argmax(1))
    agreement = float(np.concatenate(same).mean()) if same else None
    if not sizes:
        return OutputCheck(name, None, None, agreement, None)
    relative = math.sqrt(wrong / power) if power > 0 else (0.0 if wrong == 0 else math.inf)
    problem = None
    if relative >= _UNRELATED:
        problem = "has nothing of the original's: its error is as large as the output itself"
    return OutputCheck(name, largest, relative if math.isfinite(relative) else None, agreement, problem)
