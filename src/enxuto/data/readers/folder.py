"""A folder a class: `cat/1.jpg`, `dog/2.png` … Classes are the folder names, sorted as text.

Folders called `train`, `test`, `val`, `valid` or `validation` above the class folders are the parts of the
set. Files that are not images are left out and counted in the notes; so are class folders without images.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from enxuto.data.selection import choose_part
from enxuto.data.source import Source
from enxuto.errors import DataError

__all__ = ["image_folders", "read_folder"]

_IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_PARTS = ("train", "test", "val", "valid", "validation")


def image_folders(path: Path) -> bool:
    """Whether some file with the ending of an image lies in a folder inside `path`."""
    return any(_is_image(file) for folder in _folders(path) for file in _files(folder))


def read_folder(path: Path, *, split: str | None) -> Source:
    """Open class folders, or the part `split` of them; images are read when they are asked for.

    Raises `DataError` when there is no folder with images, or no such part.
    """
    folders = _folders(path)
    part, root = None, path
    if folders and all(folder.name in _PARTS for folder in folders):
        part = choose_part(path, [folder.name for folder in folders], split)
        root = path / part
        folders = _folders(root)
    elif split is not None:
        raise DataError(f"{path} has no parts such as train and test; leave out split, or make such folders")
    files: list[Path] = []
    labels: list[int] = []
    ignored: list[Path] = []
    empty: list[str] = []
    for label, folder in enumerate(folders):
        found = _files(folder)
        images = [file for file in found if _is_image(file)]
        ignored += [file for file in found if not _is_image(file)]
        empty += [] if images else [folder.name]
        files += images
        labels += [label] * len(images)
    if not files:
        raise DataError(
            f"{root} has no images in class folders; put each class's images in a folder of its own"
        )
    return Source(
        path=str(path),
        format="folder",
        part=part,
        labels=np.array(labels, np.int64),
        classes=tuple(folder.name for folder in folders),
        fetch=lambda index: _bytes(files[index]),
        name=lambda index: f"sample {index} ({files[index].relative_to(root)})",
        notes=_notes(root, folders, ignored, empty),
    )


def _folders(path: Path) -> list[Path]:
    """The class folders in the order of their labels."""
    inside = [entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    return sorted(inside, key=lambda folder: folder.name)


def _files(folder: Path) -> list[Path]:
    """All files below a class folder, sorted; links to folders are not followed, so that loops end."""
    return sorted(Path(place) / name for place, _, names in os.walk(folder) for name in names)


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in _IMAGES and not file.name.startswith(".")


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})") from error


def _notes(root: Path, folders: list[Path], ignored: list[Path], empty: list[str]) -> tuple[str, ...]:
    notes = []
    if ignored:
        first = ignored[0].relative_to(root)
        notes.append(f"{len(ignored)} files are not images and were left out, first {first}")
    if empty:
        notes.append(f"{len(empty)} class folders hold no images, first {empty[0]}")
    names = [folder.name for folder in folders]
    if all(name.isdecimal() for name in names) and names != sorted(names, key=int):
        notes.append(
            f"class folders are numbered but sorted as text, so folder {names[1]} is label 1; "
            "pad the numbers with zeros if label should equal number"
        )
    return tuple(notes)
