"""Named arrays of a model's inputs: `.npz`, a folder of `.npz` or `.npy`, `.jsonl`, Parquet columns.

What is read here are columns by name as they are stored; `data.feeding` holds them against a model's inputs.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from enxuto.data.damage import READ_ERRORS, translate_archive_errors, translate_read_errors
from enxuto.data.readers.npz import read_array
from enxuto.data.readers.parquet import open_parquet
from enxuto.errors import DataError, EnxutoError, FormatError, error_reason

__all__ = ["Columns", "holds_named_arrays", "read_named_arrays"]

Columns: TypeAlias = "dict[str, NDArray[Any] | list[NDArray[Any]]]"
"""By name an array with the samples along its first axis, or a list with an array a sample."""

_ARRAYS = (".npz", ".npy")
_ROWS = (".jsonl", ".ndjson")


def holds_named_arrays(path: str | Path, names: Collection[str]) -> bool:
    """Say whether a path holds arrays by the names of inputs rather than images."""
    place = Path(path)
    if place.is_dir():
        return any(_array_files(place))
    if place.suffix in (*_ROWS, ".npy"):
        return place.is_file()
    if place.suffix == ".npz" and place.is_file():
        try:
            with zipfile.ZipFile(place) as archive:
                held = {name.removesuffix(".npy") for name in archive.namelist()}
        except READ_ERRORS:
            return False  # the reader of images says what is wrong
        return "images" not in held or "images" in names
    if place.suffix == ".parquet" and place.is_file():
        try:
            return bool(set(names) & set(open_parquet(place).schema_arrow.names))
        except EnxutoError:  # the reader of images says what is wrong
            return False
    return False


def read_named_arrays(
    path: str | Path, names: Sequence[str], states: Sequence[str] = ()
) -> tuple[Columns, bool]:
    """Return the arrays, and whether those of lists lack no axis: each is what one sample feeds.

    Args:
        path: a file or folder for which `holds_named_arrays`.
        names: of the model's inputs; a `.npy` file is for the only one.
        states: names of further inputs, which need no arrays.

    Raises:
        DataError: nothing is there, or samples have different names.
        FormatError: bytes are damaged.
    """
    place = Path(path)
    with translate_read_errors(place):
        if place.is_dir():
            return _read_folder(place, names), True
        if place.suffix == ".npz":
            return dict(_read_archive(place)), False
        if place.suffix == ".npy":
            return {_only(place, names): _read_npy(place)}, False
        return (_read_rows(place) if place.suffix in _ROWS else _read_parquet(place, [*names, *states])), True


def _array_files(folder: Path) -> list[Path]:
    return sorted(
        file for file in folder.iterdir() if file.suffix in _ARRAYS and not file.name.startswith(".")
    )


def _only(place: Path, names: Sequence[str]) -> str:
    if len(names) != 1:
        raise DataError(
            f"{place} holds one array without a name, and the model has {len(names)} inputs ({', '.join(names)}); "
            "write an .npz with an array by the name of each",
            code="E044",
        )
    return names[0]


def _read_folder(folder: Path, names: Sequence[str]) -> Columns:
    rows: list[dict[str, NDArray[Any]]] = []
    files = _array_files(folder)
    for file in files:
        rows.append(_read_archive(file) if file.suffix == ".npz" else {_only(file, names): _read_npy(file)})
        if rows[-1].keys() != rows[0].keys():
            raise DataError(
                f"{file} holds {', '.join(sorted(rows[-1]))}, and {files[0].name} {', '.join(sorted(rows[0]))}; "
                "give all samples arrays of the same names",
                code="E044",
            )
    return {name: [row[name] for row in rows] for name in rows[0]}


def _read_archive(path: Path) -> dict[str, NDArray[Any]]:
    with translate_archive_errors(path), zipfile.ZipFile(path) as archive:
        return {
            info.filename.removesuffix(".npy"): read_array(path, archive, info) for info in archive.infolist()
        }


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        with path.open("rb") as stream:
            version = npy.read_magic(stream)
            header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = header(stream)
            if dtype.hasobject:
                raise FormatError(f"{path} holds Python objects, which are not read; store numbers")
            if int(np.prod(shape, dtype=object)) * dtype.itemsize != path.stat().st_size - stream.tell():
                raise FormatError(
                    f"{path} claims shape {shape}, which does not fit its length; write it again", code="E052"
                )
        return np.asarray(np.load(path, allow_pickle=False))
    except (MemoryError, FormatError):
        raise
    except READ_ERRORS as error:
        raise FormatError(
            f"{path} is not a whole .npy file ({error_reason(error)}); write it again", code="E052"
        ) from error


def _read_rows(path: Path) -> Columns:
    rows: list[dict[str, Any]] = []
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise FormatError(f"{path}, line {number} is no JSON ({error_reason(error)})") from error
            if not isinstance(row, dict) or row.keys() != (rows[0] if rows else row).keys():
                raise DataError(
                    f"{path}, line {number} is no object with the names of the first; give every sample all inputs",
                    code="E044",
                )
            rows.append(row)
    if not rows:
        raise DataError(f"{path} holds no samples", code="E043")
    return {
        name: [_numbers(f"{path}, line {i + 1}", name, row[name]) for i, row in enumerate(rows)]
        for name in rows[0]
    }


def _numbers(place: str, name: str, value: Any) -> NDArray[Any]:
    try:
        found = np.asarray(value)
    except ValueError:
        found = np.asarray(None)
    if found.dtype.kind not in "iufb":
        raise DataError(f"{place}: {name!r} is no array of numbers, all rows of one length", code="E044")
    return found


def _read_parquet(path: Path, names: Sequence[str]) -> Columns:
    table = open_parquet(path)
    wanted = [name for name in names if name in table.schema_arrow.names]
    columns = table.read(columns=wanted)
    if not columns.num_rows:
        raise DataError(f"{path} holds no samples", code="E043")
    return {
        name: [
            _numbers(f"{path}, row {i}", name, value)
            for i, value in enumerate(columns.column(name).to_pylist())
        ]
        for name in wanted
    }
