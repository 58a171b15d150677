"""What a study has computed: `records.jsonl`, a line a point, and a folder for the files of each.

Lines are only ever added, each by one write that is synced before the next point's, so that a kill leaves all lines
but perhaps the last one whole. A line that is damaged is named in `problems` and left out, and its point is computed
again. One process writes at a time; any number read.

Not here: locks between machines; several that work on one study have a folder each, and `merge` brings them together.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from enxuto.errors import FormatError, UsageError
from enxuto.machine.leftovers import clear, prefix_of, temporary
from enxuto.study.store_result import EARLIER_FORM, Records, Result, is_earlier_form, is_id

if sys.platform != "win32":  # there nothing keeps two runs of one study apart
    import fcntl

__all__ = ["FOLDERS", "RECORDS", "MergeResult", "Store", "Writer", "refuse_earlier_form"]

RECORDS, FOLDERS, LOCK = "records.jsonl", "points", ".lock"


@dataclass(frozen=True)
class MergeResult:
    """What `Store.merge` did: points added, points that were there already, those of them whose values differ."""

    added: tuple[str, ...]
    known: tuple[str, ...]
    different: tuple[str, ...]
    problems: tuple[str, ...]


class Store:
    """The results in a folder. Raises `UsageError` where there is no such folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise UsageError(f"{self.folder} is no folder of a study", code="E010")
        self._path = self.folder / RECORDS
        if self._path.exists() and not self._path.is_file():
            raise UsageError(f"{self._path} is no file; a study keeps its results there", code="E080")
        self._records = Records(self._path)
        self._known_bytes = 0

    def find(self, point: str) -> Result | None:
        """The result of the point with this id: values rather than an error, and the first of several values."""
        self._read_new_lines()
        return self._records.results.get(point)

    def results(self, kind: str | None = None) -> list[Result]:
        """A result for each point, or for each of a kind, in the order in which they were computed."""
        self._read_new_lines()
        found = self._records.results.values()
        return [result for result in found if kind is None or result.kind == kind]

    @property
    def problems(self) -> list[str]:
        """One line for each line of the file that is damaged, and one for all of an earlier form; all are left out."""
        self._read_new_lines()
        start, tail = _tail(self._path)
        torn = f"{self._path}: the last line, from byte {start} on, is cut off and left out"
        return self._records.problems + ([torn] if tail else [])

    def folder_of(self, point: str) -> Path:
        """Where the files of a point are, or would be. Raises `UsageError` for what is no point's id but a path."""
        if not is_id(point):
            raise UsageError(f"{point[:80]!r} is no id of a point; ids are letters and digits")
        return self.folder / FOLDERS / point

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """Yield what adds results. Raises `UsageError` while another process does, and for an earlier form."""
        refuse_earlier_form(self.folder)
        with _lock(self.folder / LOCK), closing(Writer(self._path)) as writer:
            yield writer

    def merge(self, sources: Iterable[str | Path]) -> MergeResult:
        """Add the results of other studies' folders, or of their JSON-lines files; the same point is added once.

        The files of added points are copied from folders too; links are not, as they might lead anywhere. A line whose
        id does not belong to its settings is left out. Values replace an error. Of two values the first stays, and
        `MergeResult.different` names the points whose values differ.

        Raises:
            UsageError: a source does not exist.
        """
        added: list[str] = []
        known: list[str] = []
        different: list[str] = []
        problems: list[str] = []
        with self.writing() as writer:
            for source in map(Path, sources):
                results, damaged = _results_of(source)
                problems += damaged
                for result in results:
                    if not result.fits_its_id():
                        problems.append(
                            f"{source}: {result.point} is left out: its settings do not give its id"
                        )
                        continue
                    present = self.find(result.point)
                    if present is None or (result.done and not present.done):
                        if source.is_dir():
                            problems += _copy(source / FOLDERS / result.point, self.folder_of(result.point))
                        writer.add(result)
                        added.append(result.point)
                    else:
                        known.append(result.point)
                        if result.done and result.values != present.values:
                            different.append(result.point)
        return MergeResult(tuple(added), tuple(known), tuple(different), tuple(problems))

    def _read_new_lines(self) -> None:
        """Take in the lines that were added since; all of them where the file has become shorter."""
        try:
            with self._path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._known_bytes:
                    self._records, self._known_bytes = Records(self._path), 0
                file.seek(self._known_bytes)
                self._records.read(self._count(line) for line in file if line.endswith(b"\n"))
        except FileNotFoundError:
            self._records, self._known_bytes = Records(self._path), 0
        except OSError as error:
            raise UsageError(f"cannot read {self._path}: {error.strerror or error}", code="E011") from error

    def _count(self, line: bytes) -> bytes:
        self._known_bytes += len(line)
        return line


def refuse_earlier_form(folder: str | Path) -> None:
    """Raise `UsageError` where a folder holds records that name no kind of point, as an earlier enxuto wrote them."""
    path = Path(folder) / RECORDS
    if not path.is_file():
        return
    try:
        with path.open("rb") as file:
            first = json.loads(file.readline())
    except (OSError, ValueError, RecursionError):
        return  # what is damaged is named when it is read
    if is_earlier_form(first):
        raise UsageError(f"{path} was {EARLIER_FORM}, or remove this one", code="E080")


class Writer:
    """Adds lines to a file; what a kill left of a last line is cut off first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            _repair_last_line(path)
            self._handle = os.open(
                path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666
            )
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror or error}", code="E013") from error

    def add(self, result: Result) -> None:
        """Add a result and sync it. Raises `UsageError` where the disk is full; the line is then taken back."""
        line = result.line()
        before = os.fstat(self._handle).st_size
        try:
            if os.write(self._handle, line) < len(line):
                raise OSError("the disk is full")
            os.fsync(self._handle)
        except OSError as error:
            os.ftruncate(self._handle, before)
            raise UsageError(f"cannot write {self._path}: {error.strerror or error}; run the study again "
                             "to resume it", code="E013") from error  # fmt: skip

    def close(self) -> None:
        """Let the file go."""
        os.close(self._handle)


def _results_of(source: Path) -> tuple[list[Result], list[str]]:
    """Results and problems of a study's folder or of a JSON-lines file."""
    if source.is_dir():
        store = Store(source)
        return store.results(), store.problems
    if not source.is_file():
        raise UsageError(f"{source} is neither a folder of a study nor a file of results", code="E010")
    records = Records(source)
    with source.open("rb") as file:
        records.read(file)
    return list(records.results.values()), records.problems


def _copy(source: Path, target: Path) -> list[str]:
    """Copy a folder, where there is one, so that it is there whole or not at all; a line for what is left out.

    Links and devices are: a link in a folder from elsewhere shows what its maker likes of this machine's files.
    """
    if source.is_symlink() or source.parent.is_symlink():
        return [f"{source} is a link; its files are not taken in"]
    if not source.is_dir():
        return []
    left_out: list[str] = []

    def strange(folder: str, names: list[str]) -> list[str]:
        found = [name for name in names if not _is_plain(Path(folder) / name)]
        left_out.extend(f"{Path(folder) / name} is a link or a device and is left out" for name in found)
        return found

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        clear(target)
        with temporary(lambda: tempfile.mkdtemp(prefix=prefix_of(target), dir=target.parent), str) as name:
            whole = Path(name)
            try:
                shutil.copytree(source, whole, dirs_exist_ok=True, ignore=strange)
                if target.exists():
                    shutil.rmtree(target)
                whole.replace(target)
            finally:
                shutil.rmtree(whole, ignore_errors=True)
    except (shutil.Error, OSError) as error:
        reason = (
            error.strerror if isinstance(error, OSError) and error.strerror else "its files cannot be read"
        )
        raise UsageError(f"cannot copy {source} to {target}: {reason}", code="E013") from error
    return left_out


def _is_plain(path: Path) -> bool:
    """Whether it is a file or folder itself, not a link, a pipe or a device."""
    mode = path.lstat().st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def _tail(path: Path) -> tuple[int, bytes]:
    """Where a last line without its end starts, and what there is of it."""
    if not path.exists():
        return 0, b""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        found = b""
        while len(found) < size and b"\n" not in found:
            start = max(0, size - 2 * len(found) - 4096)
            file.seek(start)
            found = file.read(size - start)
    tail = found.rpartition(b"\n")[2]
    return size - len(tail), tail


def _repair_last_line(path: Path) -> None:
    """End a last line that lacks only its end; cut off one that is no result."""
    start, tail = _tail(path)
    if not tail:
        return
    with path.open("r+b") as file:
        try:
            Result.parse(tail)
            file.seek(0, os.SEEK_END)
            file.write(b"\n")
        except FormatError:
            file.truncate(start)


@contextmanager
def _lock(path: Path) -> Iterator[IO[bytes] | None]:
    """Hold a lock that ends with this process, however it ends."""
    if sys.platform == "win32":
        yield None
        return
    try:
        file = path.open("ab")
    except OSError as error:
        raise UsageError(f"cannot write in {path.parent}: {error.strerror or error}", code="E013") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"another process is at work on the study in {path.parent}; wait for it", code="E082"
            ) from error
        yield file
