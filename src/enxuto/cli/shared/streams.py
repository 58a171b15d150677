"""How text reaches stdout and stderr: characters that the encoding lacks are replaced, a closed pipe ends quietly."""

from __future__ import annotations

import codecs
import os
import sys
import unicodedata
from contextlib import suppress
from typing import Any, TextIO

from enxuto.errors import UsageError

__all__ = ["as_encodable", "discard", "replace_unencodable", "write"]

_ASCII = "enxuto-ascii"
_INSTEAD = {
    "×": "x", "…": "..", "–": "-", "—": "-", "−": "-", "≈": "~", "→": "->", "←": "<-", "─": "-", "█": "#", "·": "-",
    "±": "+/-", "μ": "mu", "µ": "u", "δ": "delta", "Δ": "delta", "‖": "||", "≥": ">=", "≤": "<=", "∞": "inf",
    "“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "•": "*", "√": "sqrt", "λ": "lambda", "σ": "sigma", "ε": "eps",
    **dict.fromkeys("▉▊▋▌", "#"), **dict.fromkeys("▍▎▏", "|"), **dict.fromkeys("━╸╺╭╮╰╯│┃", "|"),
}  # fmt: skip


def _replacement(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that an encoding lacks: look-alikes, letters without accents, or escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(map(_look_alike, text)), error.end


def _look_alike(character: str) -> str:
    if character in _INSTEAD:
        return _INSTEAD[character]
    letters = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return letters or character.encode("ascii", "backslashreplace").decode()


codecs.register_error(_ASCII, _replacement)


def replace_unencodable() -> None:
    """From now on no character makes writing to stdout or stderr fail."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=_ASCII)


def as_encodable(text: str, stream: TextIO | None) -> str:
    """The text as the stream will show it, so that columns stay in line."""
    if text.isascii():
        return text
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, _ASCII).decode(encoding)


def write(stream: TextIO | None, text: str) -> None:
    """Write and flush. Once a pipe is closed, what goes there is dropped: the verb still does its work and its checks.

    Raises `UsageError` where results cannot be written, as on a full disk; remarks that cannot are dropped.
    """
    if stream is None:
        return
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:
            stream.write(as_encodable(text, stream))
        stream.flush()
    except BrokenPipeError:
        discard(stream)
    except OSError as error:
        discard(stream)
        if stream is sys.stdout:
            raise UsageError(
                f"cannot write the result to standard output: {error.strerror or error}", code="E013"
            ) from error
    except ValueError:  # closed by someone
        return


def discard(stream: TextIO) -> None:
    """Let what still waits, and what comes, go nowhere: Python writes it at the end, and would fail there."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
