"""Only the formats meant are opened, by whatever name a file goes, wherever image bytes come from."""

from __future__ import annotations

import ast
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import EpsImagePlugin, Image

import enxuto
from enxuto.data import Preprocess, open_dataset
from enxuto.data.images import IMAGE_FORMATS
from enxuto.errors import DataError

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(touch was-run) system\n"
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)


@pytest.fixture
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for Ghostscript that leaves a mark; the path of the mark."""
    mark = tmp_path / "was-run"
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {mark}\necho 9.0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    return mark


def in_folder(root: Path, content: bytes, ending: str) -> Path:
    (root / "cat").mkdir(parents=True)
    (root / "cat" / f"a{ending}").write_bytes(content)
    return root


def in_parquet(root: Path, content: bytes, ending: str) -> Path:
    root.mkdir()
    image = pa.array([{"bytes": content, "path": f"a{ending}"}])
    pq.write_table(pa.table({"image": image, "label": pa.array([0])}), root / "d.parquet")
    return root / "d.parquet"


def in_table(root: Path, content: bytes, ending: str) -> Path:
    root.mkdir()
    (root / f"a{ending}").write_bytes(content)
    (root / "t.csv").write_text(f"file,label\na{ending},0\n")
    return root / "t.csv"


def loose(root: Path, content: bytes, ending: str) -> Path:
    root.mkdir()
    (root / f"a{ending}").write_bytes(content)
    return root


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("made", [in_folder, in_parquet, in_table, loose])
def test_postscript_starts_nothing(tmp_path: Path, ghostscript: Path, made: Any, ending: str) -> None:
    data = open_dataset(made(tmp_path / "data", EPS, ending), require_labels=False)
    with pytest.raises(DataError, match="is not an image that can be read: no JPEG, PNG"):
        data.image(0)
    assert not ghostscript.exists()


def test_a_picture_that_the_caller_opened_starts_nothing_either(ghostscript: Path) -> None:
    picture = Image.open(io.BytesIO(EPS))
    assert picture.format == "EPS", "Pillow itself knows it"
    with pytest.raises(DataError, match="EPS, which is not opened"):
        Preprocess().apply([picture])
    assert not ghostscript.exists()


@pytest.mark.parametrize(
    ("format", "ending", "exact"),
    [("PNG", ".png", True), ("BMP", ".bmp", True), ("TIFF", ".tif", True), ("PPM", ".ppm", True),
     ("GIF", ".gif", False),
     ("JPEG", ".jpg", False), ("WEBP", ".webp", False), ("MPO", ".jpg", False)],
)  # fmt: skip
def test_formats_that_are_meant(tmp_path: Path, format: str, ending: str, exact: bool) -> None:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, format)
    image = open_dataset(in_folder(tmp_path / "data", stream.getvalue(), ending)).image(0)
    assert image.shape == PIXELS.shape
    assert format in IMAGE_FORMATS
    if exact:
        np.testing.assert_array_equal(image, PIXELS)


@pytest.mark.parametrize("format", ["EPS", "PDF", "ICO", "TGA", "SGI", "PCX", "DDS", "JPEG2000"])
def test_formats_that_are_not(tmp_path: Path, format: str) -> None:
    stream = io.BytesIO()
    try:
        Image.fromarray(PIXELS).save(stream, format)
    except (OSError, KeyError):  # this Pillow cannot write it
        stream.write({"EPS": EPS}.get(format, b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(64)))
    data = open_dataset(in_folder(tmp_path / "data", stream.getvalue(), ".png"))
    with pytest.raises(DataError, match="E041"):
        data.image(0)


def test_nothing_else_opens_pictures() -> None:
    """`Image.open` without formats is nowhere in the package."""
    for path in sorted(Path(enxuto.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                not isinstance(node, ast.Call)
                or not isinstance(node.func, ast.Attribute)
                or node.func.attr != "open"
            ):
                continue
            if isinstance(node.func.value, ast.Name) and node.func.value.id == "Image":
                assert any(word.arg == "formats" for word in node.keywords), f"{path}:{node.lineno}"
