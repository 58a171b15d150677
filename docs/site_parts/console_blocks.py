"""Runs the `console` examples of a page and compares what they print with what the page shows.

A block holds commands behind `$ ` (a backslash goes on in the next line), each followed by what it prints, on either
stream. Words must be equal; numbers may differ by five per cent, so that a page outlives a better coder but not a
wrong claim. A line `…` stands for any lines, `…` in a line for any words. Spaces and empty lines do not count. A
command with nothing behind it may print anything; all must succeed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Command", "find_difference", "parse_commands", "run_command"]

_LIMIT_SECONDS = 300
_TOLERANCE = 0.05
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?")
_ANY = "…"


@dataclass(frozen=True)
class Command:
    """A command line and the lines that the page shows behind it."""

    line: str
    shown: tuple[str, ...]


def parse_commands(block: str) -> list[Command]:
    """Split a block into its commands; raises `ValueError` where it does not begin with one."""
    found: list[Command] = []
    lines = iter(block.splitlines())
    for text in lines:
        if text.startswith("$ "):
            line = text[2:]
            while line.endswith("\\"):
                line = line[:-1] + next(lines).strip()
            found.append(Command(line, ()))
        elif found:
            found[-1] = Command(found[-1].line, (*found[-1].shown, text))
        elif text.strip():
            raise ValueError(f"the block begins with output: {text!r}")
    return found


_COMPILING = re.compile(r"(first use: )?compiling ")
"""A remark that depends on what was run before."""


def run_command(line: str) -> str:
    """Run one command in the present folder with this Python's programs first; return both streams.

    Raises `AssertionError` with the output if it fails.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    settings = {"PATH": path, "COLUMNS": "160", "NO_COLOR": "1", "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
    done = subprocess.run(
        line, shell=True, env=os.environ | settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        encoding="utf-8", timeout=_LIMIT_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode:
        raise AssertionError(f"$ {line}\nended with {done.returncode}:\n{done.stdout}")
    return "".join(part for part in done.stdout.splitlines(keepends=True) if not _COMPILING.match(part))


def find_difference(shown: str, printed: str) -> str | None:
    """Return the first line shown that the output lacks at its place, None if all are there."""
    rest = [line.split() for line in printed.splitlines() if line.split()]
    anywhere = False
    for line in shown.splitlines():
        words = line.split()
        if words == [_ANY]:
            anywhere = True
        elif words:
            at = next((i for i, other in enumerate(rest) if _words_match(words, other)), None)
            if at is None or (at > 0 and not anywhere):
                return f"shown:   {line.strip()}\nprinted: {' '.join(rest[0]) if rest else 'nothing more'}"
            rest, anywhere = rest[at + 1 :], False
    return None if anywhere or not rest else f"not shown: {' '.join(rest[0])}"


def _words_match(shown: list[str], printed: list[str]) -> bool:
    """Whether words agree one by one, `…` standing for any number of them."""
    if not shown:
        return not printed
    if shown[0] == _ANY:
        return any(_words_match(shown[1:], printed[i:]) for i in range(len(printed) + 1))
    return bool(printed) and _word_matches(shown[0], printed[0]) and _words_match(shown[1:], printed[1:])


def _word_matches(shown: str, printed: str) -> bool:
    """Equal but for digits, and the numbers about as large; rules of tables may be of any length."""
    if set(shown) == set(printed) == {"─"}:
        return True
    if _NUMBER.sub("0", shown) != _NUMBER.sub("0", printed):
        return False
    pairs = zip(_NUMBER.findall(shown), _NUMBER.findall(printed), strict=True)
    values = ((float(a.replace(",", "")), float(b.replace(",", ""))) for a, b in pairs)
    return all(abs(a - b) <= _TOLERANCE * max(abs(a), abs(b)) for a, b in values)
