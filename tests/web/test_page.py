"""The page of `docs/web`, as `make web` builds it, in a headless Chromium: drawing, own files, onnxruntime-web."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

import enxuto
from c_decoder import ROOT
from chromium import chromium
from enxuto.demo import TEST_IMAGES

sys.path.insert(0, str(ROOT / "docs" / "site_parts"))
import web_page

PACK = ROOT / "tests" / "conformance"
DIGITS = ROOT / "docs" / "web" / "digits.enx"
IMAGES = 60  # of the demo's


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and says nothing of it."""

    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}  # noqa: RUF012

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a static host of the built page."""
    folder = tmp_path_factory.mktemp("web") / "site"
    assert web_page.build(folder), "onnxruntime-web is missing: run `npm install` in js/ (`make test` does)"
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def visit(site: str, browser: Browser) -> Callable[..., Any]:
    """A function that opens the page; nothing may be logged as an error, and no script may fail."""

    @contextmanager
    def visit(**settings: Any) -> Iterator[Page]:
        context = browser.new_context(**settings)
        page, errors = context.new_page(), []
        page.set_default_timeout(30_000)
        page.on(
            "console", lambda said: errors.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{site}/index.html")
        page.get_by_text("Draw a digit from 0 to 9.").wait_for()
        yield page
        context.close()
        assert not errors

    return visit


def drawn(page: Page) -> str:
    return page.locator("#answer").inner_text()


def test_a_digit_is_drawn_with_the_mouse_and_named(visit: Callable[..., Any]) -> None:
    with visit() as page:
        box = page.locator("#field").bounding_box()
        for x, y in ((0.5, 0.1), (0.5, 0.4), (0.5, 0.9)):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            page.mouse.down()
        page.mouse.up()
        assert drawn(page) == "It is a 1."
        assert page.locator("#bars li.most").inner_text().split()[0] == "1"
        page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.5 * box["height"])
        assert drawn(page) == "It is a 1.", "the pen is up"
        page.get_by_role("button", name="Clear").click()
        assert drawn(page) == "Draw a digit from 0 to 9."
        answers = []
        for _ in range(6):
            page.get_by_role("button", name="Draw one for me").click()
            answers.append(drawn(page))
        assert answers == [f"It is a {digit}." for digit in (3, 4, 5, 0, 1, 2)]


def test_a_digit_is_drawn_with_the_keyboard(visit: Callable[..., Any]) -> None:
    with visit() as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "field"
        page.keyboard.press("ArrowLeft")
        assert drawn(page) == "Draw a digit from 0 to 9.", "without Shift the pen only moves"
        for _ in range(12):
            page.keyboard.press("Shift+ArrowDown")
        assert drawn(page) == "It is a 1."
        page.keyboard.press("Delete")
        assert drawn(page) == "Draw a digit from 0 to 9."


def test_a_phone_shows_all_and_takes_a_finger(visit: Callable[..., Any]) -> None:
    phone = {
        "viewport": {"width": 390, "height": 844},
        "has_touch": True,
        "is_mobile": True,
        "color_scheme": "dark",
    }
    with visit(**phone) as page:
        page.locator("#file").set_input_files(PACK / "sound" / "network.enx")
        page.locator("#facts").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        page.locator("#field").tap(position={"x": 100, "y": 100})
        page.get_by_text("It is a ").wait_for()


def test_bytes_that_travelled_are_those_of_the_files(visit: Callable[..., Any]) -> None:
    with visit() as page:
        sizes = [
            int(text.replace(",", "")) for text in page.locator("#travelled .number").all_inner_texts()[1:]
        ]
    assert sizes[:2] == [DIGITS.stat().st_size, (ROOT / "js" / "enx.wasm").stat().st_size]
    assert sizes[3] == sum(sizes[:3])
    scripts = [path for path in (ROOT / "docs" / "web").iterdir() if path.suffix in (".html", ".css", ".js")]
    assert sizes[2] == sum(path.stat().st_size for path in (*scripts, ROOT / "js" / "index.js"))


@pytest.fixture(scope="module")
def python_scores() -> np.ndarray:
    """What ONNX Runtime in Python answers for images of the demo."""
    with np.load(TEST_IMAGES) as file:
        batch = (file["images"][:IMAGES] / np.float32(255)).astype(np.float32)[:, None]
    running = enxuto.session(DIGITS)
    return running.run(None, {running.get_inputs()[0].name: batch})[0]


def test_the_page_answers_as_onnxruntime_in_python(
    visit: Callable[..., Any], python_scores: np.ndarray
) -> None:
    """Its own arithmetic, and onnxruntime-web through `session`, on images of the demo."""
    code = """async (images) => {
      const { decode, session } = await import("./enxuto/index.js");
      const { network } = await import("./digits.js");
      const answer = network(await decode(await fetch("digits.enx")));
      const ort = await import("./ort/ort.wasm.min.mjs");
      ort.env.wasm.numThreads = 1;
      const running = await session("digits.enx", { ort, executionProviders: ["wasm"] });
      const batch = new ort.Tensor("float32", Float32Array.from(images.flat()), [images.length, 1, 8, 8]);
      const scores = (await running.run({ [running.inputNames[0]]: batch }))[running.outputNames[0]];
      return [images.map((pixels) => answer(Float32Array.from(pixels))), Array.from(scores.data)];
    }"""
    with np.load(TEST_IMAGES) as file:
        images = (file["images"][:IMAGES].reshape(IMAGES, 64) / np.float32(255)).astype(np.float32).tolist()
    with visit() as page:
        probabilities, scores = page.evaluate(code, images)
    np.testing.assert_allclose(np.reshape(scores, (IMAGES, 10)), python_scores, atol=1e-4)
    exponentials = np.exp(python_scores - python_scores.max(1, keepdims=True))
    wanted = exponentials / exponentials.sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities, wanted, atol=1e-4)


def test_a_file_of_ones_own_is_shown_and_classifies_an_image(
    visit: Callable[..., Any], python_scores: np.ndarray, tmp_path: Path
) -> None:
    with np.load(TEST_IMAGES) as file:
        Image.fromarray(file["images"][5]).save(tmp_path / "digit.png")
    with visit() as page:
        page.locator("#file").set_input_files(DIGITS)
        page.locator("#facts").wait_for()
        assert (
            "digits.enx: 9,958 bytes gave an ONNX model of 280,405 bytes"
            in page.locator("#opened").inner_text()
        )
        names = page.locator("#tensors tbody tr td:first-child").all_inner_texts()
        assert sorted(names) == sorted(f"{n}.{of}" for n in (0, 3, 7, 9, 11) for of in ("weight", "bias"))
        ledger = [
            int(text.replace(",", "")) for text in page.locator("#ledger td:nth-child(2)").all_inner_texts()
        ]
        assert ledger[-1] == sum(ledger[:-1]) == DIGITS.stat().st_size
        size = sum((web_page.RUNTIME_FOLDER / name).stat().st_size for name in web_page.RUNTIME)
        page.get_by_text(f"loads onnxruntime-web from beside this page, {size / 1e6:.1f} MB").wait_for()
        page.locator("#image").set_input_files(tmp_path / "digit.png")
        page.locator("#classes").wait_for()
        answers = dict(text.split(": ") for text in page.locator("#classes li").all_inner_texts())
        with page.expect_download() as saved:
            page.get_by_role("link", name="Save the ONNX model").click()
        model = Path(saved.value.path()).read_bytes()
    best = np.argsort(-python_scores[5])[:5]
    assert list(answers) == [str(digit) for digit in best]
    np.testing.assert_allclose([float(x) for x in answers.values()], python_scores[5][best], atol=1e-3)
    enxuto.CompressedModel.read(DIGITS).write_onnx(tmp_path / "wanted.onnx")
    assert onnx.load_model_from_string(model) == onnx.load(tmp_path / "wanted.onnx")


def damaged() -> dict[str, tuple[bytes, str]]:
    """Files that are none, and the sentence for each."""
    sound = DIGITS.read_bytes()
    none = "not an .enx file: it does not begin with the format's signature"
    return {
        "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9958\n", none),
        "a page": (b"<!doctype html><title>404</title>", none),
        "an ONNX file": (b"\x08\x08\x12\x07pytorch" + bytes(50), none),
        "nothing": (b"", none),
        "cut off in its head": (sound[:20], "the file was cut off: it is shorter than it says"),
        "cut off in a payload": (sound[:-1], "the file was cut off: it is shorter than it says"),
        "added to": (sound + b"\n", "the file was added to: it is longer than it says"),
        "a changed head": (
            sound[:60] + bytes([sound[60] ^ 1]) + sound[61:],
            "the head of the file is damaged",
        ),
        "a changed payload": (
            sound[:-9] + bytes([sound[-9] ^ 1]) + sound[-8:],
            "the values of a tensor are damaged",
        ),
    }


def test_a_file_that_cannot_be_read_gives_its_sentence(visit: Callable[..., Any]) -> None:
    with visit() as page:
        for name, (data, sentence) in damaged().items():
            page.locator("#opened").evaluate("said => (said.textContent = '')")
            page.locator("#file").set_input_files({"name": f"{name}.enx", "mimeType": "", "buffer": data})
            page.get_by_text(f"This file cannot be read: {sentence}.", exact=True).wait_for()
            assert page.locator("#facts").is_hidden(), name
        page.locator("#file").set_input_files(PACK / "sound" / "bare.enx")  # and the next one is opened
        page.get_by_text("bare.enx: ").wait_for()


def test_the_file_chosen_last_is_shown_and_may_be_chosen_again(visit: Callable[..., Any]) -> None:
    """One that is read late is not shown in its place; and keys that reach the field for files are seen to do so."""
    slow = """() => {
      const read = File.prototype.arrayBuffer;
      const gate = new Promise((resolve) => (window.letGo = resolve));
      File.prototype.arrayBuffer = function () {
        return this.name === "slow.enx" ? gate.then(() => read.call(this)) : read.call(this);
      };
    }"""
    finish = """async () => {
      const { decode } = await import("./enxuto/index.js");
      window.letGo();
      for (let turn = 0; turn < 3; turn++) await decode(await (await fetch("digits.enx")).arrayBuffer());
    }"""
    opened = "9,958 bytes gave an ONNX model"
    with visit() as page:
        page.evaluate(slow)
        page.locator("#file").set_input_files({"name": "slow.enx", "mimeType": "", "buffer": b"none"})
        page.locator("#file").set_input_files(DIGITS)
        page.get_by_text(f"digits.enx: {opened}").wait_for()
        page.evaluate(finish)
        assert opened in page.locator("#opened").inner_text()
        page.locator("#opened").evaluate("said => (said.textContent = '')")
        page.locator("#file").set_input_files(DIGITS)
        page.get_by_text(f"digits.enx: {opened}").wait_for()
        assert page.locator("#file").input_value() == "", "the same file may be chosen again"
        page.locator("#sample").focus()
        page.keyboard.press("Tab")
        assert (
            page.evaluate("getComputedStyle(document.activeElement.closest('.file')).outlineStyle") == "solid"
        )


def test_pixels_become_a_batch_as_in_python(visit: Callable[..., Any]) -> None:
    """Without resizing, which is the browser's: order of colours, grey, mean, deviation and layout."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (6, 8, 3), np.uint8)
    code = """async ([pixels, input, preprocess]) => {
      const { imageTensor } = await import("./images.js");
      const image = await createImageBitmap(new ImageData(Uint8ClampedArray.from(pixels), 8, 6));
      const { data, shape } = imageTensor(image, input, preprocess);
      return [Array.from(data), shape];
    }"""
    pixels = np.dstack((image, np.full((6, 8, 1), 255, np.uint8))).reshape(-1).tolist()
    with visit() as page:
        for settings in (
            {"channels": "RGB", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)},
            {"channels": "BGR", "mean": (0.5, 0.4, 0.3), "divide_by": 1.0},
            {"channels": "L", "mean": (0.1,)},
            {"channels": "RGB", "layout": "NHWC", "crop": (4, 6)},
        ):
            preprocess = enxuto.Preprocess(**settings)
            wanted = preprocess.apply([image])
            shape = [None, *wanted.shape[1:]]
            input_ = {"name": "x", "type": 1, "shape": shape}
            found, found_shape = page.evaluate(
                code, [pixels, input_, json.loads(json.dumps(preprocess.to_dict()))]
            )
            assert found_shape == list(wanted.shape)
            np.testing.assert_allclose(np.reshape(found, wanted.shape), wanted, atol=1e-5)
