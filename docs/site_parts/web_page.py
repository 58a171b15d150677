"""The page of `docs/web` as a folder that any static host serves: the page, the decoder, and onnxruntime-web.

As a Sphinx extension it puts the folder `web` into the site. Alone: `python docs/site_parts/web_page.py FOLDER`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "web"
DECODER = ("index.js", "enx.wasm")
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
RUNTIME_FOLDER = ROOT / "js" / "node_modules" / "onnxruntime-web" / "dist"
"""Where `npm install` in `js/` puts onnxruntime-web."""


def build(folder: Path) -> bool:
    """Write the page.

    Args:
        folder: where; what is there is replaced.

    Returns:
        Whether onnxruntime-web is among its files. Without it the page does all but classify images.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(PAGE, folder)
    (folder / "enxuto").mkdir()
    for name in DECODER:
        shutil.copyfile(ROOT / "js" / name, folder / "enxuto" / name)
    if not RUNTIME_FOLDER.is_dir():
        return False
    (folder / "ort").mkdir()
    for name in RUNTIME:
        shutil.copyfile(RUNTIME_FOLDER / name, folder / "ort" / name)
    return True


def setup(app: Any) -> dict[str, bool]:
    """Sphinx: build the page when the site is built."""
    app.connect("build-finished", lambda app, error: error or build(Path(app.outdir) / "web"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    place = Path(sys.argv[1])
    with_runtime = build(place)
    missing = "" if with_runtime else " without onnxruntime-web: run `npm install` in js/ to have it"
    sys.stdout.write(f"{place} is ready{missing}\n")
