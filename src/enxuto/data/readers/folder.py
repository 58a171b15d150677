"""A folder a class: `cat/1.jpg`, `dog/2.png` … Labels are the folder names, sorted as text; or any folder of images.

Folder names that are all whole numbers are the labels themselves, however they sort. Folders called `train`, `test`,
`val`, `valid` or `validation` above the class folders are the parts of the set. Files that are not images are left out
and counted in the notes; so are images beside the class folders, class folders without images, and links that lead
back to a folder they lie in. Where labels are not needed, the images of any folder and its subfolders are taken.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from enxuto.data.readers.ilsvrc import LISTS, is_validation_image
from enxuto.data.selection import choose_part
from enxuto.data.source import Source, no_labels, read_sample
from enxuto.errors import DataError

__all__ = ["has_image_folders", "has_loose_images", "read_folder"]

_IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_PARTS = ("train", "test", "val", "valid", "validation")
_TABLES = (".csv", ".tsv")
_LARGEST_NUMBER = 99_999  # folder names beyond (dates, say) are names, not labels


def has_image_folders(path: Path) -> bool:
    """Whether some file with the ending of an image lies in a folder inside `path`."""
    return any(_is_image(file) for folder in _folders(path) for file in _files(folder))


def has_loose_images(path: Path) -> bool:
    """Whether a file with the ending of an image lies in `path` itself."""
    return any(_is_image(file) for file in _direct_files(path))


def read_folder(path: Path, *, split: str | None, require_labels: bool = True) -> Source:
    """Open class folders, or the part `split` of them; images are read when they are asked for.

    require_labels: where labels are not needed, images that lie in no class folder are taken too, and then no image has
    a label. Raises `DataError` where there is no folder with images, or no such part.
    """
    folders = _folders(path)
    part, root = None, path
    if folders and all(folder.name in _PARTS for folder in folders) and not has_loose_images(path):
        part = choose_part(path, [folder.name for folder in folders], split)
        root = path / part
        folders = _folders(root)
    elif split is not None:
        raise DataError(
            f"{path} has no parts such as train and test; leave out split, or make such folders", code="E024"
        )
    loose = [file for file in _direct_files(root) if _is_image(file)]
    if loose and not require_labels:
        return _unlabelled_source(path, root, part, folders, loose)
    return _labelled_source(path, root, part, folders, loose)


def _labelled_source(
    path: Path, root: Path, part: str | None, folders: list[Path], loose: list[Path]
) -> Source:
    files: list[Path] = []
    places: list[int] = []
    ignored: list[Path] = []
    empty: list[str] = []
    for place, folder in enumerate(folders):
        found = _files(folder)
        images = [file for file in found if _is_image(file)]
        ignored += [file for file in found if not _is_image(file)]
        empty += [] if images else [folder.name]
        files += images
        places += [place] * len(images)
    if not files and loose:
        raise DataError(
            f"{root} holds {_without_labels(loose)} (images without labels can calibrate)", code="E042"
        )
    if not files:
        raise DataError(
            f"{root} has no images in class folders; put each class's images in a folder of its own",
            code="E043",
        )
    tables = [file.name for file in _direct_files(root) if file.suffix.lower() in _TABLES]
    if tables and len(folders) == 1:
        raise DataError(
            f"{root} has one folder of images, {folders[0].name}, and {tables[0]} beside it; if that says what is on "
            f"the images, name it: {root / tables[0]}",
            code="E042",
        )
    by_place, classes, numeric_names = _labels_and_names(root, [folder.name for folder in folders])
    return Source(
        path=str(path),
        format="folder",
        part=part,
        labels=by_place[np.array(places, np.int64)],
        classes=classes,
        fetch=lambda index: read_sample(files[index]),
        name=lambda index: f"sample {index} ({files[index].relative_to(root)})",
        notes=_notes(root, ignored, empty, loose, _circular_links(root))
        + _number_notes(by_place, numeric_names)
        + tuple(
            f"{name} beside the class folders is not read; folders are the classes" for name in tables[:1]
        ),
        numeric_names=numeric_names,
    )


def _without_labels(loose: list[Path]) -> str:
    """What lies in a folder that has no classes, and how its labels are given."""
    if any(is_validation_image(file.name) for file in loose):
        return f"ILSVRC's validation images and no list of what is on them; put there {LISTS}"
    return (
        "images without labels; put each class's images in a folder of its own called as the class, or a table of "
        "files and labels (.csv) beside them and name that"
    )


def _unlabelled_source(
    path: Path, root: Path, part: str | None, folders: list[Path], loose: list[Path]
) -> Source:
    """All images of a folder and its subfolders."""
    inside = [file for folder in folders for file in _files(folder)]
    files = loose + [file for file in inside if _is_image(file)]
    return Source(
        path=str(path),
        format="folder",
        part=part,
        labels=no_labels(len(files)),
        classes=None,
        fetch=lambda index: read_sample(files[index]),
        name=lambda index: f"sample {index} ({files[index].relative_to(root)})",
        notes=_notes(root, [file for file in inside if not _is_image(file)], [], [], _circular_links(root)),
        labelled=False,
    )


def _labels_and_names(root: Path, names: list[str]) -> tuple[NDArray[np.int64], tuple[str, ...], bool]:
    """The label of each class folder, the names by label, and whether the folders' names are their labels."""
    numeric_names = all(
        name.isascii() and name.isdecimal() and int(name) <= _LARGEST_NUMBER for name in names
    )
    if not numeric_names:
        return np.arange(len(names)), tuple(names), False
    labels = np.array([int(name) for name in names], np.int64)
    by_label = dict(zip(labels.tolist(), names, strict=True))
    if len(by_label) < len(names):
        twice = next(
            name for label, name in zip(labels.tolist(), names, strict=True) if by_label[label] != name
        )
        raise DataError(
            f"{root}: folders {twice} and {by_label[int(twice)]} are the same number, so the same label; "
            "put their images into one",
            code="E042",
        )
    return labels, tuple(by_label.get(label, str(label)) for label in range(int(labels.max()) + 1)), True


def _folders(path: Path) -> list[Path]:
    """The class folders in the order of their names; links that lead back to where they lie are not among them."""
    inside = [entry for entry in path.iterdir() if not entry.name.startswith(".") and _is_folder(entry)]
    return sorted((entry for entry in inside if not _is_circular_link(entry)), key=lambda folder: folder.name)


def _circular_links(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if _is_folder(entry) and _is_circular_link(entry))


def _is_folder(entry: Path) -> bool:
    return os.path.isdir(entry)  # False for links in a circle, which `Path` raises for in some versions


def _is_circular_link(folder: Path) -> bool:
    """Whether a folder is a link to the folder it lies in, or to one above: its images would be there twice."""
    if not folder.is_symlink():
        return False
    target, here = os.path.realpath(folder), os.path.realpath(folder.parent)
    return os.path.commonpath([target, here]) == target


def _direct_files(folder: Path) -> list[Path]:
    """The files in a folder, sorted: plain ones and links to them, as reading a pipe would wait for ever."""
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if _is_regular(entry))


def _files(folder: Path) -> list[Path]:
    """All files below a class folder, sorted; links to folders are not followed, so that loops end."""
    found: list[Path] = []
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                elif _is_regular(entry):
                    found.append(Path(entry.path))
    return sorted(found)


def _is_regular(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link in a circle
        return False


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in _IMAGES and not file.name.startswith(".")


def _number_notes(labels: NDArray[np.int64], numeric_names: bool) -> tuple[str, ...]:
    """A line where folders' numbers do not simply count from 0."""
    if not numeric_names or sorted(labels.tolist()) == list(range(len(labels))):
        return ()
    return (
        f"class folders are called by numbers, {labels.min()} to {labels.max()}, which are taken as labels",
    )


def _notes(
    root: Path, ignored: list[Path], empty: list[str], loose: list[Path], circular_links: list[str]
) -> tuple[str, ...]:
    notes = []
    if ignored:
        first = ignored[0].relative_to(root)
        notes.append(f"{len(ignored)} files are not images and were left out, first {first}")
    if loose:
        first = loose[0].relative_to(root)
        notes.append(f"{len(loose)} images lie in no class folder and were left out, first {first}")
    if empty:
        notes.append(f"{len(empty)} class folders hold no images, first {empty[0]}")
    if circular_links:
        notes.append(
            f"{len(circular_links)} links lead back to the folder itself and were left out, first {circular_links[0]}"
        )
    return tuple(notes)
