"""The page in a headless Chromium: every chart drawn, values told, series hidden, tables sorted, no error at all.

`make test` sets the browser up (set_up_browser.sh); without one these tests fail, as a page that nobody opened is not
tested.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import report_samples as samples
from playwright.sync_api import Browser, Locator, Page

from chromium import chromium
from enxuto.report import read_results, write_page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every form of result, and a problem."""
    folder = tmp_path_factory.mktemp("report")
    paths = samples.all_of_them(folder)
    write_page(read_results([*paths, folder / "missing.json"]), folder / "report.html")
    return folder / "report.html"


@pytest.fixture
def errors() -> list[str]:
    """What the browser complains of while a test runs."""
    return []


@pytest.fixture
def page(browser: Browser, place: Path, errors: list[str]) -> Iterator[Page]:
    """The page, opened from disk without a network; that nothing went wrong is checked at the end of each test."""
    context = browser.new_context(viewport={"width": 1000, "height": 900}, offline=True)
    page = context.new_page()
    page.set_default_timeout(10_000)
    page.on(
        "console",
        lambda message: errors.append(message.text) if message.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "request",
        lambda request: None if request.url.startswith(("file:", "data:")) else errors.append(request.url),
    )
    page.goto(place.as_uri())
    yield page
    context.close()
    assert errors == []


def figure(page: Page, title: str) -> Locator:
    """The figure with this caption."""
    return page.locator("figure").filter(
        has=page.locator("figcaption", has_text=re.compile(f"^{re.escape(title)}"))
    )


def shown(page: Page, title: str) -> list[tuple[float, float, str]]:
    """What can be read in a figure: where, and how the first series' points are told."""
    drawn = figure(page, title).locator("svg").last
    drawn.focus()
    found = []
    for _ in range(int(drawn.get_attribute("data-drawn") or 0)):
        drawn.press("ArrowRight")
        ring = drawn.locator(".here")
        found.append((float(ring.get_attribute("cx") or 0), float(ring.get_attribute("cy") or 0),
                      figure(page, title).locator(".tip").inner_text()))  # fmt: skip
    return found


def test_every_chart_is_drawn_and_inside_its_frame(page: Page) -> None:
    figures = page.locator("figure")
    assert figures.count() >= 15
    for place in range(figures.count()):
        drawn = figures.nth(place).locator(".plot svg")
        title = figures.nth(place).locator("figcaption").inner_text()
        assert int(drawn.get_attribute("data-drawn") or 0) > 0, title
        assert drawn.locator("path, rect").count() > 0, title
        assert "NaN" not in drawn.inner_html(), title
    assert page.locator("#problems").inner_text().count("missing.json") == 1


def test_pointing_at_a_chart_tells_the_values(page: Page) -> None:
    chart = figure(page, "resnet-x: rate against accuracy")
    readings = shown(page, "resnet-x: rate against accuracy")
    assert len(readings) == 4
    x, y, text = readings[1]
    assert text.splitlines() == [
        "midtread", "whole file, bits per weight: 3.2", "top-1 %: 75 (70 – 80)", "setting: midtread, 4",
    ]  # fmt: skip
    chart.locator(".plot svg").press("Escape")
    assert not chart.locator(".tip").is_visible()
    chart.locator(".plot svg").hover(position={"x": x + 3, "y": y - 3})
    assert chart.locator(".tip").inner_text() == text
    page.mouse.move(0, 0)
    assert not chart.locator(".tip").is_visible()


def test_axes_run_as_they_say(page: Page) -> None:
    title = "resnet-x: rate against accuracy"
    chart = figure(page, title)
    # 1.6, 3.2 and 6.4 bits on a logarithmic axis of base 2 lie equally far apart; on a linear one they do not.
    left, middle, right = (x for x, _, _ in shown(page, title)[:3])
    assert right - middle == pytest.approx(middle - left, abs=0.5)
    chart.get_by_label("log x").uncheck()
    left, middle, right = (x for x, _, _ in shown(page, title)[:3])
    assert right - middle == pytest.approx(2 * (middle - left), abs=0.5)
    # Higher accuracy is further up, and another metric tells other values.
    heights = [y for _, y, _ in shown(page, title)[:3]]
    assert heights == sorted(heights, reverse=True)
    chart.get_by_role("combobox", name="Up").select_option("MRR")
    assert "MRR: 0.5" in shown(page, title)[0][2]
    # What remains of a network falls to the right.
    first, second = (x for x, _, _ in shown(page, "a network: accuracy against parameters remaining")[:2])
    assert first < second


def test_legend_hides_series_and_shows_them_again(page: Page) -> None:
    chart = figure(page, "resnet-x: rate against accuracy")
    button = chart.get_by_role("button", name="midtread")
    drawn = chart.locator(".plot svg")
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert drawn.get_attribute("data-drawn") == "1"
    button.press("Enter")
    assert drawn.get_attribute("data-drawn") == "4"


def test_tickets_are_ringed(page: Page) -> None:
    drawn = figure(page, "a network: accuracy against parameters remaining").locator(".plot svg")
    assert drawn.locator(".ring").count() == 1


def test_frames_are_chosen_by_name(page: Page) -> None:
    chart = figure(page, "a network: filters removed by layer and round")
    heights = [float(bar.get_attribute("height") or 0) for bar in chart.locator(".plot svg rect").all()]
    # Kept, removed now, removed before of conv1 (8, 2, 0 of 10), then of conv2 (15, 5, 0 of 20).
    assert [round(height / max(heights) * 15, 1) for height in heights] == [8, 2, 0, 15, 5, 0]
    chart.get_by_role("combobox", name="Show").select_option("l1, round 2")
    heights = [float(bar.get_attribute("height") or 0) for bar in chart.locator(".plot svg rect").all()]
    assert [round(height / max(heights) * 9, 1) for height in heights] == [7, 1, 2, 9, 6, 5]


def test_maps_have_a_cell_for_each_layer_and_axis(page: Page) -> None:
    title = "net: correlation of neighbouring weights"
    chart = figure(page, title)
    cells = chart.locator(".plot svg .cell")
    # Strength goes with the size of the value, 0.5 at the largest; below 0 is another colour.
    assert [cell.get_attribute("fill-opacity") for cell in cells.all()] == ["0.500", "0.250", "0.125"]
    assert [cell.get_attribute("fill") for cell in cells.all()] == ["var(--c1)", "var(--c5)", "var(--c1)"]
    (left, top, text), (right, same, _), (below, lower, _) = shown(page, title)
    assert text.splitlines() == [
        "outputs", "correlation of weights 1 apart: 0.5", "layer: conv1", "shape: 6×5×3×3",
        "pairs of neighbours: 2,000",
    ]  # fmt: skip
    assert left == below < right
    assert top == same < lower
    chart.get_by_role("combobox", name="Values").select_option("correlation of weights 2 apart")
    assert {cell.get_attribute("fill-opacity") for cell in cells.all()} == {"0.500"}


def test_tables_sort_by_value_and_copy_as_they_are(page: Page) -> None:
    table = page.locator(".table").filter(has_text="net.enx: size ledger")
    heading = table.get_by_role("columnheader", name="bytes", exact=True)

    def cells() -> list[str]:
        return [cell.inner_text() for cell in table.locator("tbody td:nth-child(2)").all()]

    assert cells() == ["≈ 4,000", "4,500", "500"]
    heading.get_by_role("button").click()
    assert cells() == ["500", "≈ 4,000", "4,500"]
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.get_by_role("button").press("Enter")
    assert cells() == ["4,500", "≈ 4,000", "500"]
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    table.get_by_role("button", name="Copy").click()
    table.get_by_role("button", name="Copied").wait_for()
    lines = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert lines[0].split("\t") == ["form", "bytes", "times smaller", "bits/parameter"]
    assert lines[1].split("\t") == ["ONNX file", "4,500", "0.89", "36.000"]


def test_schemes_follow_the_system_and_the_button(page: Page) -> None:
    def paper() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light, button = paper(), page.locator("#theme")
    page.emulate_media(color_scheme="dark")
    dark = paper()
    assert dark != light
    button.click()
    assert (paper(), button.inner_text()) == (light, "Theme: light")
    button.click()
    page.emulate_media(color_scheme="light")
    assert (paper(), button.inner_text()) == (dark, "Theme: dark")


@pytest.mark.parametrize("width", [320, 400, 1280, 1600])
def test_nothing_runs_over_the_side(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    page.wait_for_function(
        "[...document.querySelectorAll('.plot')].every((plot) =>"
        " plot.querySelector('svg').viewBox.baseVal.width === plot.clientWidth)"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for svg in page.locator(".plot svg").all():
        outside = svg.evaluate(
            "(svg) => [...svg.querySelectorAll(':scope > text')].filter((text) => { const box = text.getBBox();"
            " return box.x < -12 || box.x + box.width > svg.viewBox.baseVal.width + 12; })"
            ".map((text) => text.textContent)"
        )
        assert outside == []


@pytest.mark.parametrize("width", [1280, 1600])
def test_tables_have_the_room_that_the_screen_has(page: Page, width: int) -> None:
    """A table is cut only where it is wider than the screen, and then it scrolls inside its own box."""
    page.set_viewport_size({"width": width, "height": 700})
    boxes = page.evaluate(
        "[...document.querySelectorAll('.table-box')].map((box) =>"
        " [box.scrollWidth, box.clientWidth, getComputedStyle(box).overflowX])"
    )
    assert boxes
    for wanted, room, overflow in boxes:
        assert wanted <= room or room >= min(width - 64, 1450)
        assert overflow == "auto"


def test_everything_is_reached_by_keys(page: Page) -> None:
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.tagName.toLowerCase()"))
    assert {"a", "button", "select", "svg", "summary", "div"} <= reached
