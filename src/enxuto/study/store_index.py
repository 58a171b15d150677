"""An index in SQLite of the lines of a JSON-lines file of results; made from that file alone, at any time.

`points` has a row a point with what is asked for most, so that other programs can query it too:

    select json_extract(settings, '$.step'), json_extract(result, '$.top1') from points where state = 'done'

The index says up to which byte it knows the file. Lines added since are read when it is opened; where the file is
another one, shorter, or the index is damaged or not as it was left, it is made anew. In a folder that cannot be written
it lives in memory, and so does that of somebody else's folder, which is only read.
"""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from zlib import crc32

from enxuto.errors import FormatError
from enxuto.study.store_result import Result

__all__ = ["Index"]

_VERSION = 2
# Rows that somebody else wrote may be of any kind, and texts that are none.
_DAMAGES = (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeError)
_TABLES = f"""
create table points(id text primary key, function text, state text, settings text, seed integer, data_hash text,
                    code text, result text, error text, seconds real, finished text, start integer, length integer);
create table damage(number integer primary key, problem text);
create table covered(bytes integer, lines integer, last_start integer, last_crc integer, rows_crc integer);
insert into covered values (0, 0, 0, 0, 0);
pragma user_version = {_VERSION};
"""
# A point that was computed at last is kept over one that failed; else what came first stays.
_INSERT = """
insert into points values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict(id) do update set
  state = excluded.state, result = excluded.result, error = excluded.error, seconds = excluded.seconds,
  finished = excluded.finished, start = excluded.start, length = excluded.length
where points.state = 'failed'
"""


class Index:
    """The index at `path` of the results in `lines`; brought up to date when made, and by `update`."""

    def __init__(self, path: Path | None, lines: Path) -> None:
        self._lines = lines
        path = None if path is None else _own_file(path)
        # As it is; anew, where it is damaged; in memory, where it cannot be written. It holds nothing of its own.
        for place in (None,) if path is None else (path, path, None):
            try:
                self._base = _opened(place)
                try:
                    self._check()
                    self.update()
                    return
                except _DAMAGES:
                    self._base.close()
                    raise
            except _DAMAGES:
                if path is None or place is None:
                    raise
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let the file go, as it can be told from one that somebody changed."""
        with suppress(sqlite3.DatabaseError):
            self._base.execute("update covered set rows_crc = ?", (self._rows_crc(),))
        self._base.close()

    def update(self) -> None:
        """Take in the lines that were added since."""
        with self._base:
            self._base.execute("begin immediate")
            if not self._fits():
                self._empty()
            self._read_on()

    def rebuild(self) -> None:
        """Read all lines anew: for a reader that found something else where the index said."""
        with self._base:
            self._base.execute("begin immediate")
            self._empty()
            self._read_on()

    def find(self, point: str) -> list[tuple[str, int, int]]:
        """The point, where its line starts and how long it is; nothing where there is none."""
        return self._base.execute("select id, start, length from points where id = ?", (point,)).fetchall()

    def places(self, function: str | None = None) -> list[tuple[str, int, int]]:
        """`find` of all points, or of those of a function, in the order of the lines."""
        where, values = ("where function = ?", (function,)) if function is not None else ("", ())
        return self._base.execute(
            f"select id, start, length from points {where} order by start", values
        ).fetchall()

    def problems(self) -> list[str]:
        """One line for each line of the file that is no result."""
        return [str(row[0]) for row in self._base.execute("select problem from damage order by number")]

    def _check(self) -> None:
        """Empty an index that was not left so: edited, or its process was killed. Raises `sqlite3.DatabaseError`.

        Its tables are compared too, as triggers and views of somebody else's would be obeyed.
        """
        found = self._base.execute("select type, name, sql from sqlite_master order by name").fetchall()
        if found != _expected():
            raise sqlite3.DatabaseError("its tables are others")
        rows = self._base.execute("select * from covered").fetchall()
        if len(rows) != 1 or not all(isinstance(value, int) and value >= 0 for value in rows[0]):
            raise sqlite3.DatabaseError("it does not say what it covers")
        if rows[0][0] and rows[0][-1] != self._rows_crc():
            self._empty()

    def _rows_crc(self) -> int:
        """A checksum of all that is read from the index."""
        crc = 0
        for query in ("select bytes, lines, last_start, last_crc from covered",
                      "select id, function, state, start, length from points order by rowid",
                      "select number, problem from damage order by number"):  # fmt: skip
            for row in self._base.execute(query):
                crc = crc32(repr(row).encode(errors="replace"), crc)
        return crc

    def _empty(self) -> None:
        for table in ("points", "damage"):
            self._base.execute(f"delete from {table}")
        self._base.execute(
            "update covered set bytes = 0, lines = 0, last_start = 0, last_crc = 0, rows_crc = 0"
        )

    def _fits(self) -> bool:
        """Whether the last line taken in still stands where it stood."""
        size, _, start, crc, _ = self._base.execute("select * from covered").fetchone()
        if size == 0:
            return True
        try:
            with self._lines.open("rb") as file:
                file.seek(start)
                return crc32(file.read(size - start)) == int(crc)
        except OSError:
            return False

    def _read_on(self) -> None:
        size, number, start, crc, _ = self._base.execute("select * from covered").fetchone()
        for line in _lines_from(self._lines, size):
            start, crc, number = size, crc32(line), number + 1
            try:
                self._base.execute(_INSERT, _row(Result.parse(line), start, len(line)))
            except FormatError as error:
                problem = f"{self._lines}: line {number} is left out: {error}"
                self._base.execute("insert into damage values (?, ?)", (number, problem))
            size += len(line)
        self._base.execute("update covered set bytes = ?, lines = ?, last_start = ?, last_crc = ?",
                           (size, number, start, crc))  # fmt: skip


def _own_file(path: Path) -> Path | None:
    """The path, where a file may be there; SQLite would follow a link to a database that is somebody else's."""
    if path.is_symlink() or (path.exists() and not path.is_file() and not path.is_dir()):
        with suppress(OSError):
            path.unlink()
    return None if path.is_symlink() or (path.exists() and not path.is_file()) else path


@functools.cache
def _expected() -> list[tuple[str, str, str | None]]:
    """The tables of an index as SQLite describes them."""
    with closing(sqlite3.connect(":memory:")) as base:
        base.executescript(_TABLES)
        return base.execute("select type, name, sql from sqlite_master order by name").fetchall()


def _opened(path: Path | None) -> sqlite3.Connection:
    base = sqlite3.connect(":memory:" if path is None else path, isolation_level=None)
    try:
        # It can be made anew, so that nothing needs to wait for the disk.
        base.execute("pragma synchronous = off")
        version = base.execute("pragma user_version").fetchone()[0]
        if version != _VERSION:
            with closing(base.cursor()) as cursor:
                for kind, name, _ in base.execute("select type, name, sql from sqlite_master").fetchall():
                    if kind != "table" or name not in ("points", "damage", "covered"):
                        continue
                    cursor.execute(f"drop table if exists {name}")
                cursor.executescript(_TABLES)
    except _DAMAGES:
        base.close()
        raise
    return base


def _lines_from(path: Path, start: int) -> Iterator[bytes]:
    """Whole lines of a file from a byte on; a last line without its end is not whole."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            if line.endswith(b"\n"):
                yield line


def _row(result: Result, start: int, length: int) -> tuple[object, ...]:
    values = None if result.values is None else json.dumps(result.values, ensure_ascii=False)
    return (
        result.point, result.function, "done" if result.done else "failed",
        json.dumps(result.settings, ensure_ascii=False), result.seed, result.data_hash, result.code, values,
        result.error, result.seconds, result.finished, start, length,
    )  # fmt: skip
