"""What a model takes: an input's name, shape and type, and what does not fit it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from enxuto.errors import DataError
from enxuto.onnx_model.open_sizes import sizes_to_give

__all__ = [
    "InputInfo",
    "as_input",
    "check_shape",
    "check_sizes",
    "check_sizes_known",
    "rows_for_batches",
    "shape_text",
    "sizes_at",
    "take_rows",
]


@dataclass(frozen=True)
class InputInfo:
    """A model input; a size that is not fixed is None. first_axis: what the graph calls the size of its first axis."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype
    first_axis: str = ""


def as_input(info: InputInfo, values: np.ndarray) -> np.ndarray:
    """Return values in an input's type; `DataError` for what is no whole number of it where it takes those."""
    made = np.ascontiguousarray(values, dtype=info.dtype)
    if info.dtype.kind in "iu" and values.dtype.kind == "f" and not np.array_equal(made, values):
        raise DataError(
            f"input {info.name!r} takes {info.dtype.name}, not numbers such as {values[made != values][0]:g}; "
            "feed pixels as they are (divide_by=1)",
            code="E046",
        )
    return made


def rows_for_batches(infos: Sequence[InputInfo], feeds: Mapping[str, np.ndarray]) -> tuple[int, int]:
    """Return how many rows all inputs are fed, and the batch size that they fix; 0 where they run as they are."""
    shapes = {info.name: info.shape for info in infos if info.shape}
    fixed = {shape[0] for shape in shapes.values()}
    rows = {feeds[name].shape[:1] for name in shapes if name in feeds}
    if len(fixed) != 1 or len(rows) != 1 or () in rows:
        return 0, 0
    (size,), ((count,),) = fixed, rows
    return count, 0 if size is None or size < 2 or not count or count == size else size


def take_rows(feeds: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return these rows of all inputs; single numbers as they are."""
    return {name: array[rows] if array.ndim else array for name, array in feeds.items()}


def check_shape(info: InputInfo, shape: Sequence[int]) -> None:
    """Raise `DataError` where a batch of this shape does not fit an input, whatever its number of rows."""
    fits = len(shape) == len(info.shape) and all(
        want in (None, got) for want, got in zip(info.shape[1:], shape[1:], strict=True)
    )
    if not fits or shape[0] < 1:
        expected = ("N", *("any" if size is None else size for size in info.shape[1:]))
        raise DataError(
            f"the model takes {shape_text(expected)} as {info.name!r}, got {shape_text(shape)}{_way(info, shape)}",
            code="E044",
        )


def _way(info: InputInfo, shape: Sequence[int]) -> str:
    """Return how images come to fit, where no more than their colours or the order of their axes is wrong."""
    wanted, given = tuple(info.shape[1:]), tuple(shape[1:])
    if len(wanted) != 3 or len(given) != 3:
        return ""
    for axis in (0, 2):
        rest = wanted[:axis] + wanted[axis + 1 :], given[:axis] + given[axis + 1 :]
        if (wanted[axis], given[axis]) == (1, 3) and all(
            want in (None, got) for want, got in zip(*rest, strict=True)
        ):
            return "; preprocessing with channels=L makes images grey"
    if wanted[2] in (1, 3) and given == (wanted[2], *wanted[:2]):
        return "; preprocessing with layout=NHWC puts channels last"
    return ""


def check_sizes(info: InputInfo, sizes: Sequence[int]) -> None:
    """Raise `DataError` where an input cannot have exactly this shape."""
    if len(sizes) != len(info.shape) or any(
        want not in (None, got) for want, got in zip(info.shape, sizes, strict=True)
    ):
        expected = ["any" if size is None else size for size in info.shape]
        raise DataError(
            f"input {info.name!r} has the shape {shape_text(expected)}, which cannot be {shape_text(sizes)}",
            code="E044",
        )


def check_sizes_known(inputs: Sequence[InputInfo]) -> None:
    """Raise `DataError` where several inputs leave sizes open behind the batch; one message names them all."""
    open_inputs = [info for info in inputs if None in info.shape[1:]]
    if len(open_inputs) > 1:
        told = ", ".join(f"{info.name!r} {shape_text(info.shape)}" for info in open_inputs)
        given = ";".join(f"{info.name}={sizes_to_give(info.shape[1:])}" for info in open_inputs)
        raise DataError(
            f"inputs leave sizes open: {told}; give shape= for each, such as '{given}'", code="E023"
        )


def sizes_at(info: InputInfo, batch: int) -> list[int]:
    """The shape of an input at a batch size; sizes of other axes must be fixed."""
    if not info.shape:
        return []
    first = batch if info.shape[0] is None else info.shape[0]
    if first != batch:
        raise DataError(
            f"the model's batch size is fixed to {first}; it cannot run with {batch}", code="E044"
        )
    rest = [size for size in info.shape[1:] if size is not None]
    if len(rest) < len(info.shape) - 1:
        hint = f"give shape={sizes_to_give(info.shape[1:])}"
        raise DataError(
            f"input {info.name!r} leaves sizes open {shape_text(info.shape)}; {hint}", code="E023"
        )
    return [batch, *rest]


def shape_text(shape: Sequence[object]) -> str:
    """Return a shape for messages."""
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
