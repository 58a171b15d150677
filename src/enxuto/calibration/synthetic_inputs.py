"""Inputs out of nothing for a model of any kind, by the names, types and shapes of what it takes.

Images have four axes, with 1, 3 or 4 channels first or last. Sound is a long axis with nothing beside it. Other inputs
of three or four axes are spectra, smooth in both directions. Whole numbers are ids, some frequent and most rare (Zipf),
below the rows of the table that they point into. Masks are ones, or all no where yes leaves everything out. Segments
are zeros, positions count up, rates are 16,000 a second. States are what the model gives after the samples before,
zeros at first. All else are normalised features: independent noise of variance 1. The graph goes before types: real
numbers of which it makes whole ones and picks by them are ids, and whole numbers that point nowhere beside ids are
masks. Sizes that are free are those that weights take; else they are tried in turn until the model runs. Where it runs
on none, or gives numbers that are not finite, smaller ids and positive numbers follow, and several rows along the first
axis, as of a model that takes one sample (steps, features).

How wide the values of images are is written nowhere, unless a model carries its preprocessing. −1 … 1 is assumed, or
−127.5 … 127.5 where outputs hardly differ from one narrower image to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enxuto.calibration.output_losses import computed_outputs, listed_outputs
from enxuto.calibration.synthetic_values import (
    MANY,
    NARROW,
    USUAL,
    WIDE,
    Maker,
    SyntheticInputs,
    Way,
    begins_as_zeros,
    channel_axis,
    holds_few,
    is_float,
)
from enxuto.data import Preprocess
from enxuto.data.samples import Group, Samples
from enxuto.errors import DataError, UsageError
from enxuto.onnx_model import IdInputs, Model, State, find_id_inputs, find_states, read_sizes
from enxuto.onnx_model.inputs import InputInfo
from enxuto.runtime import Runner

__all__ = ["SyntheticInputs", "synthetic_inputs"]

_SIDES = ((128, 128), (48, 192), (224, 224), (32, 128), (64, 64), (28, 28), (256, 256), (320, 320))
_LENGTHS = (64, 576, 16000, 512, 1024, 32)
_HARDLY = 0.02  # of the outputs' mean square: what differs between samples
_SMALLER = (32, 4, 2, 1)  # below which ids are tried that do not run or give no finite numbers
_SIZES_AGAIN = 3  # free sizes that other values are tried with

Array = NDArray[Any]


def synthetic_inputs(
    model: Model,
    preprocess: Preprocess | None = None,
    *,
    seed: int = 0,
    threads: int = 0,
    many: bool = False,
    accept: Callable[[Samples], bool] | None = None,
) -> SyntheticInputs:
    """Return synthetic inputs on which a model runs, the same for the same arguments.

    Args:
        model: the model.
        preprocess: what makes its input of pixels, where that is known.
        seed: of all noise.
        threads: of ONNX Runtime; 0 takes one per processor.
        many: other numbers of samples, for a model that is run a few times only: more of images, fewer of ids.
        accept: says of samples on which all outputs are finite whether they will do; where not, others are tried.

    Raises:
        UsageError: the model runs on none of the inputs tried, or gives no finite numbers.
        ModelError: ONNX Runtime cannot run the model at all.
    """
    measured = computed_outputs(model)
    if listed_outputs(measured):
        raise UsageError("its outputs are no tensors", code="E032")
    runner, known = Runner(measured, threads=threads), read_sizes(model)
    inputs = _with_sizes(runner.inputs, known)
    search = _Search(runner, inputs, find_states(model), _beside_others(model), preprocess, seed, many)
    ids, failure = find_id_inputs(model), ""
    for way in search.ways(ids):
        for sides, length in search.sizes(way):
            try:
                made = search.attempt(way, sides, length)
            except (DataError, UsageError) as error:
                # What is said is why the inputs fail that fit best, not those that are tried because they do.
                failure = failure if way.is_second else str(error)
                continue
            if made is not None and (accept is None or accept(made.samples)):
                return made
            search.ran.append((sides, length))
    failure = failure or "its outputs are not finite numbers"
    raise UsageError(f"the model runs on no synthetic inputs that were tried: {failure}", code="E032")


@dataclass
class _Search:
    """What is tried for a model.

    inputs: with the sizes that weights take. beside: as of a `Maker`. ran: free sizes with which it ran, on values that
    give no finite numbers.
    """

    runner: Runner
    inputs: Sequence[InputInfo]
    states: Mapping[str, State]
    beside: frozenset[str]
    preprocess: Preprocess | None
    seed: int
    many: bool
    ran: list[tuple[tuple[int, int], int]] = field(default_factory=list)

    def attempt(self, way: Way, sides: tuple[int, int], length: int) -> SyntheticInputs | None:
        """Return inputs on which all outputs are finite; None where they are not.

        Masks of yes and no are no where more outputs then differ between samples, or are finite.
        """
        made = self._attempt(way, sides, length)
        if not any(item.dtype.kind == "b" for item in self.inputs):
            return made
        try:
            turned = self._attempt(replace(way, turned=True), sides, length)
        except (DataError, UsageError):
            return made
        if made is None or turned is None:
            return made or turned
        moving = [_moving(self.runner, one.samples) for one in (made, turned)]
        return turned if moving[1] > moving[0] else made

    def _attempt(self, way: Way, sides: tuple[int, int], length: int) -> SyntheticInputs | None:
        inputs, counts = self.inputs, MANY if self.many else USUAL
        maker = Maker(sides, length, way, self.preprocess, self.seed, counts, self.states, self.beside)
        made = _with_states(self.runner, maker.make(inputs, NARROW), self.states)
        spread = _spread(self.runner, made.samples)
        if spread < _HARDLY and maker.guesses_width(inputs):
            wide = maker.make(inputs, WIDE)
            made = wide if _spread(self.runner, wide.samples) > 2 * spread else made
        return made if np.isfinite(spread) else None

    def sizes(self, way: Way) -> Sequence[tuple[tuple[int, int], int]]:
        """Return heights and widths, and lengths, to try with one way: few of them, where others failed."""
        if way.is_second and (self.ran or (way.positive and not way.rows)):
            return list(dict.fromkeys(self.ran))[:_SIZES_AGAIN]
        sizes = list(_free_sizes([item for item in self.inputs if item.name not in self.states]))
        return sizes[:_SIZES_AGAIN] if way.is_second else sizes

    def ways(self, ids: IdInputs) -> Iterator[Way]:
        """Yield the ways to fill inputs: by graph and names, by names alone, and then those of less weight."""
        yield Way(ids)
        if ids.real or ids.masks:
            yield Way(replace(ids, real=frozenset(), masks=frozenset()))
        fed = [item for item in self.inputs if item.name not in self.states]
        few = {holds_few(item) for item in fed if is_float(item) and item.name not in ids.real}
        positive = ("few", "all") if len(few) > 1 else ("all",) if few else ()
        for share in positive:
            yield Way(ids, positive=share, is_second=True)
        if len(fed) == 1 and len(self.inputs) == 1 and fed[0].shape[:1] == (None,) and len(fed[0].shape) > 1:
            yield Way(ids, rows=True, is_second=True)
        if not ids.real and all(is_float(item) or channel_axis(item) is not None for item in fed):
            return
        for below in _SMALLER:
            for rows in (True, False) if _have_several_rows(fed) else (False,):
                # What rows of a sample are told beside edges are distances and the like: these come first.
                for share in (*positive[-1:], "") if rows else ("", *positive[-1:]):
                    yield Way(ids, below, positive=share, rows=rows, is_second=True)
        yield Way(ids, 1, every=True, is_second=True)


def _with_sizes(inputs: Sequence[InputInfo], known: Mapping[tuple[str, int], int]) -> list[InputInfo]:
    """Return inputs with these sizes, by name and axis, of what is open behind the first axis."""
    made = []
    for item in inputs:
        sizes = [
            known.get((item.name, at), size) if at and size is None else size
            for at, size in enumerate(item.shape)
        ]
        made.append(replace(item, shape=tuple(sizes)))
    return made


def _beside_others(model: Model) -> frozenset[str]:
    """Return inputs that are called like states, and have an open size in common with one that is not.

    Such are what an encoder gives beside the mask of what it was given: no states, but features.
    """
    sizes = {
        item.name: {dim.dim_param for dim in item.type.tensor_type.shape.dim[1:] if dim.dim_param}
        for item in model.proto.graph.input
        if item.name not in model
    }
    others = set[str]().union(*(names for name, names in sizes.items() if not begins_as_zeros(name)))
    return frozenset(name for name, names in sizes.items() if begins_as_zeros(name) and names & others)


def _have_several_rows(inputs: Sequence[InputInfo]) -> bool:
    """Say whether first axes are not those of samples: of atoms and of edges, or (2, edges) beside (atoms,)."""
    names = [item.first_axis for item in inputs if item.first_axis]
    fixed = any((item.shape[:1] or (1,))[0] not in (None, 1) for item in inputs)
    return 1 < len(set(names)) < len(names) or (fixed and len(names) > 0)


def _free_sizes(inputs: Sequence[InputInfo]) -> Iterator[tuple[tuple[int, int], int]]:
    """Yield heights and widths, and lengths, to try for sizes that are not fixed."""
    free = {len(item.shape) for item in inputs if None in item.shape[1:]}
    pictures = _SIDES if free & {4, 5} else _SIDES[:1]
    lengths = _LENGTHS if free & {2, 3} else _LENGTHS[:1]
    for sides in pictures:
        for length in lengths:
            yield sides, length


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
        if any(np.isnan(one).any() or np.isposinf(one).any() for one in whole):
            return float("nan")
        if len({one.size for one in whole}) > 1:
            return 1.0
        if not whole[0].size or any(np.isneginf(one).any() for one in whole):  # −∞ are scores left out
            continue
        rows = np.stack([one.reshape(-1) for one in whole])
        if rows.shape[1] > 1:
            rows = rows - rows.mean(axis=1, keepdims=True)
        power = float(np.mean(rows**2))
        largest = max(largest, float(rows.var(axis=0).mean()) / power if power > 0 else 0.0)
    return largest


def _moving(runner: Runner, samples: Samples) -> int:
    """Return how many outputs differ between samples."""
    pieces = [runner.values(part.feeds, runner.output_names) for part in _parts(samples)]
    return sum(
        any(not np.array_equal(one, outputs[0]) for one in outputs[1:])
        for outputs in zip(*pieces, strict=True)
    )


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
