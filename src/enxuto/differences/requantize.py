"""A network that was trained further → an `.enx` file on the old file's own grids.

Steps, rows, columns and the coders' tables stay those of the old file. A weight that did not change keeps its levels,
one that did takes others where that pays for its bits (`rounding.near_old`). Weights that the old file does not have,
or not in this shape, are compressed as `compress` does without images.

Where the old file was calibrated, its values are not the nearest ones to the weights that it was made from. With those
at hand, what is rounded is the old file's value plus the change since. The rest of what rounding leaves is carried on
along each row, so that small changes that all point one way are not lost (error diffusion, Floyd & Steinberg 1976).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from enxuto.compression.data_free import compress
from enxuto.compression.selection import DEFAULT_ROLES, quantizable_weights
from enxuto.differences.facts import facts_of_new
from enxuto.differences.sides import frame_of
from enxuto.differences.values import remake, steps_of, trellis_of
from enxuto.enx.assemble import Assembly
from enxuto.enx.file import CompressedModel
from enxuto.enx.fingerprint import FINGERPRINT_KEY, changed_weights, hashed_names, weights_in_common
from enxuto.enx.folding import fold_alike
from enxuto.enx.payload import Payload
from enxuto.enx.table import ExactRow, LevelsRow, TensorEntry
from enxuto.errors import DataError, FormatError, UsageError
from enxuto.machine.processors import processors
from enxuto.onnx_model import Model, check_finite
from enxuto.onnx_model.dtypes import FLOAT_TYPES
from enxuto.quantize.scalar import Minifloat, Quantizer
from enxuto.quantize.tensor import QuantizedTensor
from enxuto.rounding.near_old import carry_along, move_levels, move_path

__all__ = ["requantize"]

_TINY = 16  # bytes of a weight that a file keeps in the graph
_TRELLIS_STEP = 0.57  # of the step at equal error off a trellis
_SMALL_CHANGE = (
    0.05  # steps on average; the weights that a file was made from are a fifth of a step off and more
)
_LARGE_CHANGE = 0.5  # steps that weights moved on average, beyond which they are rounded anew
_BEYOND = 1.5  # times a minifloat's largest value, from which on it does not stand for a weight

Int32 = npt.NDArray[np.int32]


def requantize(
    old: CompressedModel,
    model: Model,
    original: Model | None = None,
    *,
    price: float,
    threads: int = 0,
    size: int | None = None,
) -> CompressedModel:
    """Return a model's weights on the grids of an old file.

    Args:
        old: the file.
        model: the model after training.
        original: what the old file was made from.
        price: of a bit of the difference, in squared steps of the grid as without a trellis.
        threads: 0 takes one per processor; the result does not depend on it.
        size: bytes of the model's files, where it has any.

    Raises:
        DataError: `original` is not what the old file was made from.
        ModelError: the model's weights are not finite.
        UsageError: weights of a calibrated file changed, and there is no `original`.
    """
    model = fold_alike(model, old.metadata)
    original = None if original is None else fold_alike(original, old.metadata)
    return _Requantization(old, model, original, price, threads or processors(), size).run()


@dataclass
class _Requantization:
    old: CompressedModel
    model: Model
    original: Model | None
    price: float
    threads: int
    size: int | None = None
    _rounded_by_rate: bool = False

    def run(self) -> CompressedModel:
        """Do it all."""
        self._check_original()
        names = {entry.name for entry, _ in self.old.entries()}
        unchanged = names == self._unchanged
        facts = facts_of_new(self.old, self.model, self.size, unchanged=unchanged)
        assembly = Assembly(self.model, facts, self.threads, self._exact_values())
        kept: set[str] = set()
        for payload in self.old.payloads:
            if isinstance(payload.row, LevelsRow) and all(map(self._is_the_same_kind, payload.row.tensors)):
                moved = self._move(payload)
                if moved is not None:  # else it is stored exactly
                    assembly.add_payload(moved)
                kept.update(entry.name for entry in payload.row.tensors)
        for name, tensor in self._compress_anew(kept):
            assembly.add([name], tensor.quantizer, tensor.levels)
        if self._rounded_by_rate:
            facts["rounding"] = "rate"  # `verify` then allows a whole step
        return assembly.finish()

    def _check_original(self) -> None:
        """Refuse to round weights anew whose levels were calibrated: on steps that large, nearest ones ruin much.

        Biases have steps that are small enough.
        """
        if self.original is not None or not self._is_calibrated:
            return
        changed = [
            name
            for payload in self.old.payloads
            if isinstance(payload.row, LevelsRow) and all(map(self._is_the_same_kind, payload.row.tensors))
            for name, tensor in payload.levels().items()
            if len(self.model.info(name).shape) > 1
            and name not in self._unchanged
            and not self._is_of_old(name, tensor)
        ]
        if changed:
            which = f"{changed[0]!r}{_and_more(len(changed) - 1)}"
            may_have = "" if FINGERPRINT_KEY in self.old.metadata else "may have "
            raise UsageError(
                f"the old file was calibrated, and {which} {may_have}changed since; give original=, the "
                "model that the old file was made from: without it, weights are rounded anew, which "
                "loses what calibration won",
                code="E023",
            )

    def _is_of_old(self, name: str, tensor: QuantizedTensor) -> bool:
        """Say whether a weight is the old file's value, or was trained a little from there: it is far nearer to it."""
        steps = steps_of(tensor.quantizer, tensor.levels.shape)
        if steps is None or not tensor.levels.size:
            return steps is not None
        off = np.abs(np.asarray(self.model.load(name), np.float64) - tensor.reconstruct()) / steps
        return float(off.mean()) <= _SMALL_CHANGE

    def _is_the_same_kind(self, entry: TensorEntry) -> bool:
        if entry.name not in self.model:
            return False
        info = self.model.info(entry.name)
        return info.shape == entry.shape and info.data_type == entry.data_type

    def _compress_anew(self, kept: set[str]) -> Iterator[tuple[str, QuantizedTensor]]:
        """Yield what `compress` makes of weights that the old file does not have, or not in this shape."""
        known = {entry.name for entry, _ in self.old.entries() if self._is_the_same_kind(entry)}
        wanted = set(quantizable_weights(self.model, DEFAULT_ROLES)) - known - kept
        if all(self.model.info(name).bytes <= _TINY for name in wanted):
            return
        for payload in compress(self.model, threads=self.threads, fold_bn=False).payloads:
            if isinstance(payload.row, LevelsRow):
                yield from (found for found in payload.levels().items() if found[0] in wanted)

    def _exact_values(self) -> dict[str, np.ndarray]:
        """Return exact tensors of the old file that are not the model's: those that its calibration changed."""
        if not self._is_calibrated:
            return {}
        found = {}
        for payload in self.old.payloads:
            if isinstance(payload.row, ExactRow) and payload.row.tensors[0].data_type in FLOAT_TYPES:
                if not all(map(self._is_the_same_kind, payload.row.tensors)):
                    continue
                for name, array in payload.arrays().items():
                    if name in self._unchanged:
                        found[name] = array
                    elif (change := self._change(name)) is not None:
                        found[name] = (array + change).astype(array.dtype)
        return found

    def _move(self, payload: Payload) -> Payload | None:
        """Return a payload's levels after training, in the payload's own frame where it has a code for them.

        None where weights have grown to a billion steps, or beyond a quantizer's values: there are no levels for them.
        """
        tensors, moved = payload.levels(), dict[str, Int32]()
        for name, tensor in tensors.items():
            levels = self._move_tensor(name, tensor)
            if levels is None:
                return None
            moved[name] = levels
        if all(np.array_equal(moved[name], tensor.levels) for name, tensor in tensors.items()):
            return payload
        flat = np.concatenate([moved[name].reshape(-1) for name in tensors])
        assert isinstance(payload.row, LevelsRow), "others are not moved"
        try:
            return remake(payload.row, frame_of(payload), flat)
        except FormatError:  # levels beyond what the old tables code
            shaped = flat.reshape(payload.row.tensors[0].shape) if len(tensors) == 1 else flat
            return Payload.levels_of(payload.row.tensors, payload.quantizer(), shaped, threads=self.threads)

    def _move_tensor(self, name: str, tensor: QuantizedTensor) -> Int32 | None:
        """Return a tensor's new levels; None where there are none for a weight, as in `_move`."""
        if name in self._unchanged:
            return tensor.levels
        weight = np.asarray(self.model.load(name), np.float32)
        check_finite(name, weight)
        steps, trellis = steps_of(tensor.quantizer, tensor.levels.shape), trellis_of(tensor.quantizer)
        if steps is None:
            return _quantize_within(tensor.quantizer, weight)
        change = None
        if self._is_calibrated and self._is_of_old(name, tensor):
            change = weight.astype(np.float64) - tensor.reconstruct()
        elif self._is_calibrated:
            change = self._change(name)
        if change is not None:
            change = change / steps
            if float(np.abs(change).mean()) <= _LARGE_CHANGE:
                return carry_along(tensor.levels, change, trellis)
        target = weight / steps if change is None else tensor.reconstruct() / steps + change
        if not trellis:
            found = move_levels(target, tensor.levels, self.price)
            if found is not None and change is None:
                self._rounded_by_rate |= bool((np.abs(target - found) > 0.5).any())
            return found
        flat = tensor.levels.reshape(len(tensor.levels), -1)
        price = self.price / _TRELLIS_STEP**2
        path = move_path(target.reshape(flat.shape), flat, trellis, price)
        return None if path is None else path.reshape(tensor.levels.shape)

    def _change(self, name: str) -> npt.NDArray[np.float64] | None:
        """Return how far a weight of the same shape moved since the old file was made; None where that is not known."""
        if self.original is None:
            return None
        before = np.asarray(self.original.load(name), np.float64)
        return np.asarray(self.model.load(name), np.float64) - before

    @property
    def _is_calibrated(self) -> bool:
        return "calibrated" in self.old.metadata

    @cached_property
    def _unchanged(self) -> set[str]:
        """Weights that are those the old file was made from: by the original, or else by the file's hashes."""
        names = hashed_names([payload.row for payload in self.old.payloads], self.old.metadata)
        same = {entry.name for entry, _ in self.old.entries() if self._is_the_same_kind(entry)}
        text = self.old.metadata.get(FINGERPRINT_KEY)
        if self.original is not None:
            if text is None or changed_weights(text, self.original, names) != set():
                raise DataError(
                    "the old file was not made from the original given; give the model it was made from"
                )
            return {name for name in same if np.array_equal(self.original.load(name), self.model.load(name))}
        if text is None:
            return set()
        if not same.issuperset(names):
            return same & weights_in_common(text, self.model, names)
        changed = changed_weights(text, self.model, names)
        return set() if changed is None else set(names) - changed


def _and_more(count: int) -> str:
    return f" and {count} more tensors" if count > 1 else " and another tensor" if count else ""


def _quantize_within(quantizer: Quantizer, weight: npt.NDArray[np.float32]) -> Int32 | None:
    """Return levels of a quantizer without a step; None where weights lie beyond all its values."""
    if (
        isinstance(quantizer, Minifloat)
        and float(np.abs(weight).max(initial=0)) > _BEYOND * quantizer.values[-1]
    ):
        return None
    try:
        return quantizer.quantize(weight)
    except UsageError:  # beyond half precision, or beyond 31 bits
        return None
