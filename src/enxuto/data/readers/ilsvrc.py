"""The validation images of ILSVRC 2012: one flat folder, and beside it a list of what is on them.

Images are called `ILSVRC2012_val_00000001.JPEG` (or .jpg, .png) and lie in the folder, or in one inside it. The list
lies in the folder, in one called `data` or in the devkit's, and is one of

- Caffe's `val.txt`: file name and number, which counts synsets in the order of their names from 0, as networks do; or
  such numbers alone, a line for each image in the order of their numbers;
- `LOC_val_solution.csv` of Kaggle, or lines of file name and synset (`n01440764`);
- a line for each image in the order of their numbers: a synset, or the devkit's own number from 1 to 1000
  (`ILSVRC2012_validation_ground_truth.txt`). The devkit counts synsets in another order than networks, so its
  `meta.mat`, or a file `map_clsloc.txt` with synset and number, has to lie there too.

Numbers that may count from 1 are refused: no image has the number 0, and they stand alone, reach 1000 or leave none
out. Labels are positions of synsets among all that the list names, sorted. Images may be fewer than the list has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from enxuto.data.damage import READ_ERRORS
from enxuto.data.source import Source, no_labels, read_sample
from enxuto.errors import DataError, FormatError, error_reason, import_optional

__all__ = ["LISTS", "has_ground_truth", "is_validation_image", "read_ilsvrc"]

LISTS = (
    "val.txt (image and number from 0, or the numbers alone), LOC_val_solution.csv, or the devkit's "
    "ILSVRC2012_validation_ground_truth.txt with its meta.mat"
)
"""The lists of what is on the images, for messages."""

_IMAGE = re.compile(r"ILSVRC2012_val_(\d{8})\.(?:JPE?G|PNG)", re.IGNORECASE)
_SYNSET = re.compile(r"n\d{8}")
_NAMED = re.compile(
    r"(?:\S*/)?(ILSVRC2012_val_\d{8})(?:\.JPE?G|\.PNG)?[\s,]+(n\d{8}|\d{1,4})\b.*", re.IGNORECASE
)
_NUMBER = re.compile(r"\d{1,4}", re.ASCII)
_MAPPED = re.compile(r"\s*(n\d{8})\s+(\d{1,4})\b")
_CLASSES = 1000
_LARGEST = 16 << 20  # bytes of a list; those of 50,000 images have 3 MB at most


def is_validation_image(name: str) -> bool:
    """Whether a file is called as ILSVRC's validation images are."""
    return _IMAGE.fullmatch(name) is not None


def has_ground_truth(folder: Path) -> bool:
    """Whether validation images lie in a folder, or in one inside it, and a list of what is on them beside."""
    return _image_folder(folder) is not None and _find_list(folder) is not None


def read_ilsvrc(folder: Path, *, split: str | None = None, require_labels: bool = True) -> Source:
    """Open the images and their list; the list may be missing where labels are not needed.

    Raises `DataError` where one of them is missing or does not fit the other, `FormatError` for a damaged list.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is a file; name the folder of ILSVRC's validation images", code="E011")
    if split is not None:
        raise DataError(f"{folder} has no parts such as train and test; leave out split", code="E024")
    images = _image_folder(folder)
    if images is None:
        raise DataError(f"{folder} has no images such as ILSVRC2012_val_00000001.JPEG", code="E043")
    files = sorted(file for file in images.iterdir() if _IMAGE.fullmatch(file.name))
    labels, classes = _labels(folder, files) if require_labels else (no_labels(len(files)), None)
    return Source(
        path=str(folder),
        format="ilsvrc",
        part=None,
        labels=labels,
        classes=classes,
        fetch=lambda index: read_sample(files[index]),
        name=lambda index: f"sample {index} ({files[index].name})",
        labelled=require_labels,
    )


def _labels(folder: Path, files: Sequence[Path]) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
    """The labels of images int64 (N,), and the synsets by label where the list names them."""
    found = _find_list(folder)
    if found is None:
        raise DataError(f"{folder} has no list of what is on the images; put there {LISTS}", code="E010")
    answers = _by_synset(folder, found)
    numbers = [_number(file.name) for file in files]
    missing = [file.name for file, number in zip(files, numbers, strict=True) if number not in answers]
    if missing:
        raise DataError(
            f"{found.file} says nothing of {len(missing)} images, first {missing[0]}", code="E042"
        )
    synsets = {one for one in answers.values() if _SYNSET.fullmatch(one)}
    if synsets and len(synsets) < len(set(answers.values())):
        raise DataError(f"{found.file} has both synsets and numbers; name one kind of class", code="E042")
    classes = tuple(sorted(synsets)) or None
    if classes is None:
        _check_counts_from_0(found)
    places = None if classes is None else {name: place for place, name in enumerate(classes)}
    labels = [int(answers[n]) if places is None else places[answers[n]] for n in numbers]
    return np.array(labels, np.int64), classes


def _check_counts_from_0(found: _AnswerList) -> None:
    """Refuse numbers that may count from 1, or in another order: labels would be wrong in silence."""
    numbers = {int(answer) for answer in found.answers.values()}
    most = max(numbers)
    has_all = most > 1 and numbers == set(range(1, most + 1))
    if 0 not in numbers and (found.is_bare or most >= _CLASSES or has_all):
        raise DataError(
            f"{found.file} has no image of class 0, so it may count from 1, or in the devkit's own order; write "
            "numbers from 0 in the order of the synsets' names, or the synsets (n01440764), or put there the devkit's "
            "ILSVRC2012_validation_ground_truth.txt under its own name, with its meta.mat",
            code="E042",
        )


def _image_folder(folder: Path) -> Path | None:
    """The folder of the images: this, or the one in it that holds any; None where they lie in folders of classes."""
    if _has_image(folder):
        return folder
    inside = [entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    found = [place for place in inside if _has_image(place)]
    return found[0] if len(found) == 1 and not _SYNSET.fullmatch(found[0].name) else None


def _has_image(folder: Path) -> bool:
    return any(_IMAGE.fullmatch(entry.name) for entry in folder.iterdir())


def _number(name: str) -> int:
    match = _IMAGE.fullmatch(name)
    assert match is not None, "images are found by this"
    return int(match[1])


def _list_folders(folder: Path) -> Iterator[Path]:
    for place in (folder, folder / "data", folder / "ILSVRC2012_devkit_t12" / "data"):
        if place.is_dir():
            yield place


@dataclass(frozen=True)
class _AnswerList:
    """A list's file, and its answers as texts by the images' numbers.

    of_devkit: whether these are the devkit's numbers. is_bare: whether they are numbers of which nothing is known.
    """

    file: Path
    answers: Mapping[int, str]
    of_devkit: bool = False
    is_bare: bool = False


def _find_list(folder: Path) -> _AnswerList | None:
    """The first list, or the only one of bare numbers. Raises `DataError` where several of these differ."""
    bare: list[_AnswerList] = []
    for place in _list_folders(folder):
        for file in sorted(place.iterdir()):
            if file.suffix in (".txt", ".csv") and file.is_file() and file.stat().st_size <= _LARGEST:
                found = _read_list(file)
                if found is not None and not found.is_bare:
                    return found
                bare += [] if found is None else [found]
    if any(one.answers != bare[0].answers for one in bare):
        names = ", ".join(one.file.name for one in bare)
        raise DataError(
            f"{folder} has several lists of numbers ({names}); leave the one that says what is on the images",
            code="E042",
        )
    return bare[0] if bare else None


def _read_list(file: Path) -> _AnswerList | None:
    """Read a list of what is on the images; None where a file is something else."""
    try:
        lines = file.read_text(encoding="utf-8-sig").strip().splitlines()
    except UnicodeDecodeError:
        return None
    lines = [line.strip() for line in lines]
    named = [_NAMED.fullmatch(line) for line in lines]
    if all(named[1:]) and any(named):  # Kaggle's has a heading
        return _AnswerList(
            file, {_number(f"{match[1]}.JPEG"): match[2] for match in named if match is not None}
        )
    numbered = dict(enumerate(lines, start=1))
    if lines and all(map(_SYNSET.fullmatch, lines)):
        return _AnswerList(file, numbered)
    if "ground_truth" in file.name.lower() and all(line.isascii() and line.isdecimal() for line in lines):
        return _AnswerList(file, numbered, of_devkit="0" not in lines)
    if len(lines) > 1 and all(map(_NUMBER.fullmatch, lines)):
        return _AnswerList(file, numbered, is_bare=True)
    return None


def _by_synset(folder: Path, found: _AnswerList) -> Mapping[int, str]:
    """The answers, with the devkit's numbers as synsets. Raises `DataError` where its map is missing."""
    if not found.of_devkit:
        return found.answers
    by_number = _devkit_synsets(folder, found.file)
    strange = next((one for one in found.answers.values() if int(one[:9]) not in by_number), None)
    if strange is not None:
        raise FormatError(
            f"{found.file} has class {strange[:9]}, which the devkit's map does not name", code="E042"
        )
    return {place: by_number[int(one)] for place, one in found.answers.items()}


def _devkit_synsets(folder: Path, asked_by: Path) -> dict[int, str]:
    """Synsets by the devkit's numbers, from `map_clsloc.txt` or `meta.mat`. Raises `DataError` without either."""
    for place in _list_folders(folder):
        listed, meta = place / "map_clsloc.txt", place / "meta.mat"
        if listed.is_file():
            return _read_map(listed)
        if meta.is_file():
            return _read_meta(meta)
    raise DataError(
        f"{asked_by} counts classes in the devkit's own order; put its meta.mat or a map_clsloc.txt beside it",
        code="E010",
    )


def _read_map(listed: Path) -> dict[int, str]:
    """Synsets by number from lines of synset, number and name. Raises `FormatError` where they are something else."""
    try:
        lines = listed.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{listed} is no text in UTF-8; it has a synset and its number in each line"
        ) from error
    found = {}
    for number, line in enumerate(lines, start=1):
        match = _MAPPED.match(line)
        if match is None and line.strip():
            raise FormatError(f"{listed}: line {number} is no synset and its number, such as n02119789 1")
        if match is not None:
            found[int(match[2])] = match[1]
    return found


def _read_meta(meta: Path) -> dict[int, str]:
    """Synsets by number from the devkit's `meta.mat`. Raises `FormatError` where it is something else."""
    matlab = import_optional("scipy.io.matlab", "the devkit's meta.mat", "scipy", "report")
    try:
        synsets = matlab.loadmat(str(meta), squeeze_me=True)["synsets"]
        return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
    except (matlab.MatReadError, *READ_ERRORS) as error:
        raise FormatError(f"{meta} is not the devkit's table of synsets ({error_reason(error)})") from error
