"""The JavaScript package in a headless Chromium, on the page and in a worker: it passes the conformance pack.

Nothing of npm is needed: a server of this test serves `js/` and the pack. `npm test` in `js/` does the same in Node.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

import enx_variants
from c_decoder import CODES, ROOT, Decoder, shared_folder
from chromium import chromium
from decoders_agree import builds_disagree, large_bases

JS = ROOT / "js"
EXPECTED: dict[str, Any] = json.loads(
    (ROOT / "tests" / "conformance" / "expected.json").read_text(encoding="utf-8")
)

ON_PAGE = 'async (names) => (await import("/tests/web/pack.js")).decodeAll(names)'
IN_WORKER = """
(names) => new Promise((resolve, reject) => {
  const worker = new Worker("/tests/web/worker.js", { type: "module" });
  worker.onmessage = ({ data }) => resolve(data);
  worker.onerror = (event) => reject(new Error(event.message));
  worker.postMessage(names);
})
"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and says nothing of it."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """An empty page of a server of the repository's files."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(ROOT)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(30_000)
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/js/package.json")
        yield page
    server.shutdown()
    server.server_close()


def wanted() -> dict[str, str]:
    sound = {f"sound/{name}": found["onnx_sha256"] for name, found in EXPECTED["sound"].items()}
    return sound | {f"damaged/{name}": code for name, code in EXPECTED["damaged"].items()}


@pytest.mark.parametrize("script", [ON_PAGE, IN_WORKER], ids=["page", "worker"])
def test_the_pack_is_read_in_a_browser(script: str, page: Page) -> None:
    assert page.evaluate(script, list(wanted())) == wanted()


def test_an_address_that_is_not_there_rejects_the_promise(page: Page) -> None:
    code = 'async () => (await import("/js/index.js")).decode(await fetch("/none.enx")).catch((error) => error.message)'
    assert page.evaluate(code) == "the file cannot be fetched: the server answered 404"


def sources() -> list[Path]:
    """What enx.wasm is made of, in the order of js/Makefile."""
    names = ("../decoder/enx.c", "../decoder/enx.h", "src/wasm.c", "src/string.h", "Makefile")
    return [JS / name for name in names]


def test_the_committed_module_is_that_of_the_sources(tmp_path: Path) -> None:
    """By the hash of its sources, which `make` notes; and where ziglang and binaryen are installed, byte for byte."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources())).hexdigest()
    assert (JS / "enx.wasm.sources").read_text().strip() == digest, "run `make` in js/ and commit enx.wasm"
    zig = subprocess.run([sys.executable, "-m", "ziglang", "version"], capture_output=True, check=False)
    optimiser = shutil.which("wasm-opt")
    if zig.returncode == 0 and optimiser:
        shutil.copytree(ROOT / "decoder", tmp_path / "decoder")
        shutil.copytree(JS, tmp_path / "js")
        (tmp_path / "js" / "enx.wasm").unlink()
        command = ["make", "-s", f"ZIG={sys.executable} -m ziglang", f"WASM_OPT={optimiser}"]
        subprocess.run(command, cwd=tmp_path / "js", check=True)
        assert (tmp_path / "js" / "enx.wasm").read_bytes() == (JS / "enx.wasm").read_bytes()


def test_the_module_is_small_and_asks_for_one_function() -> None:
    """It imports what makes a float64 of a text, and nothing else."""
    data = (JS / "enx.wasm").read_bytes()
    assert data[:8] == b"\0asm\x01\0\0\0"
    assert len(data) <= 32_000
    (imports,) = [content for number, content in sections(data) if number == 2]
    assert imports[0] == 1
    assert imports[1:].startswith(b"\x02js\x06number\0")


def test_the_sentences_are_those_of_c() -> None:
    """`MESSAGES` of index.js has the codes of enx.h, in their order, and what enx_message says of each."""
    source = (ROOT / "decoder" / "enx.c").read_text(encoding="utf-8")
    said = re.findall(r'case ENX_(\w+): return "(.*)";', source)
    script = (JS / "index.js").read_text(encoding="utf-8")
    assert [code for code, _ in said] == list(CODES)
    assert re.findall(r'^  \["(\w+)", "(.*)"\],$', script, re.MULTILINE) == said


def test_chance_finds_no_difference_to_c(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Mutated files in Node, whole and in pieces, short and of long payloads: the same codes, and the same models."""
    decoder = Decoder.built(shared_folder(tmp_path_factory))
    assert builds_disagree(decoder, enx_variants.bases(), "short", 300) == []
    assert builds_disagree(decoder, large_bases(), "long", 20) == []


def sections(data: bytes) -> list[tuple[int, bytes]]:
    """The numbers of a module's sections, of which 2 is that of imports, and what is in them."""
    found, at = [], 8
    while at < len(data):
        number = data[at]
        at += 1
        size = shift = 0
        while True:
            size |= (data[at] & 127) << shift
            shift += 7
            at += 1
            if data[at - 1] < 128:
                break
        found.append((number, data[at : at + size]))
        at += size
    return found


def test_types_and_module_export_the_same_names() -> None:
    for name in ("EnxError", "decode", "inspect", "session"):
        for file in ("index.js", "index.d.ts"):
            text = (JS / file).read_text(encoding="utf-8")
            assert any(f"export {kind} {name}" in text for kind in ("class", "function", "async function")), (
                name
            )


def test_the_example_page_opens_files(page: Page) -> None:
    """`examples/decode.html`: the tensors of a sound file, one sentence for a damaged one, no error in the console."""
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(page.evaluate("location.origin") + "/examples/decode.html")
    pack = ROOT / "tests" / "conformance"
    page.get_by_label("A compressed network").set_input_files(pack / "damaged" / "cut-at-the-end.enx")
    page.get_by_text("This file cannot be read: the file was cut off: it is shorter than it says.").wait_for()
    assert not page.locator("table").is_visible()
    page.get_by_label("A compressed network").set_input_files(pack / "sound" / "digits.enx")
    page.get_by_role("link", name="Save the ONNX model").wait_for()
    names = page.locator("tbody tr td:first-child").all_inner_texts()
    wanted = EXPECTED["sound"]["digits.enx"]
    assert names == list(wanted["tensors"])
    assert f"a model of {wanted['onnx_bytes']} bytes" in page.get_by_role("status").inner_text()
    assert not errors
