"""The commands that pages show, in blocks and within sentences, with the files that they read and make."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Command", "commands_of", "parse"]

_RUN = ("", "console", "sh")  # languages of blocks that hold commands
_OUTPUTS = ("-o", "--output", "--out", "--folder", "--table", "--chart", ">")
_PATH = re.compile(
    r"(?!.*://)(.*/.*|.*\.(onnx|enxd?|parquet|npz|pt|toml|txt|jsonl?|png|svg|html|md|csv|jpg))"
)
_FOLDERS = {
    "train": "runs/{}",
    "curve": "studies/curve-{}",
    "tonin": "studies/tonin-{}",
}  # where -o is not given


@dataclass(frozen=True)
class Command:
    """One command of a page.

    program: a verb of `enxuto`, a script as `benchmarks/rate.py`, or another program. words: what follows it.
    line: of the page. in_block: whether it stands in a block, not in a sentence.
    """

    program: str
    words: tuple[str, ...]
    line: int
    in_block: bool

    @property
    def ours(self) -> bool:
        """Whether it is a verb of `enxuto` or a benchmark; `cp` and `cc` only make files."""
        return self.program not in ("cp", "cc")

    @property
    def mentioned(self) -> bool:
        """Whether a sentence only speaks of the verb, or of one of its options."""
        return not self.in_block and (not self.words or (len(self.words) == 1 and self.words[0][0] == "-"))

    @property
    def named(self) -> bool:
        """Whether its output is named, so that it replaces what is there."""
        return any(word in _OUTPUTS for word in self.words) or self.program == "cp"

    @property
    def made(self) -> list[str]:
        """Files and folders that it makes: what is named as an output, else where the verb puts its results."""
        pairs = list(zip(self.words, self.words[1:], strict=False))
        named = [value for option, value in pairs if option in _OUTPUTS]
        if self.program.startswith("benchmarks/"):
            named += [value for option, value in pairs if option == "--json"]
        if self.program == "cp":
            named.append(self.words[-1])
        if named or not self.words:
            return named
        subject = self.words[1] if self.words[0] == "tonin" and len(self.words) > 1 else self.words[0]
        stem = Path(subject).stem
        if self.program == "compress":
            return [f"{stem}.enx"]
        folder = _FOLDERS.get("tonin" if self.words[0] == "tonin" else self.program)
        return [] if folder is None else [folder.format(stem)]

    @property
    def paths(self) -> list[str]:
        """Words that are paths, those that it makes left out."""
        return [word for word in self.words if _PATH.fullmatch(word) and word not in self.made]


def _blocks(text: str) -> tuple[list[tuple[str, int, list[str]]], str]:
    """A page's blocks, each with its language and the line that it begins in; and the page with empty lines there."""
    blocks: list[tuple[str, int, list[str]]] = []
    rest: list[str] = []
    inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("```"):
            inside = not inside
            if inside:
                blocks.append((line.strip().strip("`"), number + 1, []))
        elif inside:
            blocks[-1][2].append(line)
        rest.append("" if inside or line.lstrip().startswith("```") else line)
    return blocks, "\n".join(rest)


def commands_of(page: Path) -> list[Command]:
    """All commands of a page in their order, those in sentences too."""
    blocks, rest = _blocks(page.read_text())
    found = [
        command
        for language, start, lines in blocks
        if language in _RUN
        for command in _in_block(lines, start, prompted=language == "console")
    ]
    for match in re.finditer(r"`([^`]+)`", rest):
        line = rest[: match.start()].count("\n") + 1
        found += parse(match[1].replace("\n", " "), line, {}, in_block=False)
    return sorted(found, key=lambda command: command.line)


def _in_block(lines: list[str], start: int, *, prompted: bool) -> Iterator[Command]:
    variables: dict[str, str] = {}
    body: list[tuple[str, int]] | None = None  # of a loop
    loop: list[str] = []
    for text, line in _joined(lines, start):
        if prompted and not text.startswith("$ "):
            continue
        if found := re.match(r"for (\w+) in (.*?); do\b", text):
            loop, body = [found[1], *found[2].split()], []
        elif body is not None and text == "done":
            for value in loop[1:]:
                for inner, number in body:
                    yield from parse(inner, number, variables | {loop[0]: value}, in_block=True)
            body = None
        elif body is not None:
            body.append((text, line))
        else:
            yield from parse(text.removeprefix("$ "), line, variables, in_block=True)


def _joined(lines: list[str], start: int) -> Iterator[tuple[str, int]]:
    """Lines with those that a backslash continues, and the number of the first."""
    joined, first = "", start
    for number, line in enumerate(lines, start=start):
        first = first if joined else number
        joined += line.removesuffix("\\")
        if not line.endswith("\\"):
            yield joined.strip(), first
            joined = ""


def parse(text: str, line: int, variables: dict[str, str], *, in_block: bool) -> Iterator[Command]:
    """Yield the command of a line, if it is one of those known here; an assignment goes into `variables`."""
    if not re.match(r"(time )?(enxuto|python|torchrun|cp|cc) |\w+=", text):
        return
    try:
        words = shlex.split(text, comments=in_block)
    except ValueError:  # a piece of another language
        return
    if in_block and len(words) == 1 and re.fullmatch(r"\w+=\S+", words[0]):
        name, _, variables[name] = words[0].partition("=")
    words = [re.sub(r"\$(\w+)", lambda match: variables.get(match[1], match[0]), word) for word in words]
    words = words[1:] if words[0] == "time" else words
    if "-m" in words and words[words.index("-m") + 1 :][:1] == ["enxuto"]:
        words = words[words.index("-m") + 1 :]
    if words[0] in ("cp", "cc"):
        yield Command(words[0], tuple(words[1:]), line, in_block)
    elif len(words) > 1 and _is_ours(words, in_block=in_block):
        yield Command(words[1], tuple(words[2:]), line, in_block)


def _is_ours(words: list[str], *, in_block: bool) -> bool:
    """Whether it is a benchmark or a verb; in a sentence `enxuto NAME` may be anything, in a block never."""
    if words[0] == "python":
        return words[1].startswith("benchmarks/")
    return words[0] == "enxuto" and (in_block or re.fullmatch(r"[a-z]+", words[1]) is not None)
