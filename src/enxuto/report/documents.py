"""Files of results as mappings: JSON as it is; records of studies as results with the kinds of their points.

Whatever cannot be read gives a line that names it, never an exception. Nothing is written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enxuto.files import read_small_file
from enxuto.study import Result
from enxuto.study.store_result import Records

__all__ = ["Document", "documents", "kinds_of", "provenance_of"]

_RECORDS, _PROVENANCE, _HISTORY = "records.jsonl", "provenance.json", "history.jsonl"
_MOST = 256 << 20  # bytes; results are some megabytes, so this is another file


@dataclass(frozen=True)
class Document:
    """What a file holds: its `name` for people, and its values; `source` is the path as it was given.

    results: the points of a study; values are then the `kinds` of these points and, where it is known, the command
    that made them, as `provenance`.
    """

    name: str
    values: Mapping[str, Any]
    results: tuple[Result, ...] = ()
    source: str = ""


def documents(path: Path) -> tuple[list[Document], list[str]]:
    """Documents of a file or folder, and a line for each problem.

    Of a folder: its `records.jsonl`, or else the `history.jsonl` of a training and all its `.json` files but
    `provenance.json`, which tells of the records.
    """
    if os.path.isdir(path):  # unlike `Path.is_dir` no error for a name too long or a locked folder
        if (path / _RECORDS).is_file():
            return documents(path / _RECORDS)
        files = sorted(file for file in path.glob("*.json") if file.name != _PROVENANCE)
        files += [path / _HISTORY] if (path / _HISTORY).is_file() else []
        if not files:
            return [], [f"{path}: the folder has neither {_RECORDS}, {_HISTORY} nor a .json file; left out"]
        parts = [documents(file) for file in files]
        return (
            [document for some, _ in parts for document in some],
            [problem for _, problems in parts for problem in problems],
        )
    try:
        if path.stat().st_size > _MOST:
            return [], [f"{path}: larger than {_MOST >> 20} MiB, which no result is; left out"]
        data = read_small_file(path, _MOST)
    except OSError as error:
        return [], [f"{path}: cannot be read ({error.strerror or error}); left out"]
    if path.name == _HISTORY:
        return _epochs(path, data)
    return _records(path, data) if path.suffix == ".jsonl" else _json_document(path, data)


def _display_name(path: Path) -> str:
    """A file's name for people: the path as it is, but of an absolute path the last folder and the name alone."""
    return "/".join(path.parts[-2:]) if path.is_absolute() and len(path.parts) > 2 else str(path)


def _epochs(path: Path, data: bytes) -> tuple[list[Document], list[str]]:
    """What a training leaves: one document of all its epochs, called like its folder."""
    rows: list[Any] = []
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            rows += [_parse(line)] if line.strip() else []
        except ValueError as error:
            return [], [f"{path}: line {number}: no JSON ({error}); left out"]
    return [
        Document(_display_name(path), {"epochs": rows, "title": path.absolute().parent.name}, (), str(path))
    ], []


def _json_document(path: Path, data: bytes) -> tuple[list[Document], list[str]]:
    try:
        values = _parse(data)
    except ValueError as error:
        return [], [f"{path}: no JSON ({error}); left out"]
    if not isinstance(values, dict):
        return [], [f"{path}: JSON, but not an object; left out"]
    return [Document(_display_name(path), values, (), str(path))], []


def kinds_of(values: Mapping[str, Any]) -> set[str]:
    """The kinds of the points in a study's document; none for other documents."""
    kinds = values.get("kinds")
    return {str(kind) for kind in kinds} if isinstance(kinds, list) else set()


def provenance_of(document: Document, data: str | None = None) -> Mapping[str, Any]:
    """What a document says under `provenance` of how it was made; empty where it says nothing.

    data: the hash of the images of a part of the document; empty where the provenance is of other images.
    """
    several = document.values.get("provenance"), *document.values.get("provenances", ())
    known = [one for one in several if isinstance(one, dict)]
    if document.results and data is not None:
        known = [one for one in known if one.get("data", data) == data]
    if not known:
        return {}
    found = known[0]
    return {key: value for key, value in found.items() if key != "data"} if document.results else found


def _records(path: Path, data: bytes) -> tuple[list[Document], list[str]]:
    """A document of all points. Of equal ones the first with values counts."""
    records = Records(path)
    records.read(data.splitlines())
    results = tuple(records.results.values())
    problems = records.problems + [
        f"{path}: point {one.point} failed: {one.error}" for one in results if one.error
    ]
    if not results:
        return [], problems or [f"{path}: no records; left out"]
    values: dict[str, Any] = {"kinds": list(dict.fromkeys(one.kind for one in results))}
    if command := _command(path.parent / _PROVENANCE):
        values["provenance"] = command
    # Tables of further data sets lie in folders of their own, each with what made it.
    others = [_command(file) for file in sorted(path.parent.glob(f"*/{_PROVENANCE}"))]
    values["provenances"] = [one for one in others if one]
    return [Document(_display_name(path), values, results, str(path))], problems


def _command(path: Path) -> dict[str, str]:
    """The command that `provenance.json` beside a study's records holds, and the hash of its images."""
    try:
        data = read_small_file(path, _MOST)
    except OSError:
        return {}
    found, _ = _json_document(path, data)
    values = found[0].values if found else {}
    known = {key: values[key] for key in ("command", "data") if isinstance(values.get(key), str)}
    return known if "command" in known else {}


def _parse(data: bytes) -> Any:
    """JSON without NaN and infinity. Raises `ValueError` in one short line."""
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text from byte {error.start} on") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not valid JSON")
