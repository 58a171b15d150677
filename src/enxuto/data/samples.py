"""`Samples`: what a model is fed, a set of named arrays a sample, whatever its inputs are.

An input's arrays are kept as one array with the samples along its first axis, or as a list with one array a sample, of
the shape that the input takes, where shapes differ or the model has no axis for samples. `groups` puts samples with
equal shapes together, so that those who run a model know nothing else of data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from enxuto.data.selection import random_sample
from enxuto.errors import DataError

__all__ = ["Feeds", "Group", "InputLike", "Samples", "StateLike", "feeds_text"]

Array: TypeAlias = NDArray[Any]

Feeds: TypeAlias = dict[str, Array]
"""Arrays by input name, as a model takes them at once."""


class InputLike(Protocol):
    """What is known of a model's input; a size that is not fixed is None."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Its shape."""

    @property
    def dtype(self) -> np.dtype:
        """Its element type."""


class StateLike(Protocol):
    """What is known of an input that is a state."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Outputs that may give it back."""

    def zeros(self) -> Array:
        """Return the state before the first step."""


@dataclass(frozen=True)
class Group:
    """Samples that a model is run on at once: `feeds` of equal shapes, `count` samples.

    feedback: by input the output that it is at the next step; then feeds are one sequence, with an axis of steps first,
    but for `constant` ones and for the states that it begins with.
    """

    feeds: Feeds
    count: int
    feedback: Mapping[str, str] = field(default_factory=dict)
    constant: frozenset[str] = frozenset()

    @property
    def rows(self) -> int:
        """How many times outputs are given: once a sample, or once a step of a sequence."""
        return self.count if not self.feedback else len(next(iter(self.stepwise.values())))

    @property
    def stepwise(self) -> Feeds:
        """The arrays of a sequence that have an axis of steps."""
        return {
            name: array
            for name, array in self.feeds.items()
            if name not in self.feedback and name not in self.constant
        }

    def parts(self, size: int) -> Iterator[Group]:
        """Yield the group's samples, `size` at a time."""
        if self.count <= size:
            yield self
            return
        for start in range(0, self.count, size):
            stop = min(start + size, self.count)
            yield Group({name: array[start:stop] for name, array in self.feeds.items()}, stop - start)


@dataclass(frozen=True, eq=False)
class Samples:
    """Named arrays, a set for every sample.

    columns: by input name an array (N, …), or a list of N arrays as the input takes them. path: for messages. stacked:
    whether samples of equal shapes may be run together, along the first axis; else one at a time. feedback, constant:
    as of a `Group`, where samples are sequences. remarks: what was taken for granted, to be said once.
    labels: classes (N,), None without.
    """

    columns: Mapping[str, Array | Sequence[Array]]
    path: str = "arrays"
    stacked: bool = True
    seed: int = 0
    feedback: Mapping[str, str] = field(default_factory=dict)
    constant: frozenset[str] = frozenset()
    remarks: tuple[str, ...] = ()
    labels: NDArray[np.int64] | None = None
    _digests: dict[int, bytes] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __repr__(self) -> str:
        return f"<Samples {self.path}: {len(self)} of {', '.join(self.columns)}>"

    @property
    def inputs(self) -> list[str]:
        """The names of the inputs that have arrays."""
        return list(self.columns)

    def sample(self, index: int) -> Feeds:
        """Return the arrays of one sample, as the model takes them."""
        return {
            name: column[index : index + 1] if isinstance(column, np.ndarray) else column[index]
            for name, column in self.columns.items()
        }

    @property
    def values(self) -> int:
        """Numbers in a sample, on average over at most 16."""
        looked_at = np.unique(np.linspace(0, len(self) - 1, min(16, len(self))).astype(int))
        sizes = [sum(array.size for array in self.sample(int(i)).values()) for i in looked_at]
        return max(1, round(sum(sizes) / len(sizes)))

    @cached_property
    def hash(self) -> str:
        """Sixteen hex digits that identify the samples, in any order."""
        found = []
        for index in range(len(self)):
            digest = hashlib.sha256()
            for name, array in sorted(self.sample(index).items()):
                digest.update(repr((name, array.dtype.str, array.shape)).encode())
                digest.update(np.ascontiguousarray(array).tobytes())
            if self.labels is not None:
                digest.update(repr(int(self.labels[index])).encode())
            found.append(digest.digest())
        fed_back = repr(sorted(self.feedback.items())).encode() if self.feedback else b""
        return hashlib.sha256(b"".join(sorted(found)) + fed_back).hexdigest()[:16]

    def groups(self) -> list[Group]:
        """Return all samples, those of equal shapes together, in the order in which shapes first occur.

        Only rows go together: an array whose first axis is another one than that of samples is a sample by itself.
        """
        if self.feedback:
            return [Group(self.sample(i), 1, self.feedback, self.constant) for i in range(len(self))]
        if all(isinstance(column, np.ndarray) for column in self.columns.values()) and self.stacked:
            return [Group({name: np.asarray(column) for name, column in self.columns.items()}, len(self))]
        alike: dict[Any, list[Feeds]] = {}
        for index in range(len(self)):
            feeds = self.sample(index)
            shapes = tuple(array.shape for array in feeds.values())
            apart = not self.stacked or any(shape[:1] != (1,) for shape in shapes)
            key = index if apart else shapes
            alike.setdefault(key, []).append(feeds)
        return [
            Group(several[0], 1)
            if len(several) == 1
            else Group(
                {name: np.concatenate([feeds[name] for feeds in several]) for name in several[0]},
                len(several),
            )
            for several in alike.values()
        ]

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> Samples:
        """Return the samples at these positions, in this order."""
        chosen = np.asarray(indices, np.int64)
        if not chosen.size:
            raise DataError(f"{self.path}: a part needs at least one sample", code="E043")
        columns = {
            name: column[chosen]
            if isinstance(column, np.ndarray)
            else [column[int(index)] for index in chosen]
            for name, column in self.columns.items()
        }
        return replace(self, columns=columns, labels=self._labels(chosen), _digests={})

    def in_batches(self, size: int) -> Samples:
        """Return samples that are batches of so many of these, of equal shapes; each is run by itself, without labels.

        A last batch that is not full is left out; where fewer than two are full, it is filled up with its last sample.
        """
        batches = []
        for group in replace(self, stacked=True).groups():
            few = group.count < 2 * size
            for start in range(0, group.count if few else group.count - size + 1, size):
                taken = np.minimum(np.arange(start, start + size), group.count - 1)
                batches.append({name: array[taken] for name, array in group.feeds.items()})
        columns = {name: [feeds[name] for feeds in batches] for name in self.columns}
        return replace(self, columns=columns, stacked=False, labels=None, _digests={})

    def joined(self, others: Sequence[Samples]) -> Samples:
        """Return these samples and others of the same inputs behind them, without labels."""
        if not others:
            return self
        columns: dict[str, Array | list[Array]] = {}
        for name in self.columns:
            parts = [one.columns[name] for one in (self, *others)]
            arrays = [part for part in parts if isinstance(part, np.ndarray)]
            together = len(arrays) == len(parts) and len({array.shape[1:] for array in arrays}) == 1
            columns[name] = (
                np.concatenate(arrays)
                if together
                else [one.sample(i)[name] for one in (self, *others) for i in range(len(one))]
            )
        return replace(self, columns=columns, labels=None, _digests={})

    def draw(self, count: int | None, seed: int) -> Samples:
        """Return so many samples, drawn at random and kept in their order; all where there are fewer, and for None."""
        if count is None or count >= len(self):
            return self
        return self.take(random_sample(len(self), count, seed))

    def head(self, count: int) -> Samples:
        """Return the first samples; arrays are views."""
        columns = {name: column[:count] for name, column in self.columns.items()}
        return replace(self, columns=columns, labels=self._labels(slice(count)))

    def tail(self, start: int) -> Samples:
        """Return the samples from `start` on; there may be none."""
        columns = {name: column[start:] for name, column in self.columns.items()}
        return replace(self, columns=columns, labels=self._labels(slice(start, None)))

    def _labels(self, chosen: slice | NDArray[np.int64]) -> NDArray[np.int64] | None:
        return None if self.labels is None else self.labels[chosen]

    @property
    def labelled(self) -> bool:
        """Whether samples have labels."""
        return self.labels is not None

    def split(self, fractions: Sequence[float], seed: int = 0, *, stratified: bool = False) -> list[Samples]:
        """Return disjoint random parts of these fractions, each in the order of the samples.

        stratified: as of a `Dataset`; without labels it changes nothing.
        """
        order = np.random.default_rng(seed).permutation(len(self))
        ends = np.minimum(np.rint(np.cumsum(fractions) * len(self)).astype(int), len(self))
        parts = np.split(order, ends)[: len(fractions)]
        if any(len(part) == 0 for part in parts):
            raise DataError(
                f"{self.path}: {len(self)} samples are too few to split into {list(fractions)}", code="E043"
            )
        return [self.take(np.sort(part)) for part in parts]


def feeds_text(inputs: Sequence[InputLike], *, samples: int = 100, steps: int | None = None) -> str:
    """Return the line of Python that makes a file with arrays of these inputs, to be copied; steps: of a sequence."""
    arrays = []
    for item in inputs:
        if steps is not None and item.shape:
            sizes = (
                samples,
                steps,
                *(size or 1 for size in item.shape[:1]),
                *(size or 8 for size in item.shape[1:]),
            )
            arrays.append(f"{item.name!r}: np.zeros({sizes}, {item.dtype.name!r})")
            continue
        rest = [8 if size is None else size for size in item.shape[1:]]
        free = bool(item.shape) and item.shape[0] in (None, 1)
        shape = (samples, *rest) if free else (samples, *(size or 1 for size in item.shape))
        arrays.append(f"{item.name!r}: np.zeros({shape}, {item.dtype.name!r})")
    return f"np.savez('samples.npz', **{{{', '.join(arrays)}}})"
