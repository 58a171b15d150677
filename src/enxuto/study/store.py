"""What a study has computed: `records.jsonl`, a line a point, and a folder for the files of each.

Lines are only ever added, each by one write that is synced before the next point's, so that a kill leaves all lines
but perhaps the last one whole. A line that is damaged is named in `problems` and left out, and its point is computed
again. `index.sqlite` can be deleted at any time. One process writes at a time; any number read.

Not here: locks between machines; several that work on one study have a folder each, and `merge` brings them together.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from enxuto.errors import FormatError, UsageError
from enxuto.machine.leftovers import clear, prefix_of, temporary
from enxuto.study.store_index import Index
from enxuto.study.store_result import Result, is_id

if sys.platform != "win32":  # there nothing keeps two runs of one study apart
    import fcntl

__all__ = ["FOLDERS", "RECORDS", "Merged", "Store", "Writer"]

RECORDS, INDEX, FOLDERS, LOCK = "records.jsonl", "index.sqlite", "points", ".lock"


@dataclass(frozen=True)
class Merged:
    """What `Store.merge` did: points added, points that were there already, those of them whose values differ."""

    added: tuple[str, ...]
    known: tuple[str, ...]
    different: tuple[str, ...]
    problems: tuple[str, ...]


class Store:
    """The results in a folder. Raises `UsageError` where there is no such folder.

    foreign: the folder is somebody else's, which is only read, and whose index is not believed.
    """

    def __init__(self, folder: str | Path, *, foreign: bool = False) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise UsageError(f"{self.folder} is no folder of a study")
        self._lines = self.folder / RECORDS
        if self._lines.exists() and not self._lines.is_file():
            raise UsageError(f"{self._lines} is no file; a study keeps its results there")
        try:
            self._index = Index(None if foreign else self.folder / INDEX, self._lines)
        except OSError as error:
            raise UsageError(f"cannot read {self._lines}: {error.strerror or error}") from error

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Bring the index up to date and let its file go."""
        self._index.update()
        self._index.close()

    def find(self, point: str) -> Result | None:
        """The result of the point with this id: values rather than an error, and the first of several values."""
        return next(iter(self._found(lambda: self._index.find(point))), None)

    def results(self, function: str | None = None) -> list[Result]:
        """A result for each point, or for each of a function, in the order in which they were computed."""
        return self._found(lambda: self._index.places(function))

    @property
    def problems(self) -> list[str]:
        """One line for each line of the file that is damaged and left out."""
        self._index.update()
        start, tail = _tail(self._lines)
        torn = (
            [f"{self._lines}: the last line, from byte {start} on, is cut off and left out"] if tail else []
        )
        return self._index.problems() + torn

    def place(self, point: str) -> Path:
        """Where the files of a point are, or would be. Raises `UsageError` for what is no point's id but a path."""
        if not is_id(point):
            raise UsageError(f"{point[:80]!r} is no point: it is no name of letters and digits")
        return self.folder / FOLDERS / point

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """Yield what adds results. Raises `UsageError` while another process does."""
        with _locked(self.folder / LOCK), closing(Writer(self._lines)) as writer:
            yield writer

    def merge(self, sources: Iterable[str | Path]) -> Merged:
        """Add the results of other studies' folders, or of their JSON-lines files; the same point is added once.

        Of folders, the files of added points are copied too, but no links, which might lead anywhere. A line whose id
        is not that of what it says is left out. Values replace an error; of two values the first stays, and
        `Merged.different` names the points where they are not equal. Raises `UsageError` for a source that is not
        there.
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
                            f"{source}: {result.point} is left out: what is said of it does not give its id"
                        )
                        continue
                    present = self.find(result.point)
                    if present is None or (result.done and not present.done):
                        if source.is_dir():
                            problems += _copy(source / FOLDERS / result.point, self.place(result.point))
                        writer.add(result)
                        added.append(result.point)
                    else:
                        known.append(result.point)
                        if result.done and result.values != present.values:
                            different.append(result.point)
        return Merged(tuple(added), tuple(known), tuple(different), tuple(problems))

    def _found(self, asked: Callable[[], list[tuple[str, int, int]]]) -> list[Result]:
        """The results at the places that the index gives; once more with it made anew, where others stand there."""
        self._index.update()
        try:
            return list(self._read(asked()))
        except (FormatError, TypeError, ValueError, OverflowError):
            self._index.rebuild()
            return list(self._read(asked()))

    def _read(self, places: Sequence[tuple[str, int, int]]) -> Iterator[Result]:
        if not places:
            return
        with self._lines.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            for point, start, length in places:
                if not 0 <= start <= start + length <= size:
                    raise FormatError(f"{self._lines} has no bytes {start} to {start + length}")
                file.seek(start)
                result = Result.parse(file.read(length))
                if result.point != point:
                    raise FormatError(f"{self._lines} has another point at byte {start}")
                yield result


class Writer:
    """Adds lines to a file; what a kill left of a last line is cut off first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            _mend(path)
            self._handle = os.open(
                path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666
            )
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror or error}") from error

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
            raise UsageError(f"cannot write {self._path}: {error.strerror or error}; the study goes on from here "
                             "when it is run again") from error  # fmt: skip

    def close(self) -> None:
        """Let the file go."""
        os.close(self._handle)


def _results_of(source: Path) -> tuple[list[Result], list[str]]:
    """Results and problems of a study's folder or of a JSON-lines file."""
    if source.is_dir():
        with Store(source, foreign=True) as store:
            return store.results(), store.problems
    if not source.is_file():
        raise UsageError(f"{source} is neither a folder of a study nor a file of results")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(source, Path(folder) / RECORDS)
        with Store(folder, foreign=True) as store:
            return store.results(), [problem.replace(str(store.folder / RECORDS), str(source))
                                     for problem in store.problems]  # fmt: skip


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
        raise UsageError(f"cannot copy {source} to {target}: {reason}") from error
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


def _mend(path: Path) -> None:
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
def _locked(path: Path) -> Iterator[IO[bytes] | None]:
    """Hold a lock that ends with this process, however it ends."""
    if sys.platform == "win32":
        yield None
        return
    try:
        file = path.open("ab")
    except OSError as error:
        raise UsageError(f"cannot write in {path.parent}: {error.strerror or error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"another process is at work on the study in {path.parent}; wait for it"
            ) from error
        yield file
