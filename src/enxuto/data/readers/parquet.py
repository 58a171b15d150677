"""Parquet files with encoded images, as the Hugging Face hub stores them.

Image column: a struct with a field `bytes`, or plain binary. Label column: whole numbers. Class names come
from the schema's `huggingface` metadata when it has them. A folder of shards (`train-00000-of-00005.parquet`)
reads as one. Labels are read at once, images by row group. Not here: images given as links or paths only.
"""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enxuto.data.damage import READ_ERRORS
from enxuto.data.selection import choose_part
from enxuto.data.source import Source, int64_labels, no_labels
from enxuto.errors import DataError, FormatError, did_you_mean, error_reason, import_optional

__all__ = ["open_parquet", "read_parquet"]

_CACHE_BYTES = 256 * 2**20  # encoded bytes of row groups kept at hand
_IMAGE_NAMES = ("image", "img")
_LABEL_NAMES = ("label", "labels", "fine_label")


def read_parquet(
    path: Path,
    *,
    split: str | None,
    image_column: str | None,
    label_column: str | None,
    require_labels: bool = True,
) -> Source:
    """Open a Parquet file or a folder of shards.

    Args:
        path: the file or folder.
        split: of a folder, the first word of the shards' names.
        image_column, label_column: by default the usual name, or the only column of a fitting type.
        require_labels: where labels are not needed, there need not be a column of them.

    Raises:
        UsageError: PyArrow is missing.
        DataError: there is no such shard or column, or a label is null.
        FormatError: a file is not Parquet.
    """
    shards, part = _find_shards(path, split)
    files = [open_parquet(shard) for shard in shards]
    schema = files[0].schema_arrow
    for file, shard in zip(files, shards, strict=True):
        if file.schema_arrow != schema:
            raise DataError(f"{shard} has other columns than {shards[0].name}; name one file")
    image = image_column or _find_column(path, schema, _holds_images, _IMAGE_NAMES, "image")
    label = label_column or _label_column(path, schema, require_labels)
    wanted = [(image, _holds_images, "images")] + (
        [(label, _holds_labels, "whole-number labels")] if label else []
    )
    for column, fits, kind in wanted:
        if column not in schema.names or not fits(schema.field(column).type):
            columns = ", ".join(schema.names)
            hint = did_you_mean(column, [name for name in schema.names if fits(schema.field(name).type)])
            raise DataError(
                f"{path}: no column {column!r} with {kind}{hint}; the columns are {columns}", code="E021"
            )
    groups = _RowGroups(path, files, image)
    labels = _read_labels(path, files, label, require_labels) if label else None
    if labels is not None and len(labels) != groups.rows:
        raise FormatError(
            f"{path} holds {len(labels)} labels in {groups.rows} rows; fetch it again", code="E052"
        )
    return Source(
        path=str(path),
        format="parquet",
        part=part,
        labels=no_labels(groups.rows) if labels is None else labels,
        classes=None if label is None or labels is None else _class_names(schema, label),
        fetch=groups.fetch,
        name=lambda index: f"sample {index}",
        labelled=labels is not None,
        labels_required=require_labels,
    )


class _RowGroups:
    """Encoded images by sample number; the row groups last used stay in memory, up to `_CACHE_BYTES`."""

    def __init__(self, path: Path, files: list[Any], column: str) -> None:
        self._path = path
        self._files = files
        self._column = column
        places = [(file, group) for file in range(len(files)) for group in range(files[file].num_row_groups)]
        rows = [files[file].metadata.row_group(group).num_rows for file, group in places]
        self._places = places
        self._starts = np.concatenate([[0], np.cumsum(rows, dtype=np.int64)])
        self._cache: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()  # a ParquetFile reads for one thread at a time

    @property
    def rows(self) -> int:
        """How many samples there are."""
        return int(self._starts[-1])

    def fetch(self, index: int) -> bytes:
        """The encoded bytes of one sample."""
        place = int(np.searchsorted(self._starts, index, side="right")) - 1
        value = self._row_group(place)[index - int(self._starts[place])].as_py()
        if value is None:
            raise DataError("has no image bytes (null); images given by path are not followed", code="E041")
        return bytes(value)

    def _row_group(self, place: int) -> Any:
        with self._lock:
            if place in self._cache:
                self._cache.move_to_end(place)
                return self._cache[place]
            file, group = self._places[place]
            column = self._read_row_group(self._files[file], group)
            self._cache[place] = column
            while len(self._cache) > 1 and sum(c.nbytes for c in self._cache.values()) > _CACHE_BYTES:
                self._cache.popitem(last=False)
            return column

    def _read_row_group(self, file: Any, group: int) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        try:
            column = file.read_row_group(group, columns=[self._column]).column(self._column)
        except (pa.ArrowException, *READ_ERRORS) as error:
            raise FormatError(
                f"{self._path}: row group {group} cannot be read ({error_reason(error)}); fetch the file again",
                code="E052",
            ) from error
        return pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column


def _find_shards(path: Path, split: str | None) -> tuple[list[Path], str | None]:
    """The files to read and the name of the part they are."""
    if path.is_file():
        if split is not None:
            raise DataError(
                f"{path} is one file, without parts; leave out split=, or name the folder of shards",
                code="E024",
            )
        return [path], None
    found = sorted(path.glob("*.parquet")) or sorted((path / "data").glob("*.parquet"))
    if not found:
        raise DataError(f"{path} holds no .parquet files; name the folder that does", code="E010")
    words = {shard: re.split(r"[-_.]", shard.stem)[0] for shard in found}
    part = choose_part(path, sorted(set(words.values())), split)
    return [shard for shard in found if words[shard] == part], part


def open_parquet(path: Path) -> Any:
    """Open a Parquet file with PyArrow. Raises `UsageError` without PyArrow, `FormatError` for a damaged file."""
    pa, pq = (
        import_optional(name, f"{path}: reading Parquet", "PyArrow", "parquet")
        for name in ("pyarrow", "pyarrow.parquet")
    )
    try:
        return pq.ParquetFile(path, memory_map=True)
    except (pa.ArrowException, *READ_ERRORS) as error:
        raise FormatError(
            f"{path} is not a whole Parquet file ({error_reason(error)}); fetch it again", code="E052"
        ) from error


def _holds_images(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        names = [kind.field(position).name for position in range(kind.num_fields)]
        return "bytes" in names and _holds_images(kind.field("bytes").type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _holds_labels(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind))


def _find_column(path: Path, schema: Any, fits: Any, usual: tuple[str, ...], role: str) -> str:
    """The column for a role: one of the usual names, else the only column of the right type."""
    fitting = [name for name in schema.names if fits(schema.field(name).type)]
    named = [name for name in usual if name in fitting]
    if named or len(fitting) == 1:
        return (named or fitting)[0]
    columns = ", ".join(fitting or schema.names)
    problem = "several columns could hold" if fitting else "no column holds"
    raise DataError(
        f"{path}: {problem} the {role}s; name one with {role}_column (columns: {columns})", code="E023"
    )


def _label_column(path: Path, schema: Any, require_labels: bool) -> str | None:
    """The column of labels; None where it cannot be told and none is needed."""
    try:
        return _find_column(path, schema, _holds_labels, _LABEL_NAMES, "label")
    except DataError:
        if require_labels:
            raise
        return None


def _read_labels(path: Path, files: list[Any], column: str, require_labels: bool) -> NDArray[np.int64] | None:
    """The labels of all samples; None where some have none and none are needed."""
    import pyarrow as pa

    try:
        pieces = [file.read(columns=[column]).column(column) for file in files]
        if any(piece.null_count for piece in pieces):
            if not require_labels:
                return None
            raise DataError(
                f"{path}: column {column!r} has samples without a label; leave them out", code="E042"
            )
        numbers = [piece.to_numpy() for piece in pieces]
    except (pa.ArrowException, *READ_ERRORS) as error:
        raise FormatError(
            f"{path}: labels cannot be read ({error_reason(error)}); fetch the file again", code="E052"
        ) from error
    return np.concatenate([int64_labels(piece) for piece in numbers])


def _class_names(schema: Any, label: str) -> tuple[str, ...] | None:
    """Names by label from the Hugging Face metadata, or None; metadata of another shape is no error."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        names = features[label]["names"]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, MemoryError):
        return None
    usable = isinstance(names, list) and all(isinstance(name, (str, int)) for name in names)
    return tuple(str(name) for name in names) if usable and names else None
