"""Where verbs write: checked before any work, and nothing is overwritten that the user did not name.

What the user names as output is written, over what is there too, unless it is an input of the same command. What a verb
names by itself must not be there, or needs `--force`. A folder that the user names may hold anything; files in it that
a verb would write over must be its own. A name that ends as another kind of file does is refused. Not here: how a file
is written whole or not at all (`files`).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from enxuto.cli.shared.streams import discard
from enxuto.errors import EnxutoError, UsageError
from enxuto.escaping import shell_words
from enxuto.files import ENDINGS, check_ending, check_writable, is_protected_input, protect_inputs

__all__ = [
    "FILES",
    "FOLDERS",
    "check_folder",
    "check_outputs",
    "default_file",
    "write_to_stdout",
    "writes_to_stdout",
]

FILES = ("output", "sheet", "chart")
"""Names of verbs' parameters that are files to write."""

FOLDERS = ("folder", "tables", "charts")
"""And of those that are folders to write into."""

STDOUT = Path("-")
_STREAMED = ("compress", "decompress")  # verbs that write to stdout for `-o -`

_STUDY = ("records.jsonl",)
_OWN: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "train": (
        ("last.pt",),
        ("best.pt", "history.jsonl", "history.csv", "labels.txt", "preprocess.toml", "training.png"),
    ),
    "prune": (_STUDY, ("given.pt", "model.pt", "model.onnx", "provenance.json")),
    "slim": (("slim.json",), ("model.enx", "pruned.onnx", "report.html", "provenance.json")),
    "curve": (
        _STUDY,
        ("curve.md", "curve.csv", "provenance.json", "*-methods.*", "*-dead-zones.*", "*-bytes.*"),
    ),
    "lottery": (
        _STUDY,
        ("lottery.md", "lottery.csv", "lottery.json", "tickets-*.*", "filters-*.*", "speed.png", "speed.svg"),
    ),
    "study": (
        _STUDY,
        ("souza.md", "souza.csv", "losses.png", "tonin.md", "tonin.csv", "quantizers.svg", "provenance.json"),
    ),
    "weights": (
        ("provenance.json",),
        ("weights.md", "weights.csv", "dependence.csv", "*-weights.*", "*-layers.*", "*-families.*"),
    ),
    "demo": (
        ("digits-calibrated.enx",),
        ("digits.onnx", "digits.enx", "digits-restored.onnx", "digits-calibrated-restored.onnx"),
    ),
}
"""For each verb: what its folders can be known by, and what it writes into them."""


_PICTURES = (".png", ".svg")
_ENDINGS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("compress", "output"): (".enx",),
    ("decompress", "output"): (".onnx",),
    ("diff", "output"): (".enxd",),
    ("apply", "output"): (".enx", ".onnx"),
    ("export", "output"): (".onnx",),
    ("compare", "sheet"): (".png",),
    ("report", "output"): (".html", ".htm"),
    ("zoo", "chart"): _PICTURES,
}
"""For each file that a verb writes, how names of its kind end; verbs that are not here check it themselves."""

_ADVICE: Mapping[tuple[str, str], str] = {
    ("compress", ".onnx"): "`enxuto decompress {enx} -o {onnx}` makes ONNX of it",
    ("decompress", ".enx"): "`enxuto compress {onnx} -o {enx}` makes .enx files",
    ("export", ".enx"): "`enxuto compress {onnx} -o {enx}` makes it small",
    ("diff", ".enx"): "`enxuto apply` makes {enx} with it",
    ("diff", ".onnx"): "`enxuto apply` makes {onnx} with it",
    ("apply", ".enxd"): "`enxuto diff` makes difference files",
}
"""What to do where a name has an ending of another kind of file."""


@contextmanager
def check_outputs(verb: str, arguments: Mapping[str, Any]) -> Iterator[None]:
    """Check what the user named as output, and inside let nothing be written over the inputs.

    Args:
        verb: the name of the verb.
        arguments: all its arguments by name.

    Raises:
        UsageError: an output cannot be written, is an input, or has the name of another kind of file.
    """
    inputs = list(_inputs(arguments))
    with protect_inputs(inputs):
        for name in FILES:
            if isinstance(path := arguments.get(name), Path):
                _check_file(verb, path, inputs)
                if (verb, name) in _ENDINGS:
                    advice = _ADVICE.get((verb, path.suffix.lower()), "")
                    names = {
                        ending: shell_words([str(path.with_suffix(f".{ending}"))])
                        for ending in ("enx", "onnx")
                    }
                    check_ending(path, _ENDINGS[verb, name], advice.format(**names))
        for name in FOLDERS:
            if isinstance(path := arguments.get(name), Path):
                check_folder(verb, path)
                _check_ending_of_folder(verb, path)
        yield


def default_file(path: Path, *, force: bool) -> Path:
    """Return a name that the verb chose, if a file can be written there; what is there already needs `force`."""
    check_writable(path)
    if path.exists() and not force:
        found = path.stat()
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(found.st_mtime))
        raise UsageError(
            f"{path} is there already ({found.st_size:,} B of {when}); --force writes over it, -o names another file",
            code="E012",
        )
    return path


def check_folder(verb: str, folder: Path) -> Path:
    """Return a folder if it can be written into, and if files that the verb would write over are its own."""
    _refuse_dash(verb, folder)
    check_writable(folder, folder=True)
    known, written = _OWN.get(verb, ((), ()))
    is_own = any((folder / name).exists() for name in known)
    for pattern in written if folder.is_dir() else ():
        for path in sorted(folder.glob(pattern)):
            if is_protected_input(path):
                raise UsageError(
                    f"{path} is an input, and would be overwritten; name another folder", code="E014"
                )
            if not is_own:
                raise UsageError(
                    f"{path} would be overwritten, and it is not of an earlier `enxuto {verb}`; name another folder",
                    code="E012",
                )
    return folder


def writes_to_stdout(output: Path | None, *, json: bool) -> bool:
    """Say whether the file goes to stdout; `UsageError` where that is a terminal, or JSON goes there too."""
    if output != STDOUT:
        return False
    if sys.stdout is None:
        raise UsageError("-o - writes the file to stdout, which is closed; name a file", code="E013")
    if json:
        raise UsageError("-o - and --json both write to stdout; name a file", code="E022")
    if sys.stdout.isatty():
        raise UsageError(
            "-o - writes the file to stdout, which is a terminal; name a file, or redirect it", code="E013"
        )
    return True


def write_to_stdout(pieces: Iterable[bytes]) -> int:
    """Write pieces of a file to stdout and return their bytes; `UsageError` for a full disk."""
    length = 0
    for piece in pieces:
        try:
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            discard(sys.stdout)
            raise UsageError(
                f"cannot write the file to stdout: {error.strerror or error}", code="E013"
            ) from error
        length += len(piece)
    return length


def _inputs(arguments: Mapping[str, Any]) -> Iterator[Path]:
    """Files among the arguments that are not named as outputs, whatever they are for."""
    for name, value in arguments.items():
        if name in FILES or name in FOLDERS:
            continue
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(one, (str, Path)) and one and "\0" not in str(one):
                path = Path(one)
                try:
                    if path.is_file():
                        yield path
                except OSError:  # a text that is no path, such as a very long one
                    continue


def _check_file(verb: str, path: Path, inputs: Iterable[Path]) -> None:
    """Refuse what cannot be written, and what is an input or a data file of one."""
    if path == STDOUT and verb in _STREAMED:
        return
    _refuse_dash(verb, path)
    if os.path.exists(
        path
    ):  # unlike `Path.exists` no error where that cannot be known, which `check_writable` says
        for source in inputs:
            if any(_is_same_file(path, file) for file in _files_of(source)):
                raise UsageError(
                    f"{path} is {source} itself, or its data; name another file to write", code="E014"
                )
    check_writable(path)


def _check_ending_of_folder(verb: str, folder: Path) -> None:
    """Refuse a name of a file for a folder that would be made."""
    ending = folder.suffix.lower()
    if ending in ENDINGS and not folder.is_dir():
        raise UsageError(
            f"{folder}: names of {ENDINGS[ending]} end in {ending}, and `enxuto {verb}` makes a folder; "
            f"name a folder, such as {folder.with_suffix('')}"
        )


def _files_of(source: Path) -> list[Path]:
    """A file, and where it is an ONNX model those with its data."""
    from enxuto.enx.signature import is_enx
    from enxuto.onnx_model import files

    if is_enx(source) or source.suffix.lower() != ".onnx":
        return [source]
    try:
        return [source, *files(source)]
    except EnxutoError:  # reading it says what is wrong
        return [source]


def _is_same_file(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:
        return False


def _refuse_dash(verb: str, path: Path) -> None:
    if path == STDOUT:
        raise UsageError(
            f"`enxuto {verb}` does not write to stdout; name a file or folder instead of -", code="E013"
        )
