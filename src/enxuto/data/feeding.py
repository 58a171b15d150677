"""Arrays held against what a model takes: names, types, shapes, values, ranges of ids → `Samples`.

An array by an input's name has the samples along its first axis. It may stand for the input's own first axis (a
batch), or lie before all of the input's axes, as that of a state (N, 2, 1, 128) does. What one sample is given alone (a
file of a folder, a line of JSON) has the input's axes, or all but the first. With feedback there are sequences: one
more axis, of steps, lies behind that of the samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from enxuto.data.array_labels import LABELS, take_labels
from enxuto.data.input_ranks import check_ranks, describe_input, shape_text
from enxuto.data.readers.named import Columns, holds_named_arrays, read_named_arrays
from enxuto.data.samples import Feeds, InputLike, Samples, StateLike, feeds_text
from enxuto.data.sequence_steps import check_steps, names_of_steps
from enxuto.errors import DataError

__all__ = [
    "check_feeds",
    "describe_input",
    "fit_samples",
    "holds_named_arrays",
    "read_samples",
]

_KINDS = {"f": "floats", "i": "whole numbers", "u": "whole numbers", "b": "truth values"}

Array = NDArray[Any]


def read_samples(
    path: str | Path,
    inputs: Sequence[InputLike],
    *,
    states: Mapping[str, StateLike] | None = None,
    limits: Mapping[str, int] | None = None,
    feedback: Mapping[str, str] | None = None,
    labels: str | None = None,
) -> Samples:
    """Read named arrays as what a model takes; see `fit_samples`."""
    known = states or {}
    columns, alone = read_named_arrays(
        path,
        [item.name for item in inputs if item.name not in known],
        [*known, *([labels] if labels else LABELS)],
    )
    return fit_samples(
        columns,
        inputs,
        path=str(path),
        alone=alone,
        states=states,
        limits=limits,
        feedback=feedback,
        labels=labels,
    )


def fit_samples(
    columns: Columns,
    inputs: Sequence[InputLike],
    *,
    path: str = "arrays",
    alone: bool = False,
    states: Mapping[str, StateLike] | None = None,
    limits: Mapping[str, int] | None = None,
    feedback: Mapping[str, str] | None = None,
    labels: str | None = None,
) -> Samples:
    """Return samples of a model from arrays by name.

    Args:
        columns: by input name an array (N, …), or a list of N arrays.
        inputs: what the model takes.
        path: for messages.
        alone: whether arrays in lists are of one sample each, which may lack the axis of a batch.
        states: by name the inputs that are states: zeros where they are given no array.
        limits: by input name the number of rows of the table that its ids point into.
        feedback: by input the output that it is at the next step. Samples are then sequences, whose arrays have an axis
            of steps behind that of the samples; arrays of inputs that are fed back are what these begin with.
        labels: name of the array (N,) of classes; by default `label` or `labels`, where there is one that is no input.

    Raises:
        DataError: arrays are missing, of no input, or fit no input in type, shape or values; a line that makes a file
            that fits is in the message.
    """
    known, states, feedback = {item.name: item for item in inputs}, states or {}, feedback or {}
    columns, classes = take_labels(columns, known, labels, path)
    _check_names(columns, inputs, states, feedback, path)
    fixed = {name for name, column in columns.items() if _is_constant(column, known[name])}
    for name, column in columns.items():
        if name not in fixed and isinstance(column, np.ndarray) and not column.ndim:
            raise DataError(
                f"{path}: the array for {describe_input(known[name])} is a single number, without an axis for samples",
                code="E044",
            )
    counts = {name: len(column) for name, column in columns.items() if name not in fixed}
    count = _count_samples(counts, classes, path)
    if not alone and not feedback:
        check_ranks({name: columns[name] for name in counts}, known, path)
    stepwise = names_of_steps(columns, known, fixed, feedback, path) if feedback else []
    constant = frozenset(fixed if not feedback else columns.keys() - {*stepwise, *feedback})
    made: dict[str, Array | Sequence[Array]] = {}
    for name, item in known.items():
        if name in columns:
            column = [np.asarray(columns[name])] * count if name in fixed else columns[name]
            try:
                made[name] = _fit_column(
                    column,
                    item,
                    path,
                    alone or name in fixed,
                    name in stepwise,
                    limits or {},
                    empty=name in states,
                )
            except DataError as error:
                raise error if feedback else _with_way_out(error, column, item, states) from error
    check_steps({name: made[name] for name in stepwise}, path)
    stacked = all(item.shape and item.shape[0] is None for item in inputs) and not feedback
    remarks = []
    for name in (name for name in states if name not in columns):
        zeros = states[name].zeros()
        made[name] = np.repeat(zeros, count, axis=0) if stacked and len(zeros) == 1 else [zeros] * count
        if name not in feedback:
            constant |= {name}
            remarks.append(
                f"input {name!r} is a state and has no array, so that it is zeros; "
                f"feedback={states[name].outputs[0]}={name} feeds it back over sequences"
            )
    columns_made = made if stacked else _one_by_one(made)
    return Samples(
        {name: columns_made[name] for name in known}, path, stacked, feedback=feedback,
        constant=constant if feedback else frozenset(), remarks=tuple(remarks),
        labels=classes,
    )  # fmt: skip


def _count_samples(counts: Mapping[str, int], classes: NDArray[np.int64] | None, path: str) -> int:
    """Return how many samples there are; `DataError` where there are none, or where inputs and labels disagree."""
    if not counts or min(counts.values()) == 0:
        raise DataError(f"{path} holds no samples; give every input at least one", code="E043")
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise DataError(f"{path}: inputs have different numbers of samples ({told})", code="E044")
    count = next(iter(counts.values()))
    if classes is not None and len(classes) != count:
        raise DataError(f"{path}: there are {len(classes)} labels for {count} samples", code="E042")
    return count


def _check_names(
    columns: Columns,
    inputs: Sequence[InputLike],
    states: Mapping[str, StateLike],
    feedback: Mapping[str, str],
    path: str,
) -> None:
    """Raise `DataError` unless there is an array for every input that needs one, and none for another."""
    known = {item.name: item for item in inputs}
    stray = [name for name in columns if name not in known]
    missing = [name for name in known if name not in columns and name not in states]
    if missing or (stray and len(stray) == len(columns)):
        have = ", ".join(columns) or "none"
        raise DataError(
            f"{path} has no array for {describe_input(known[missing[0]]) if missing else 'any input'} (it has {have}); "
            f"make one with: {_text_of_file(inputs, states, feedback)}{_hints(inputs, states)}",
            code="E044",
        )
    if stray:
        raise DataError(
            f"{path} has an array {stray[0]!r}, and the model has no such input; its inputs are {', '.join(known)}",
            code="E044",
        )


def _hints(inputs: Sequence[InputLike], states: Mapping[str, StateLike]) -> str:
    """Return what to say of a line that makes a file: which sizes are guesses, and what it leaves out."""
    guessed = any(None in item.shape[1:] for item in inputs if item.name not in states)
    left_out = ", ".join(states)
    sizes = " (8 stands for a size that the model leaves open)" if guessed else ""
    return sizes + (f"; {left_out} may be left out, and is zeros then" if left_out else "")


def check_feeds(feeds: Feeds, inputs: Sequence[InputLike], place: str, *, batch: bool = False) -> None:
    """Raise `DataError` where arrays cannot be fed, by input; batch: whatever the number of rows."""
    for item in inputs:
        if item.name in feeds and not _shape_fits(feeds[item.name].shape, item.shape, batch=batch):
            raise DataError(
                f"{place}: {describe_input(item)} cannot be {shape_text(feeds[item.name].shape)}; "
                f"make a file that fits with: {feeds_text(inputs)}",
                code="E044",
            )


def _fit_column(
    column: Array | Sequence[Array],
    item: InputLike,
    path: str,
    alone: bool,
    steps: bool,
    limits: Mapping[str, int],
    *,
    empty: bool = False,
) -> Array | list[Array]:
    """Return a column as the input takes it, with an axis of steps first in every sample where there are steps.

    empty: whether arrays may have no elements, as a state that grows has none before the first step.
    """
    batch = isinstance(column, np.ndarray) and not steps and bool(item.shape)
    if batch and _shape_fits(np.shape(column), (None, *item.shape[1:])):
        found = _convert(np.asarray(column), item, path)
        _check_values(found, item, path, limits, empty=empty)
        return found
    rows = []
    for number, row in enumerate(column):
        place = f"{path}: sample {number}"
        array = _convert(np.asarray(row), item, place)
        _check_values(array, item, place, limits, empty=empty)
        rows.append(_with_axes(array, item, place, alone, steps))
    return rows


def _with_way_out(
    error: DataError, column: Array | Sequence[Array], item: InputLike, states: Mapping[str, StateLike]
) -> DataError:
    """Return the error, with what feeds states back where samples have an axis of steps before the input's own."""
    inner = np.shape(column[0])[1:]
    if not states or not any(_shape_fits(shape, item.shape) for shape in (inner, (1, *inner))):
        return error
    name, state = next(iter(states.items()))
    hint = f"if these are sequences, feedback={state.outputs[0]}={name} feeds the state back, step by step"
    return DataError(f"{error}; {hint}", code=error.code)


def _with_axes(array: Array, item: InputLike, place: str, alone: bool, steps: bool) -> Array:
    inner = array.shape[1:] if steps else array.shape
    for shape in (inner, (1, *inner)):
        if _shape_fits(shape, item.shape):
            return array.reshape((*array.shape[: int(steps)], *shape))
    what = "a step of a sequence" if steps else "a sample"
    raise DataError(
        f"{place}: {describe_input(item)} cannot be {shape_text(inner)} ({what} of it); "
        f"make an array that fits with: {feeds_text([item], steps=16 if steps else None)}",
        code="E044",
    )


def _convert(array: Array, item: InputLike, place: str) -> Array:
    """Return an array in the input's type; whole numbers may stand for floats, not the other way round."""
    kind, wanted = _kind(array.dtype), _kind(item.dtype)
    fits = kind == wanted or (wanted == "f" and kind in "iu") or (wanted in "iu" and kind in "iu")
    fits = fits or (wanted == "b" and kind in "iu" and bool(np.isin(array, (0, 1)).all()))
    fits = fits or (wanted in "iu" and kind == "b")
    if not fits and array.size:
        if kind == "f" and not np.isfinite(array.astype(np.float64)).all():
            raise DataError(f"{place}: the array for {item.name!r} holds NaN or infinity", code="E045")
        raise DataError(
            f"{place}: {describe_input(item)} takes {_KINDS.get(wanted, item.dtype.name)}, not {array.dtype.name}",
            code="E044",
        )
    if wanted in "iu" and array.size:
        low, high = np.iinfo(item.dtype).min, np.iinfo(item.dtype).max
        if int(array.min()) < low or int(array.max()) > high:
            raise DataError(
                f"{place}: {describe_input(item)} takes {item.dtype.name}, and there is {array.min()} to {array.max()}",
                code="E044",
            )
    with np.errstate(over="ignore"):
        made = array.astype(item.dtype, copy=False)
    if wanted == "f" and made is not array and _all_finite(array) and not _all_finite(made):
        largest = float(ml_dtypes.finfo(item.dtype).max)  # type: ignore[no-untyped-call]
        raise DataError(
            f"{place}: {describe_input(item)} takes {item.dtype.name}, numbers up to {largest:.4g}, and "
            f"there is {float(np.abs(array).max()):.4g}",
            code="E044",
        )
    return np.ascontiguousarray(made).reshape(array.shape)


def _all_finite(array: Array) -> bool:
    return bool(np.isfinite(array.astype(np.float32) if array.dtype == ml_dtypes.bfloat16 else array).all())


def _kind(dtype: np.dtype[Any]) -> str:
    """Return numpy's letter for a kind of number; bfloat16, which numpy does not know, is a float."""
    return "f" if dtype == ml_dtypes.bfloat16 else dtype.kind


def _check_values(
    array: Array, item: InputLike, place: str, limits: Mapping[str, int], *, empty: bool = False
) -> None:
    if not array.size and empty:
        return
    if not array.size:
        raise DataError(
            f"{place}: the array {shape_text(array.shape)} for {item.name!r} is empty", code="E043"
        )
    if array.dtype.kind not in "iub" and not _all_finite(array):
        raise DataError(f"{place}: the array for {item.name!r} holds NaN or infinity", code="E045")
    rows = limits.get(item.name)
    if rows is not None and (int(array.min()) < -rows or int(array.max()) >= rows):
        wrong = int(array.max()) if int(array.max()) >= rows else int(array.min())
        raise DataError(
            f"{place}: the array for {item.name!r} holds {wrong}, and the model's table has the rows 0 to {rows - 1}",
            code="E044",
        )


def _text_of_file(
    inputs: Sequence[InputLike], states: Mapping[str, StateLike], feedback: Mapping[str, str]
) -> str:
    """Return the line that makes a file: without states, and with an axis of steps where samples are sequences."""
    return feeds_text([item for item in inputs if item.name not in states], steps=16 if feedback else None)


def _is_constant(column: Array | Sequence[Array], item: InputLike) -> bool:
    """Say whether an array is the same for all samples: a single number for an input that is one."""
    return not item.shape and isinstance(column, np.ndarray) and column.size == 1


def _one_by_one(columns: Mapping[str, Array | Sequence[Array]]) -> dict[str, list[Array]]:
    return {
        name: [column[i : i + 1] for i in range(len(column))]
        if isinstance(column, np.ndarray)
        else list(column)
        for name, column in columns.items()
    }


def _shape_fits(shape: Sequence[int], wanted: Sequence[int | None], *, batch: bool = False) -> bool:
    if len(shape) != len(wanted):
        return False
    pairs = list(zip(shape, wanted, strict=True))
    return all(want in (None, got) for got, want in (pairs[1:] if batch else pairs))
