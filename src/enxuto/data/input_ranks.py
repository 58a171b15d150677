"""Inputs in messages, and whether arrays for several inputs have their samples along axes that go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from enxuto.data.readers.named import Columns
from enxuto.data.samples import InputLike, feeds_text
from enxuto.errors import DataError

__all__ = ["check_ranks", "describe_input", "shape_text"]


def check_ranks(columns: Columns, known: Mapping[str, InputLike], path: str) -> None:
    """Raise `DataError` where inputs whose first axis the graph calls the same hold samples along it and before it.

    Such axes have one size in a run: a sample alone has 1 along the one, and must not have more along the other.
    """
    along: dict[str, str] = {}
    before: dict[str, str] = {}
    for name, column in columns.items():
        rank, axis = len(known[name].shape), getattr(known[name], "first_axis", "")
        if not isinstance(column, np.ndarray) or not axis:
            continue
        if column.ndim == rank:
            along.setdefault(axis, name)
        elif column.ndim == rank + 1 and column.shape[1] != 1:
            before.setdefault(axis, name)
    for axis in along.keys() & before.keys():
        name, other = before[axis], along[axis]
        shape, beside = (shape_text(np.shape(columns[one])) for one in (name, other))
        raise DataError(
            f"{path}: {describe_input(known[name])} cannot be {shape}, with an axis before its first, {axis!r}, where "
            f"{other!r} is {beside}, without one; make a file that fits with: {feeds_text([known[name]])}",
            code="E044",
        )


def describe_input(item: InputLike) -> str:
    """Return an input's name, type and shape, for messages."""
    return f"input {item.name!r} ({item.dtype.name}, {shape_text(item.shape)})"


def shape_text(shape: Sequence[int | None]) -> str:
    """Return a shape for messages."""
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
