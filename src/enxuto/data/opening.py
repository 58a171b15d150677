"""`open_dataset`: finds out what a path holds and opens it with the right reader."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from enxuto.data.damage import translate_read_errors
from enxuto.data.dataset import Dataset
from enxuto.data.labels import Label
from enxuto.data.published import PUBLISHED, locate
from enxuto.data.readers.cifar import CIFAR_FILES, read_cifar
from enxuto.data.readers.folder import has_image_folders, has_loose_images, read_folder
from enxuto.data.readers.idx import IDX_FILE, read_idx
from enxuto.data.readers.ilsvrc import has_ground_truth, read_ilsvrc
from enxuto.data.readers.npz import read_npz
from enxuto.data.readers.parquet import read_parquet
from enxuto.data.readers.table import ADIENCE_FOLD, TABLE_SUFFIXES, read_table
from enxuto.data.selection import random_sample
from enxuto.data.source import Source
from enxuto.errors import DataError, UsageError, did_you_mean, does_not_exist
from enxuto.files import to_path

__all__ = ["FORMATS", "open_dataset"]

FORMATS = ("parquet", "folder", "idx", "cifar", "npz", "table", "ilsvrc")


def open_dataset(
    path: str | Path,
    *,
    split: str | None = None,
    format: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    image_column: str | None = None,
    label_column: str | None = None,
    require_labels: bool = True,
    names: Sequence[Label] | None = None,
    outputs: int | None = None,
) -> Dataset:
    """Open labelled images: Parquet, class folders, IDX, CIFAR binary, `.npz`, a table or ILSVRC's validation
    folder, as the path shows.

    Args:
        path: a file or folder; where there is none of that name, a published data set fetched before (`cifar10`).
        split: the part to open; by default the only one, or `test`.
        format: one of `FORMATS`; by default the one that the path shows.
        limit: number of samples, drawn at random with `seed` and kept in their order; all where there are fewer.
        seed: of that draw.
        image_column: the column of images, of Parquet and of tables.
        label_column: the column of labels, of Parquet and of tables; also `fine` or `coarse` of CIFAR-100, and `age`
            or `gender` of Adience.
        require_labels: whether labels are needed. Where they are not, any folder of images will do, and
            `Dataset.labelled` says whether there are labels.
        names: a model's class names in the order of its outputs; labels become numbers of these outputs.
            `Dataset.match_classes` does the same and reports the matching.
        outputs: the model's number of outputs.

    Raises:
        DataError: nothing there can be read, or labels do not fit the model.
        FormatError: bytes are damaged.
        UsageError: an option makes no sense.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}; it must be 1 or more")
    if seed < 0:
        raise UsageError(f"seed is {seed}; it must be 0 or more")
    if format is not None and format not in FORMATS:
        names_of_formats = ", ".join(FORMATS)
        raise UsageError(
            f"no data format is called {format!r}{did_you_mean(format, FORMATS)}; there are {names_of_formats}",
            code="E021",
        )
    place = to_path(path, "the path of a data file or folder")
    if not os.path.lexists(place) and str(path) in PUBLISHED:
        place = locate(str(path))
    with translate_read_errors(place):
        _check_exists(place)
        kind = format or _detect(place)
        source = _read(place, kind, split, (image_column, label_column), require_labels)
    total = len(source.labels)
    chosen = random_sample(total, limit, seed) if limit is not None and limit < total else None
    dataset = Dataset(source, chosen, seed=seed)
    return dataset if names is None and outputs is None else dataset.match_classes(names, outputs)[0]


def _check_exists(place: Path) -> None:
    """Raise `DataError` where there is neither a regular file nor a folder."""
    if os.path.isfile(place) or os.path.isdir(place):
        return
    if os.path.islink(place):
        raise DataError(f"{place} is a link that leads nowhere; name a data file or folder", code="E010")
    if os.path.exists(place):
        raise DataError(f"{place} is neither a file nor a folder; name a data file or folder", code="E011")
    hint = did_you_mean(str(place), PUBLISHED)
    raise DataError(does_not_exist(place, "data file or folder", hint), code="E010")


def _read(
    place: Path, kind: str, split: str | None, columns: tuple[str | None, str | None], require_labels: bool
) -> Source:
    image, label = columns
    if kind not in ("parquet", "table") and image is not None:
        raise UsageError(f"{place} is {kind} data, which has no columns; leave out image_column", code="E024")
    if kind not in ("parquet", "cifar", "table") and label is not None:
        raise UsageError(
            f"{place} is {kind} data, which has one label only; leave out label_column", code="E024"
        )
    if place.is_file() and kind == "folder":
        raise DataError(f"{place} is a file; name the folder of the class folders", code="E011")
    if place.is_dir() and kind == "npz":
        raise DataError(f"{place} is a folder; name the .npz file", code="E011")
    match kind:
        case "parquet":
            return read_parquet(
                place, split=split, image_column=image, label_column=label, require_labels=require_labels
            )
        case "folder":
            return read_folder(place, split=split, require_labels=require_labels)
        case "idx":
            return read_idx(place, split=split, require_labels=require_labels)
        case "cifar":
            return read_cifar(place, split=split, label=label)
        case "table":
            return read_table(
                place, split=split, image_column=image, label_column=label, require_labels=require_labels
            )
        case "ilsvrc":
            return read_ilsvrc(place, split=split, require_labels=require_labels)
        case _:
            return read_npz(place, split=split, require_labels=require_labels)


def _detect(place: Path) -> str:
    """The format of a file by its first bytes or its name, of a folder by the names in it."""
    kind = _detect_folder(place) if place.is_dir() else _detect_file(place)
    if kind is None:
        raise DataError(
            f"{place} is no data set of a known format; those are Parquet, a folder of class folders with images, "
            "IDX (MNIST), CIFAR binary, .npz, tables (.csv, .tsv, Adience's folds) and ILSVRC's validation folder"
        )
    return kind


def _detect_file(file: Path) -> str | None:
    with file.open("rb") as stream:
        start = stream.read(4)
    if start == b"PAR1" or file.suffix.lower() == ".parquet":
        return "parquet"
    if file.suffix.lower() == ".npz":
        return "npz"
    # Adience's folds are .txt and begin with user_id.
    if file.suffix.lower() in TABLE_SUFFIXES or start == b"user":
        return "table"
    if IDX_FILE.fullmatch(file.name) or start[:3] == b"\0\0\x08":
        return "idx"
    return "cifar" if file.suffix == ".bin" else None


def _detect_folder(folder: Path) -> str | None:
    names = {entry.name for entry in folder.iterdir()}
    if "data_batch_1" in names or {"meta", "train", "test"} <= {n for n in names if (folder / n).is_file()}:
        raise DataError(
            f"{folder} is the pickled edition of CIFAR, which is not read as it could run code; "
            "fetch the binary edition (cifar-10-binary.tar.gz, cifar-100-binary.tar.gz)",
            code="E046",
        )
    if any(folder.glob("*.parquet")) or any(folder.glob("data/*.parquet")):
        return "parquet"
    if names & CIFAR_FILES:
        return "cifar"
    if any(ADIENCE_FOLD.fullmatch(name) for name in names):
        return "table"
    inside = [folder, folder / "raw"]
    if any(IDX_FILE.fullmatch(file.name) for place in inside if place.is_dir() for file in place.iterdir()):
        return "idx"
    if has_ground_truth(folder):
        return "ilsvrc"
    return "folder" if has_image_folders(folder) or has_loose_images(folder) else None
