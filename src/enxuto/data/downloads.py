"""Fetch a published data set, only when asked to, checked against its SHA-256, whole or not at all.

CIFAR comes as its authors' archive of the binary edition and is unpacked file by file, each named here, so that
nothing in an archive decides where it is written. MNIST and Fashion-MNIST stay gzipped, as the IDX reader takes
them. Not here: going on with half a download, and editions of other people.
"""

from __future__ import annotations

import hashlib
import http.client
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from enxuto.data.published import PublishedDataset, RemoteFile, cache_folder, find_published
from enxuto.errors import DataError, error_reason
from enxuto.files import atomic_write
from enxuto.machine.leftovers import clear, prefix_of, temporary
from enxuto.progress import Progress

__all__ = ["download", "fetch"]

_CHUNK = 2**20  # bytes
_PATIENCE = 60.0  # seconds without a byte before a server counts as gone
_MOST_UNPACKED = 2**30  # bytes of one file in an archive; those known here have 154 MB at most
_NET_ERRORS = (urllib.error.URLError, http.client.HTTPException, OSError)


def download(name: str, folder: str | Path | None = None, *, progress: Progress | None = None) -> Path:
    """Fetch the data set `name` unless it is there.

    Args:
        name: a key of `PUBLISHED`, such as `cifar10`.
        folder: the data set gets a folder of its own in it; by default in `cache_folder()`.
        progress: called with the file's name, bytes done and bytes in all.

    Returns:
        A path that `open_dataset` takes.

    Raises:
        DataError: no mirror delivers, or the bytes are not those on record. Only whole, checked files are left behind.
        UsageError: the name is unknown.
    """
    return fetch(find_published(name), cache_folder() if folder is None else Path(folder), progress=progress)


def fetch(dataset: PublishedDataset, base: Path, *, progress: Progress | None = None) -> Path:
    """Fetch a data set by its description, as `download` does by name, into a folder of its own in `base`."""
    dataset_folder = base / dataset.folder
    try:
        if dataset.unpacked_names:
            if not all((dataset_folder / part).is_file() for part in dataset.unpacked_names):
                base.mkdir(parents=True, exist_ok=True)
                _fetch_archive(dataset, dataset_folder, progress)
            return dataset_folder
        dataset_folder.mkdir(parents=True, exist_ok=True)
        for file in dataset.files:
            target = dataset_folder / file.name
            if not (target.is_file() and _digest(target) == file.sha256):
                with atomic_write(target) as out:
                    _fetch_file(file, out, progress)
    except OSError as error:
        raise DataError(
            f"cannot write to {base}: {error.strerror or error}; choose another folder", code="E013"
        ) from error
    finally:
        if dataset_folder.is_dir() and not any(dataset_folder.iterdir()):
            dataset_folder.rmdir()
    return dataset_folder


def _fetch_archive(dataset: PublishedDataset, dataset_folder: Path, progress: Progress | None) -> None:
    """Fetch, check and unpack beside `dataset_folder`, then rename: the folder is there whole or not at all."""
    clear(dataset_folder)

    def make() -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix=prefix_of(dataset_folder), dir=dataset_folder.parent)

    with temporary(make, lambda folder: folder.name) as folder, folder as name:
        made = Path(name) / dataset_folder.name
        made.mkdir()
        for file in dataset.files:
            packed = Path(name) / file.name
            with packed.open("wb") as out:
                _fetch_file(file, out, progress)
            _unpack(packed, made, dataset.unpacked_names)
            packed.unlink()
        if dataset_folder.exists():  # an incomplete one, made by hand
            dataset_folder.rename(Path(name) / "replaced")
        made.rename(dataset_folder)


def _unpack(archive: Path, folder: Path, names: Sequence[str]) -> None:
    """Write the named files of an archive into a folder, flat; whatever else is in it stays there."""
    missing = set(names)
    try:
        with tarfile.open(archive, "r:*") as packed:
            for member in packed:
                name = PurePosixPath(member.name).name
                if name not in missing or not member.isfile() or member.size > _MOST_UNPACKED:
                    continue
                content = packed.extractfile(member)
                assert content is not None
                with (folder / name).open("wb") as out:
                    shutil.copyfileobj(content, out, _CHUNK)
                missing.remove(name)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(
            f"{archive.name} cannot be unpacked ({error}); fetch it again", code="E047"
        ) from error
    if missing:
        raise DataError(
            f"{archive.name} lacks {', '.join(sorted(missing))}; it is not the expected edition", code="E047"
        )


def _fetch_file(file: RemoteFile, out: IO[bytes], progress: Progress | None) -> None:
    """Write one file's bytes to `out` from the first mirror that delivers them right."""
    problems = []
    for url in file.urls:
        out.seek(0)
        out.truncate()
        try:
            _download(url, file, out, progress)
        except DataError as error:
            problems.append(str(error))
        else:
            return
    raise DataError(f"{file.name} could not be fetched: {'; '.join(problems)}", code="E047")


def _download(url: str, file: RemoteFile, out: IO[bytes], progress: Progress | None) -> None:
    digest, done = hashlib.sha256(), 0
    request = urllib.request.Request(url, headers={"User-Agent": "enxuto"})
    try:
        answer = urllib.request.urlopen(request, timeout=_PATIENCE)
    except _NET_ERRORS as error:
        raise DataError(f"{url}: {_reason(error)}", code="E047") from error
    with answer:
        while True:
            try:
                block = answer.read(_CHUNK)
            except _NET_ERRORS as error:
                raise DataError(
                    f"{url}: broke off after {done} bytes ({_reason(error)})", code="E047"
                ) from error
            if not block:
                break
            done += len(block)
            if done > file.bytes:  # before the disk is full of something else
                raise DataError(f"{url}: has more than the {file.bytes} bytes on record", code="E047")
            digest.update(block)
            out.write(block)
            if progress is not None:
                progress(file.name, done, file.bytes)
    if done != file.bytes:
        raise DataError(f"{url}: ended after {done} of {file.bytes} bytes", code="E047")
    if digest.hexdigest() != file.sha256:
        raise DataError(
            f"{url}: SHA-256 is {digest.hexdigest()[:16]}…, on record is {file.sha256[:16]}…", code="E047"
        )


def _reason(error: Exception) -> str:
    """Why a server did not answer: urllib's errors wrap the operating system's."""
    reason = getattr(error, "reason", None)
    return error_reason(reason if isinstance(reason, Exception) else error)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
