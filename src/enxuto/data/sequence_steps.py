"""Which arrays of sequences have an axis of steps, and whether they have as many steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enxuto.data.readers.named import Columns
from enxuto.data.samples import InputLike
from enxuto.errors import DataError

__all__ = ["check_steps", "names_of_steps"]

Array = NDArray[Any]


def names_of_steps(
    columns: Columns,
    known: Mapping[str, InputLike],
    fixed: Collection[str],
    feedback: Collection[str],
    path: str,
) -> list[str]:
    """Return the names of arrays with an axis of steps, behind that of samples; `DataError` where there are none.

    Args:
        columns: arrays by name.
        known: inputs by name.
        fixed: names of arrays that are the same for all samples.
        feedback: names of inputs that are fed back, whose arrays are what sequences begin with.
        path: for messages.
    """
    # A single number for a sequence is the same in all of its steps.
    found = [
        name
        for name in columns
        if name not in fixed and name not in feedback and not _is_of_sequences(columns[name], known[name])
    ]
    if not found:
        name = next((name for name in columns if name not in feedback), next(iter(columns)))
        raise DataError(
            f"{path}: no array has an axis of steps; give {name!r} one, (N, steps, …), as samples are sequences",
            code="E044",
        )
    return found


def _is_of_sequences(column: Array | Sequence[Array], item: InputLike) -> bool:
    """Say whether an input that is a single number has one for each sequence, and not one for each step."""
    if isinstance(column, np.ndarray):
        return not item.shape and column.ndim == 1
    return not item.shape and all(np.ndim(row) == 0 for row in column)


def check_steps(made: Mapping[str, Array | Sequence[Array]], path: str) -> None:
    """Raise `DataError` where the inputs of a sequence have different numbers of steps."""
    first = next(iter(made), "")
    for name, column in made.items():
        for number, (array, other) in enumerate(zip(column, made[first], strict=True)):
            if len(array) != len(other):
                raise DataError(
                    f"{path}: sample {number} has {len(other)} steps of {first!r} and {len(array)} of {name!r}",
                    code="E044",
                )
