"""A model and what was made of it, run on the same few inputs: how far apart their outputs are.

Inputs are images, or drawn at random by the inputs' types and shapes. Random inputs show whether the second model
computes what the first does, not how well either answers. Not here: labels and what they count (`evaluation`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import ml_dtypes
import numpy as np

from enxuto.data import Dataset, Preprocess
from enxuto.errors import DataError, UsageError
from enxuto.onnx_model import Model
from enxuto.runtime import InputInfo, Runner, check_shape

__all__ = ["OutputCheck", "TrialRun", "run_both"]

_BATCH = 16
_UNRELATED = 1.0  # relative error of an output of zeros
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
    problem: what is wrong, None if nothing: another shape, NaN or infinities, or an error as large as the output.
    """

    name: str
    largest_error: float | None
    relative_error: float | None
    agreement: float | None
    problem: str | None


@dataclass(frozen=True)
class TrialRun:
    """What came out: `inputs` were run, drawn by `seed` or the images of `data` (their hash)."""

    inputs: int
    seed: int
    data: str | None
    outputs: tuple[OutputCheck, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, one line an output."""
        return tuple(f"output {one.name!r} {one.problem}" for one in self.outputs if one.problem)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe values."""
        return asdict(self)


def run_both(
    original: Model,
    made: Model,
    inputs: int,
    *,
    images: Dataset | None = None,
    preprocess: Preprocess | None = None,
    seed: int = 0,
    shape: Sequence[int] | None = None,
    threads: int = 0,
) -> TrialRun:
    """Run two models on `inputs` inputs and compare every output.

    images: taken from the front, through `preprocess`; else standard normal numbers (bytes: any, other integers: 0 and
    1, truth values: both), and `shape` says the sizes behind the first of inputs that leave them open.
    Raises `UsageError` for fewer than 1 input, `DataError` where a model cannot run.
    """
    if inputs < 1:
        raise UsageError(f"at least 1 input must be run, not {inputs}")
    one, two = Runner(original, threads=threads), Runner(made, threads=threads)
    feeds = (
        _random(one, inputs, seed, shape)
        if images is None
        else _of_images(one, images, preprocess or Preprocess(), inputs)
    )
    collected: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in one.output_names}
    count = 0
    for batch, feed in feeds:
        first, second = one.run(feed), two.run(feed, one.output_names)
        for name, a, b in zip(one.output_names, first, second, strict=True):
            collected[name].append((np.asarray(a), np.asarray(b)))
        count += batch
    outputs = tuple(_compared(name, pairs) for name, pairs in collected.items())
    return TrialRun(count, seed, None if images is None else images.hash, outputs)


def _random(
    runner: Runner, inputs: int, seed: int, shape: Sequence[int] | None
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Batches, and how many inputs are in each; a batch size that is fixed is kept, and its last batch whole."""
    rng = np.random.default_rng(seed)
    batch, whole = _batch(runner, inputs)
    for start in range(0, inputs, batch):
        count = batch if whole else min(batch, inputs - start)
        yield count, {info.name: _drawn(rng, info, _sizes(info, count, shape)) for info in runner.inputs}


def _batch(runner: Runner, inputs: int) -> tuple[int, bool]:
    """Inputs at a time, and whether the model leaves no choice (where its inputs disagree: one at a time)."""
    fixed = {info.shape[0] for info in runner.inputs if info.shape and info.shape[0]}
    if len(fixed) == 1:
        return next(size for size in fixed if size is not None), True
    return (1, False) if fixed else (min(inputs, _BATCH), False)


def _sizes(info: InputInfo, batch: int, shape: Sequence[int] | None) -> list[int]:
    if not info.shape:
        return []
    behind = list(info.shape[1:])
    if shape is not None and len(shape) == len(behind):
        behind = [given if size is None else size for size, given in zip(behind, shape, strict=True)]
    first = batch if info.shape[0] is None else info.shape[0]
    if any(size is None for size in behind):
        raise DataError(
            f"input {info.name!r} leaves sizes open; say those behind the first with shape=, or give data="
        )
    return [first, *(int(size) for size in behind if size is not None)]


def _drawn(rng: np.random.Generator, info: InputInfo, sizes: Sequence[int]) -> np.ndarray:
    dtype = info.dtype
    if dtype.kind == "b":
        return rng.integers(0, 2, sizes).astype(dtype)
    if dtype.kind in "iu":
        low, high = _WHOLE.get(f"{dtype.kind}{dtype.itemsize}", (0, 2))
        return rng.integers(low, high, sizes).astype(dtype)
    if dtype.kind == "f" or dtype == ml_dtypes.bfloat16:
        return np.asarray(rng.standard_normal(sizes)).astype(dtype)
    raise DataError(f"input {info.name!r} is of type {dtype}, of which nothing can be drawn; give data=")


def _of_images(
    runner: Runner, images: Dataset, preprocess: Preprocess, inputs: int
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Batches of images; where the batch size is fixed, the last image is repeated to fill it."""
    if len(runner.inputs) != 1:
        raise DataError(f"the model has {len(runner.inputs)} inputs; images go into models with one")
    info = runner.inputs[0]
    wanted = min(inputs, len(images))
    batch, whole = _batch(runner, wanted)
    for start in range(0, wanted, batch):
        places = [*range(start, min(wanted, start + batch))]
        filled = places + places[-1:] * (batch - len(places) if whole else 0)
        values = preprocess.apply([images.image(place) for place in filled])
        check_shape(info, values.shape)
        yield len(places), {info.name: np.ascontiguousarray(values, dtype=info.dtype)}


def _compared(name: str, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> OutputCheck:
    """One output of all batches."""
    power = wrong = largest = 0.0
    same: list[np.ndarray] = []
    sizes = False
    for a, b in pairs:
        if a.shape != b.shape:
            return OutputCheck(
                name, None, None, None, f"has the shape {b.shape} where the original's is {a.shape}"
            )
        if a.dtype.kind != "f" and a.dtype != ml_dtypes.bfloat16:  # classes, places, truth values: no sizes
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
