"""Decoding in a browser: WebAssembly beside native C, and the bytes that travel beside an int8 model, in one run.

    python benchmarks/web.py MODEL.onnx MODEL.enx [OTHER.enx ...] [--runs 20] [--json web.json]

MODEL.enx is what `enxuto compress MODEL.onnx` made. A headless Chromium fetches it from a server on this machine; its
time is from the start of the fetch to the Uint8Array of the ONNX model, once with a fresh page (the first run compiles
the decoder) and at best of many. The C decoder decodes the same file in between. All share one processor core. Times
are processor time, which other programs of the machine disturb less than they do the clock. Bytes are those of the
page of `docs/web`, of the decoder, of onnxruntime-web and of the model, each compressed by brotli where that makes it
shorter. Needs a C compiler, Node and, in js/, `npm install`.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import onnx
from playwright.sync_api import CDPSession, Page, sync_playwright

from decoders import library
from int8_baseline import quantize_weights

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs" / "site_parts"))
import web_page  # noqa: E402

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
INT8 = "int8, brotli"
RUN = """async (wanted) => {
  const { decode } = await import("./enxuto/index.js");
  const begin = performance.now();
  const model = await decode(await fetch("model.enx", { cache: "no-store" }));
  const time = performance.now() - begin;
  if (model.length !== wanted) throw new Error(`${model.length} bytes instead of ${wanted}`);
  return time / 1000;
}"""
BROTLI = """
const { brotliCompressSync, constants } = require("node:zlib"), { readFileSync } = require("node:fs");
const [quality, ...paths] = process.argv.slice(1);
const params = { [constants.BROTLI_PARAM_QUALITY]: Number(quality), [constants.BROTLI_PARAM_LGWIN]: 24 };
const size = (data) => Math.min(data.length, brotliCompressSync(data, { params }).length);
console.log(JSON.stringify(paths.map((path) => size(readFileSync(path)))));
"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and says nothing of it."""

    def log_message(self, *_: object) -> None:
        pass


class Bytes(ctypes.Structure):
    """`enx_bytes` of enx.h."""

    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("allocator", ctypes.c_void_p * 3))


def native(enx: ctypes.CDLL, data: bytes) -> tuple[float, int]:
    """Seconds that the C decoder takes for a file, and the bytes of its model."""
    model = Bytes()
    begin = time.process_time()
    assert enx.enx_to_onnx(data, ctypes.c_size_t(len(data)), None, ctypes.byref(model)) == 0
    elapsed = time.process_time() - begin
    size = model.size
    enx.enx_free(ctypes.byref(model))
    return elapsed, size


def processor_seconds(session: CDPSession) -> float:
    """Processor time of the page's thread so far."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))


def measure(page: Page, address: str, enx: ctypes.CDLL, data: bytes, runs: int) -> dict[str, float]:
    """Least seconds of the browser and of C in alternate runs, and the browser's with a page that is fresh."""
    size = native(enx, data)[1]
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    found: dict[str, list[float]] = {"fresh, clock": [], "fresh": [], "warm": [], "native": []}
    for run in range(runs):
        fresh = run < max(1, runs // 3)
        if fresh:
            page.goto(address)
        begin = processor_seconds(session)
        clock = page.evaluate(RUN, size)
        found["fresh" if fresh else "warm"].append(processor_seconds(session) - begin)
        if fresh:
            found["fresh, clock"].append(clock)
        found["native"].append(native(enx, data)[0])
    return {name: min(times) if times else float("nan") for name, times in found.items()}


def travelled(folder: Path, models: dict[str, Path], quality: int) -> dict[str, int]:
    """Bytes on the wire of what a visitor loads, by part, and of each of the models."""
    parts = {
        "page": [path for path in folder.iterdir() if path.suffix in (".html", ".css", ".js")],
        "decoder": [folder / "enxuto" / name for name in web_page.DECODER],
        "runtime": [folder / "ort" / name for name in web_page.RUNTIME],
    } | {name: [path] for name, path in models.items()}
    paths = [str(path) for group in parts.values() for path in group]
    command = ["node", "-e", BROTLI, str(quality), *paths]
    sizes = iter(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
    return {name: sum(next(sizes) for _ in group) for name, group in parts.items()}


def show_times(found: dict[str, Any]) -> None:
    """Print how long decoding takes."""
    print(f"from first byte to Uint8Array, fresh page   {1e3 * found['fresh']:8.0f} ms of the page's thread")
    print(f"the same by the clock                       {1e3 * found['fresh, clock']:8.0f} ms")
    print(f"best of all later runs                      {1e3 * found['warm']:8.0f} ms of the page's thread")
    print(f"native C, best of all runs                  {1e3 * found['native']:8.0f} ms of processor time")
    print(f"WebAssembly's speed, native C = 1           {found['native'] / found['warm']:8.2f}", flush=True)


def show_bytes(sizes: dict[str, int], models: list[str]) -> None:
    """Print what travels, for each of the models; only the int8 model needs no decoder."""
    rows = {
        "page": dict.fromkeys(models, sizes["page"]),
        "onnxruntime-web": dict.fromkeys(models, sizes["runtime"]),
        "decoder": {name: 0 if name == INT8 else sizes["decoder"] for name in models},
        "model": {name: sizes[name] for name in models},
    }
    rows["together"] = {name: sum(row[name] for row in rows.values()) for name in models}
    width = max(14, *(len(name) + 2 for name in models))
    print(f"\n{'bytes that travel':<24}" + "".join(f"{name:>{width}}" for name in models))
    for what, row in rows.items():
        print(f"{what:<24}" + "".join(f"{row[name]:>{width},}" for name in models))


def main() -> int:
    """Build the page, serve it, measure, and print."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="the ONNX model")
    parser.add_argument("enx", type=Path, nargs="+", help="the same, compressed; one file or several")
    parser.add_argument("--runs", type=int, default=20, help="runs of each (default: %(default)s)")
    parser.add_argument("--quality", type=int, default=11, help="of brotli (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # children inherit it
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        folder, int8 = Path(place) / "site", Path(place) / "int8.onnx"
        if not web_page.build(folder):
            parser.error("onnxruntime-web is missing: run `npm install` in js/")
        proto = onnx.load(options.model)
        quantize_weights(proto.graph)
        onnx.save(proto, int8)
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = next(filter(None, map(shutil.which, BROWSERS)), None)
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        address = f"http://127.0.0.1:{server.server_address[1]}/index.html"
        page, enx = browser.new_page(), library(Path(place))
        results: dict[str, Any] = {}
        for path in options.enx:
            shutil.copyfile(path, folder / "model.enx")
            print(f"{path.name}, {path.stat().st_size:,} bytes")
            results[path.name] = measure(page, address, enx, path.read_bytes(), options.runs)
            show_times(results[path.name])
        browser.close()
        server.shutdown()
        server.server_close()
        models = {path.name: path for path in options.enx} | {INT8: int8}
        results["bytes"] = travelled(folder, models, options.quality)
        show_bytes(results["bytes"], list(models))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
