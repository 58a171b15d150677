"""The pages of docs/networks: what the script writes is what is there, and the drawings are whole."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from enxuto import zoo

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    sys.path.insert(0, str(DOCS))
    try:
        return importlib.import_module("make_networks")
    finally:
        sys.path.remove(str(DOCS))


def test_pages_are_up_to_date(script: ModuleType) -> None:
    """If this fails: python docs/make_networks.py"""
    texts = script.pages()
    assert {path.name for path in (DOCS / "networks").iterdir()} == set(texts)
    for name, text in texts.items():
        assert (DOCS / "networks" / name).read_text(encoding="utf-8") == text, name


def test_every_family_has_a_page_and_every_network_a_row() -> None:
    for item in map(zoo.entry, zoo.names()):
        page = (DOCS / "networks" / f"{item.family}.md").read_text(encoding="utf-8")
        assert f"| `{item.name}` |" in page
        assert f"({item.family}.svg)" in page


@pytest.mark.parametrize("path", sorted((DOCS / "networks").glob("*.svg")), ids=lambda path: path.stem)
def test_drawings_are_whole(path: Path) -> None:
    """Well-formed, everything inside the frame, no text wider than its box."""
    root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    tag = "{http://www.w3.org/2000/svg}"
    rects = root.findall(f"{tag}rect")
    assert len(rects) > 4
    for rect in rects:
        x, y = float(rect.attrib["x"]), float(rect.attrib["y"])
        assert left <= x <= left + width - float(rect.attrib["width"])
        assert top <= y <= top + height - float(rect.attrib["height"])
    for text in root.findall(f"{tag}text"):
        assert text.text
        bold = "font-weight" in text.attrib
        assert len(text.text) <= (28 if bold else 22), text.text
