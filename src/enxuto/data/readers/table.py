"""A table (CSV or TSV) that names image files and their labels, with the images in folders beside it.

Any table: a column of file names and a column of labels, whole numbers or words (classes are then the words,
sorted). A column `split` makes parts. Adience (E. Eidinger et al., IEEE TIFS 2014) is known by its columns: age in
its 8 groups or gender, from `fold_N_data.txt`, images in `aligned` or `faces`; of a folder of folds, `train` is
folds 0–3, `test`, the default, fold 4 and `all` all of them. Rows without a usable label are left out and counted in
the notes.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from enxuto.data.selection import choose_part
from enxuto.data.source import Source, no_labels, read_sample
from enxuto.errors import DataError, FormatError

__all__ = ["ADIENCE_AGES", "ADIENCE_FOLD", "TABLE_SUFFIXES", "holds_folds", "read_table"]

TABLE_SUFFIXES = (".csv", ".tsv")
ADIENCE_FOLD = re.compile(r"fold_(\d)_data\.txt")
ADIENCE_AGES = (
    "(0, 2)",
    "(4, 6)",
    "(8, 12)",
    "(15, 20)",
    "(25, 32)",
    "(38, 43)",
    "(48, 53)",
    "(60, 100)",
)
_AGE_SPELLINGS = {"(8, 13)": "(8, 12)", "(38, 42)": "(38, 43)"}  # both stand in the published folds
_GENDERS = {
    "m": "male",
    "f": "female",
}  # in the order of the published network's outputs (Levi and Hassner 2015)
_ADIENCE_COLUMNS = frozenset({"user_id", "original_image", "face_id", "age", "gender"})
_ADIENCE_IMAGES = (("aligned", "landmark_aligned_face"), ("faces", "coarse_tilt_aligned_face"))
_FOLDS = 5
_ONE_FOLD = "fold 4 is taken, which the part train leaves out; split=all takes all five folds as one set"
_FILE_NAMES = ("file", "filename", "file_name", "path", "image", "img")
_LABEL_NAMES = ("label", "labels", "class", "target")
_PART = "split"

Row = Mapping[str, str]


def holds_folds(folder: Path) -> bool:
    """Whether all five folds of Adience lie in a folder, so that it has the part `all`."""
    return folder.is_dir() and len(_fold_files(folder)) == _FOLDS


def read_table(
    path: Path,
    *,
    split: str | None,
    image_column: str | None,
    label_column: str | None,
    require_labels: bool = True,
) -> Source:
    """Open a table, or a folder with the folds of Adience.

    Args:
        path: the table, or the folder of the folds.
        split: a value of the column `split`; of Adience a fold, `train`, `test` or `all`.
        image_column: by default the usual name (`file` …).
        label_column: by default the usual name (`label` …); of Adience `age`, the default, or `gender`.
        require_labels: where labels are not needed, there need not be a column of them.

    Raises:
        DataError: there is no such column, part or image file.
        FormatError: a row does not fit the heading.
    """
    if path.is_dir():
        tables, fold = _find_folds(path, split)
        rows = [row for table in tables for row in _read_rows(table)]
        source = _adience_source(path, path, rows, label_column, fold)
        return source if split or fold != "test" else replace(source, notes=(*source.notes, _ONE_FOLD))
    rows = _read_rows(path)
    if set(rows[0]) >= _ADIENCE_COLUMNS:
        if split is not None:
            raise DataError(
                f"{path} is one fold; leave out split=, or name the folder of the folds", code="E024"
            )
        return _adience_source(path, path.parent, rows, label_column, None)
    columns = list(rows[0])
    files = _find_column(path, columns, image_column, _FILE_NAMES, "file names", "image_column")
    labels: str | None = None
    if require_labels or label_column is not None or any(name.lower() in _LABEL_NAMES for name in columns):
        labels = _find_column(path, columns, label_column, _LABEL_NAMES, "labels", "label_column")
    # Of all parts, so that a label means the same in each.
    classes = None if labels is None else _classes([row[labels] for row in rows])
    part: str | None = None
    if _PART in columns:
        part = choose_part(path, sorted({row[_PART] for row in rows}), split)
        rows = [row for row in rows if row[_PART] == part]
    elif split is not None:
        raise DataError(f"{path} has no column {_PART!r}, so no parts; leave out split", code="E024")
    if labels is None:
        return _unlabelled_source(path, [path.parent / row[files] for row in rows], part)
    samples = [_Sample(path.parent / row[files], row[labels]) for row in rows]
    return _labelled_source(path, path.parent, samples, classes, part, labels_required=require_labels)


@dataclass(frozen=True)
class _Sample:
    file: Path
    label: str


def _find_folds(folder: Path, split: str | None) -> tuple[list[Path], str]:
    """The tables of a part of Adience: a fold, or `train`, `test` and `all`, where all five are there."""
    tables = _fold_files(folder)
    parts = {name: [file] for name, file in tables.items()}
    if len(tables) == _FOLDS:
        *first, last = tables.values()
        parts |= {"train": first, "test": [last], "all": [*first, last]}
    if not parts:
        raise DataError(
            f"{folder} has no tables such as fold_0_data.txt; name a .csv or .tsv file", code="E010"
        )
    part = choose_part(folder, sorted(parts), split)
    return parts[part], part


def _fold_files(folder: Path) -> dict[str, Path]:
    """The tables of Adience's folds by their names as parts."""
    return {f"fold_{match[1]}": file for file in sorted(folder.iterdir())
            if (match := ADIENCE_FOLD.fullmatch(file.name))}  # fmt: skip


def _adience_source(
    path: Path, folder: Path, rows: Sequence[Row], column: str | None, part: str | None
) -> Source:
    label_name = column or "age"
    if label_name not in ("age", "gender"):
        raise DataError(
            f"{path} is a table of Adience; label_column is age or gender, not {label_name!r}", code="E021"
        )
    images = next((pair for pair in _ADIENCE_IMAGES if (folder / pair[0]).is_dir()), None)
    if images is None:
        raise DataError(
            f"{folder} has no folder `aligned` or `faces`; unpack aligned.tar.gz of Adience there",
            code="E010",
        )
    samples = []
    for row in rows:
        name = f"{images[1]}.{row['face_id']}.{row['original_image']}"
        samples.append(_Sample(folder / images[0] / row["user_id"] / name, _adience_label(row, label_name)))
    classes = ADIENCE_AGES if label_name == "age" else tuple(_GENDERS.values())
    return _labelled_source(path, folder, samples, classes, part)


def _adience_label(row: Row, label_name: str) -> str:
    value = row[label_name].strip()
    return _AGE_SPELLINGS.get(value, value) if label_name == "age" else _GENDERS.get(value, value)


def _labelled_source(
    path: Path,
    root: Path,
    samples: Sequence[_Sample],
    classes: tuple[str, ...] | None,
    part: str | None,
    *,
    labels_required: bool = True,
) -> Source:
    """Number labels by the classes, where there are any; samples with another label are left out."""
    known = None if classes is None else {name: number for number, name in enumerate(classes)}
    used = [sample for sample in samples if (sample.label in known if known else sample.label.strip())]
    labels = [known[sample.label] if known else int(sample.label) for sample in used]
    _check_files_exist(path, [sample.file for sample in used])
    odd = sorted({sample.label for sample in samples} - {sample.label for sample in used})
    left_out = f"{len(samples) - len(used)} rows without a usable label were left out"
    return Source(
        path=str(path),
        format="table",
        part=part,
        labels=np.array(labels, np.int64),
        classes=classes,
        fetch=lambda index: read_sample(used[index].file),
        name=lambda index: f"sample {index} ({_relative(used[index].file, root)})",
        notes=(f"{left_out} ({', '.join(map(repr, odd[:5]))})",) if odd else (),
        labels_required=labels_required,
    )


def _unlabelled_source(path: Path, files: Sequence[Path], part: str | None) -> Source:
    _check_files_exist(path, files)
    return Source(
        path=str(path),
        format="table",
        part=part,
        labels=no_labels(len(files)),
        classes=None,
        fetch=lambda index: read_sample(files[index]),
        name=lambda index: f"sample {index} ({_relative(files[index], path.parent)})",
        labelled=False,
    )


def _check_files_exist(path: Path, files: Sequence[Path]) -> None:
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise DataError(
            f"{path} names {len(missing)} of {len(files)} images that are not there, first {missing[0]}",
            code="E010",
        )


def _classes(labels: Sequence[str]) -> tuple[str, ...] | None:
    """The words used as labels, sorted, or None where all are whole numbers (an empty one is no label)."""
    given = {label for label in labels if label.strip()}
    if all(re.fullmatch(r"\s*-?\d{1,9}\s*", label) for label in given):
        return None
    return tuple(sorted(given))


def _read_rows(table: Path) -> list[dict[str, str]]:
    """The rows by column name. Raises `FormatError` for a row of another length, `DataError` for no rows."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{table} is not a table in UTF-8 ({error.reason} at byte {error.start})"
        ) from error
    heading = text.split("\n", 1)[0]
    separator = max("\t,;", key=heading.count)
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if line]
    except csv.Error as error:
        raise FormatError(f"{table} is not a table ({error})") from error
    if len(lines) < 2:
        raise DataError(
            f"{table} has no rows below its heading; name a table of image files and labels", code="E043"
        )
    columns = [name.strip() for name in lines[0]]
    if len(set(columns)) < len(columns):
        raise FormatError(f"{table} names a column twice in its heading ({', '.join(columns)})")
    for number, line in enumerate(lines[1:], start=1):
        if len(line) != len(columns):
            raise FormatError(f"{table}: row {number} has {len(line)} fields, the heading {len(columns)}")
    return [dict(zip(columns, line, strict=True)) for line in lines[1:]]


def _find_column(
    path: Path, columns: Sequence[str], requested: str | None, usual: Sequence[str], what: str, option: str
) -> str:
    found = [name for name in columns if name.lower() in usual] if requested is None else [requested]
    if len(found) != 1 or found[0] not in columns:
        raise DataError(
            f"{path}: which column holds the {what}? name it by {option}: {', '.join(columns)}", code="E023"
        )
    return found[0]


def _relative(file: Path, root: Path) -> str:
    return str(file.relative_to(root)) if file.is_relative_to(root) else str(file)
