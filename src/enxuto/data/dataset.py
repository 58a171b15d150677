"""`Dataset`: a selection of samples, decoded lazily, in batches, in order, by a bounded thread pool.

Pillow releases the interpreter's lock while it decodes and resizes, so threads are enough. Between decoding
and the consumer wait at most 32 preprocessed images a thread and one batch. What it leaves out: shuffling and
augmentation (training does those).
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from enxuto.data.labels import Label, LabelMatching, match_labels
from enxuto.data.preprocess import Preprocess
from enxuto.data.selection import spread_over_classes
from enxuto.data.source import Source, no_labels
from enxuto.errors import DataError, UsageError
from enxuto.machine.processors import processors

__all__ = ["Dataset"]

_CHUNK = 16  # images per job: enough to amortise the hand-over of a 32×32 image, few enough to bound memory
_MAX_WORKERS = 8


class Dataset:
    """Labelled images: `len`, `labels`, `image(i)`, `batches(...)`, `subset(...)`, `split(...)`, `hash`.

    `labels` is int64 (N,), read-only, all −1 where `labelled` is false; `classes` the class names or None; `part` is
    `train`, `test` … or None; `notes` tells what the reader left out; `seed` is the one the samples were drawn with.
    Made by `open_dataset`; `subset`, `split` and `match_classes` give new ones that share the source.
    """

    def __init__(self, source: Source, indices: NDArray[np.int64] | None = None, *, seed: int = 0) -> None:
        self._source = source
        self._indices = np.arange(len(source.labels)) if indices is None else np.array(indices, np.int64)
        self._digests: dict[int, bytes] = {}
        self.seed = seed
        self.labels: NDArray[np.int64] = source.labels[self._indices]
        self.labels.flags.writeable = False
        self.classes, self.labelled = source.classes, source.labelled
        self.path, self.format, self.part, self.notes = source.path, source.format, source.part, source.notes

    def __len__(self) -> int:
        return len(self._indices)

    def __repr__(self) -> str:
        part = f", {self.part}" if self.part else ""
        return (
            f"<Dataset {self.path} ({self.format}{part}): {len(self)} of {len(self._source.labels)} samples>"
        )

    def name(self, index: int) -> str:
        """What sample `index` is called in messages: its number, and its file where it has one."""
        return self._source.name(int(self._indices[index]))

    def image(self, index: int) -> NDArray[np.uint8]:
        """Sample `index` as uint8 (H, W, C), C = 1 (grey) or 3 (RGB).

        Raises `DataError` that names the sample when its bytes are not an image.
        """
        number = int(self._indices[index])
        stored = self._fetch_stored(number)
        try:
            return self._source.pixels(stored)
        except DataError as error:
            raise DataError(f"{self.path}: {self._source.name(number)} {error}", code=error.code) from error

    def _fetch_stored(self, number: int) -> bytes | NDArray[np.uint8]:
        """Sample `number` of the source as it is stored; its digest is kept."""
        try:
            stored = self._source.fetch(number)
        except DataError as error:
            raise DataError(f"{self.path}: {self._source.name(number)} {error}", code=error.code) from error
        except MemoryError as error:
            name = self._source.name(number)
            raise DataError(f"{self.path}: {name} needs more memory than there is", code="E092") from error
        if number not in self._digests:
            self._digests[number] = _digest(stored)
        return stored

    @property
    def prepared(self) -> bool:
        """Whether samples are float arrays as a model takes them, to which `batches` applies no preprocessing."""
        return self._source.prepared

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """(H, W, C) of the samples, or None when sizes differ.

        Exact where the format has one size; of encoded images at most 16, spread evenly, are decoded.
        """
        if self._source.image_shape is not None:
            return self._source.image_shape
        looked_at = np.unique(np.linspace(0, len(self) - 1, min(len(self), 16)).astype(int))
        shapes = {self.image(int(index)).shape for index in looked_at}
        height, width, channels = shapes.pop()
        return None if shapes else (height, width, channels)

    @property
    def hash(self) -> str:
        """Sixteen hex digits that identify the samples: their stored bytes with their labels, in any order.

        Costs one reading of the stored bytes, or nothing once `batches` has been through all of them.
        """
        entries = []
        for number, label in zip(self._indices.tolist(), self.labels.tolist(), strict=True):
            if number not in self._digests:
                self._fetch_stored(number)
            entries.append(self._digests[number] + label.to_bytes(8, "little", signed=True))
        return hashlib.sha256(b"".join(sorted(entries))).hexdigest()[:16]

    def batches(
        self, batch_size: int, preprocess: Preprocess
    ) -> Generator[tuple[NDArray[np.float32], NDArray[np.int64]], None, None]:
        """Yield (float32 batch, int64 labels) in order; the last batch may be smaller.

        The batch has the shape `preprocess` gives: (N, C, H, W) or (N, H, W, C). Close the generator to end
        its threads before it is exhausted. Raises `DataError` naming the sample that is corrupt, too small,
        or of another size than the first.
        """
        if batch_size < 1:
            raise UsageError(f"batch size is {batch_size}; it must be 1 or more")
        return self._batches(batch_size, preprocess)

    def _batches(
        self, batch_size: int, preprocess: Preprocess
    ) -> Generator[tuple[NDArray[np.float32], NDArray[np.int64]], None, None]:
        starts = range(0, len(self), batch_size)
        jobs = (
            (range(low, min(low + _CHUNK, start + batch_size, len(self))), min(start + batch_size, len(self)))
            for start in starts
            for low in range(start, min(start + batch_size, len(self)), _CHUNK)
        )
        workers = min(_MAX_WORKERS, processors())
        pool = ThreadPoolExecutor(workers, thread_name_prefix="enxuto-data")
        try:
            pending: deque[tuple[Future[NDArray[np.float32]], range, int]] = deque()
            parts: list[NDArray[np.float32]] = []
            first_shape: tuple[int, ...] | None = None
            while True:
                for chunk, end in islice(jobs, 2 * workers - len(pending)):
                    pending.append((pool.submit(self._load_chunk, chunk, preprocess), chunk, end))
                if not pending:
                    return
                future, chunk, end = pending.popleft()
                values = future.result()
                first_shape = first_shape or values.shape[1:]
                self._check_one_size(values.shape[1:], first_shape, chunk.start)
                parts.append(values)
                if chunk.stop == end:
                    begin = end - sum(len(part) for part in parts)
                    yield (
                        (np.concatenate(parts) if len(parts) > 1 else parts[0]),
                        self.labels[begin:end].copy(),
                    )
                    parts = []
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _load_chunk(self, chunk: range, preprocess: Preprocess) -> NDArray[np.float32]:
        """Load and preprocess neighbouring samples: the work of one thread."""
        if self.prepared:
            return np.stack(
                [np.asarray(self._fetch_stored(int(self._indices[i])), np.float32) for i in chunk]
            )
        shaped: list[NDArray[np.uint8]] = []
        for index in chunk:
            pixels = self.image(index)
            try:
                shaped.append(preprocess.prepare_image(pixels))
            except DataError as error:
                raise DataError(f"{self.path}: {self.name(index)} {error}", code=error.code) from error
            self._check_one_size(shaped[-1].shape, shaped[0].shape, index)
        return preprocess.to_batch(shaped)

    def _check_one_size(self, shape: tuple[int, ...], first: tuple[int, ...], index: int) -> None:
        if shape != first:
            raise DataError(
                f"{self.path}: {self.name(index)} has shape {shape} after preprocessing and earlier samples "
                f"have {first}; set resize or crop so that all have one size",
                code="E044",
            )

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> Dataset:
        """A data set of the samples at these positions, in this order.

        Raises `DataError` when none are given or one is outside 0…len − 1.
        """
        chosen = np.asarray(indices, np.int64)
        if chosen.ndim != 1 or chosen.size == 0:
            raise DataError(f"{self.path}: a subset needs at least one sample", code="E043")
        if chosen.min() < 0 or chosen.max() >= len(self):
            raise DataError(f"{self.path}: a subset asks for samples outside 0…{len(self) - 1}")
        return self._select(self._indices[chosen], self.seed)

    def split(self, fractions: Sequence[float], seed: int = 0, *, stratified: bool = True) -> list[Dataset]:
        """Disjoint random parts of these fractions of the samples, each in the order of the samples.

        stratified: every class is spread over the parts as evenly as whole samples allow. Fractions that sum
        to less than 1 leave the rest out. Raises `UsageError` for fractions that make no sense, `DataError`
        when a part would be empty.
        """
        if not fractions or min(fractions) <= 0 or sum(fractions) > 1 + 1e-9:
            raise UsageError(f"split fractions {list(fractions)} must be positive and sum to 1 or less")
        order = spread_over_classes(self.labels if stratified else np.zeros_like(self.labels), seed)
        ends = np.minimum(np.rint(np.cumsum(fractions) * len(self)).astype(int), len(self))
        parts = np.split(order, ends)[: len(fractions)]
        if any(len(part) == 0 for part in parts):
            raise DataError(
                f"{self.path}: {len(self)} samples are too few to split into {list(fractions)}", code="E043"
            )
        return [self._select(self._indices[np.sort(part)], seed) for part in parts]

    def match_classes(
        self, names: Sequence[Label] | None, outputs: int | None = None
    ) -> tuple[Dataset, LabelMatching]:
        """The same samples with labels that are numbers of a model's outputs, and a report of the matching.

        names: the model's class names in the order of its outputs, None where it has none. outputs: how many it has,
        None where that is unknown or it is no classifier. Raises `DataError` for classes that the model does not
        have. Samples without labels stay as they are.
        """
        source = self._source
        if not self.labelled:
            return self, LabelMatching(None, self.classes)
        found = match_labels(
            source.labels, source.classes, names, outputs, path=source.path, numeric_names=source.numeric_names,
            stored=source.format not in ("folder", "table"),
        )  # fmt: skip
        if found.output_by_label is None and found.names == source.classes:
            return self, found
        labels = source.labels if found.output_by_label is None else found.output_by_label[source.labels]
        made = Dataset(replace(source, labels=labels, classes=found.names), self._indices, seed=self.seed)
        made._digests = self._digests
        return made, found

    def without_labels(self) -> Dataset:
        """The same samples as if they had no labels."""
        source = replace(
            self._source, labels=no_labels(len(self._source.labels)), classes=None, labelled=False
        )
        made = Dataset(source, self._indices, seed=self.seed)
        made._digests = self._digests
        return made

    def _select(self, indices: NDArray[np.int64], seed: int) -> Dataset:
        made = Dataset(self._source, indices, seed=seed)
        made._digests = self._digests  # digests belong to samples of the source, whoever looks at them
        return made


def _digest(stored: bytes | NDArray[np.uint8]) -> bytes:
    """SHA-256 of a stored sample; pixels are hashed with their shape."""
    if isinstance(stored, np.ndarray):
        return hashlib.sha256(repr(stored.shape).encode() + stored.tobytes()).digest()
    return hashlib.sha256(stored).digest()
