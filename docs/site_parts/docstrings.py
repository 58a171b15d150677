"""Docstrings for autodoc: enxuto's are Markdown of the plainest kind, Sphinx takes reStructuredText.

Paragraphs, lists, sections (Args, Returns, Raises, …), examples behind `>>>`, indented code and `code` in backticks are
carried over; every other character stands for itself. So no docstring can break the build, and none has to be written
for it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["setup", "to_restructured"]

_CODE = re.compile(r"(`+)(.+?)\1")
_SPECIAL = re.compile(r"([\\*`|_<>\[\]])")
_ITEM = re.compile(r"(?P<mark>[-*]|\d+\.) +(?P<text>.*)")
_NAMED = re.compile(r"(?P<names>[*\w.]+(?:, [*\w.]+)*): +(?P<text>.*)")
_SECTIONS = {
    "Args:": "Arguments",
    "Attributes:": "Attributes",
    "Raises:": "Raises",
    "Returns:": "Returns",
    "Yields:": "Yields",
}


def to_restructured(lines: list[str]) -> list[str]:
    """Return reStructuredText for the lines of a docstring (dedented, as autodoc passes them)."""
    written: list[str] = []
    section = ""
    for block in _blocks(lines):
        if section:
            written += _section(section, block)
            section = ""
        elif block[-1] in _SECTIONS:
            section = _SECTIONS[block[-1]]
            written += [*(_inline(line.strip()) for line in block[:-1]), ""]
        elif block[0].startswith(">>> "):
            written += [*block, ""]
        elif block[0].startswith("    "):
            written += ["::", "", *(f"    {line}".rstrip() for line in block), ""]
        elif any(_ITEM.match(line) for line in block):
            written += [*_list(block), ""]
        else:
            written += [*(_inline(line.strip()) for line in block), ""]
    return written


def _blocks(lines: list[str]) -> list[list[str]]:
    """Lines between empty ones; code (indented) and prose are separate blocks even without an empty line."""
    blocks: list[list[str]] = []
    before: str | None = None
    for line in lines:
        kind = None if not line.strip() else "code" if line.startswith("    ") else "prose"
        if kind is not None and kind == before:
            blocks[-1].append(line)
        elif kind == "code" and blocks and blocks[-1][0].startswith("    "):
            blocks[-1] += ["", line]  # an empty line within code
        elif kind is not None:
            blocks.append([line])
        before = kind
    return blocks


def _section(title: str, block: list[str]) -> list[str]:
    """A title, then an item for each name with its description, or the text as it is where it names none."""
    items: list[list[str]] = []
    for line in block:
        if items and line.startswith("     "):
            items[-1].append(line.strip())
        elif line.strip():
            items.append([line.strip()])
    texts = [" ".join(item) for item in items]
    found = [_NAMED.fullmatch(text) for text in texts]
    if all(match is None for match in found):
        return [f"**{title}:** " + _inline(" ".join(texts)), ""]
    named = [
        _inline(text) if match is None else f"``{match['names']}``: {_inline(match['text'])}"
        for text, match in zip(texts, found, strict=True)
    ]
    return [f"**{title}**", "", *(f"- {text}" for text in named), ""]


def _list(block: list[str]) -> list[str]:
    """A paragraph, perhaps, then items; lines that do not begin an item go on with the one before."""
    paragraph: list[str] = []
    items: list[list[str]] = []
    for line in block:
        found = _ITEM.match(line.strip())
        if found:
            items.append([found["text"]])
        else:
            (items[-1] if items else paragraph).append(line.strip())
    text = [_inline(line) for line in paragraph]
    if text:
        text.append("")
    return [*text, *("- " + _inline(" ".join(item)) for item in items)]


def _inline(text: str) -> str:
    """Escape what means something to reStructuredText; turn `code` into its literals."""
    parts, at = [], 0
    for found in _CODE.finditer(text):
        code = found[2].strip()
        parts += [_SPECIAL.sub(r"\\\1", text[at : found.start()]), f"\\ ``{code}``\\ " if code else ""]
        at = found.end()
    return "".join([*parts, _SPECIAL.sub(r"\\\1", text[at:])])


def _process(_app: Sphinx, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    lines[:] = to_restructured(lines)


def _tidy(
    _app: Sphinx,
    _what: str,
    _name: str,
    _object: Any,
    _options: Any,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Defaults made by a factory as `...`: with dataclasses' own way to show them a signature is not Python."""
    return (signature.replace("<factory>", "...") if signature else signature), returns


def setup(app: Sphinx) -> dict[str, bool]:
    """Take part in autodoc."""
    app.connect("autodoc-process-docstring", _process)
    app.connect("autodoc-process-signature", _tidy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
