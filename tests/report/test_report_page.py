"""The page as text: one file, nothing from a network, no markup out of results, never too large, the same each time."""

from __future__ import annotations

import copy
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import report_samples as samples

from enxuto.report import Chart, Exhibit, Frame, Measure, Results, Series, read_results, write_page
from enxuto.report.page import MOST_BYTES, page_text
from enxuto.tables import Table

HOSTILE = '</script><script>alert(1)</script><img src=x onerror=alert(2)> & "quotes" \' \u2028'


class Reader(HTMLParser):
    """Notes elements, attributes and texts."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def parsed(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    return reader


def charts_in(text: str) -> list[dict[str, object]]:
    """The JSON in the page, as its script reads it."""
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])  # type: ignore[no-any-return]


def test_page_holds_every_chart_table_and_origin(tmp_path: Path) -> None:
    results = read_results(samples.all_of_them(tmp_path))
    text, left_out = page_text(results)
    assert left_out == ()
    assert len(charts_in(text)) == sum(len(one.charts) for one in results.exhibits)
    assert text.count("<figure data-chart=") == len(charts_in(text))
    assert text.count("<table>") == sum(len(one.tables) for one in results.exhibits)
    assert text.count("<dl>") == len(results.exhibits)
    assert 'id="problems"' not in text


def test_page_asks_no_network_for_anything(tmp_path: Path) -> None:
    text, _ = page_text(read_results(samples.all_of_them(tmp_path)))
    page = parsed(text)
    linked = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href")
    ]
    assert all(str(value).startswith(("#", "data:")) for value in linked)
    addresses = set(re.findall(r"[a-z]+://[^\s\"'<>]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a namespace, not an address
    assert "default-src 'none'" in text
    assert "@import" not in text
    assert "fetch(" not in text


def test_texts_of_results_never_become_markup(tmp_path: Path) -> None:
    hostile = copy.deepcopy(samples.LEDGER)
    hostile["output"] = HOSTILE
    hostile["rows"][1]["name"] = HOSTILE
    hostile["provenance"] = {"command": HOSTILE, HOSTILE: HOSTILE}
    own = copy.deepcopy(samples.OWN)
    own["title"] = own["charts"][0]["series"][0]["name"] = own["tables"][0]["rows"][0][0] = HOSTILE
    results = read_results(
        [samples.write(tmp_path / "a.json", hostile), samples.write(tmp_path / "b.json", own)]
    )
    strange = Results(results.exhibits, (HOSTILE,), (HOSTILE,))
    text, _ = page_text(strange, title=HOSTILE)
    page = parsed(text)
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 2
    assert "img" not in tags
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert any(HOSTILE in text for text in page.texts)
    assert charts_in(text)[0]["frames"][0]["series"][0]["rows"][1][0] == HOSTILE  # type: ignore[index]


def test_problems_are_on_the_page(tmp_path: Path) -> None:
    good = samples.write(tmp_path / "good.json", samples.LEDGER)
    text, _ = page_text(read_results([good, tmp_path / "missing.json"]))
    assert "missing.json: cannot be read (No such file or directory); left out" in text


def big(rows: int) -> Results:
    """A small chart, a large one, and a large table."""

    def chart(title: str, count: int) -> Chart:
        line = Series("line", tuple((float(n), n * 1.234567) for n in range(count)))
        return Chart(title, ("x", "y"), (Measure("x", "x"),), (Measure("y", "y"),), (Frame("all", (line,)),))

    table = Table("large table", ("a", "b"), tuple((str(n), "x" * 20) for n in range(rows)), "")
    return Results(
        (Exhibit("table", "big", (chart("small", 5), chart("large", rows)), (table,)),), (), ("a.json",)
    )


def test_what_makes_a_page_too_large_is_left_out_and_named() -> None:
    whole, left_out = page_text(big(2000))
    assert left_out == ()
    smaller, left_out = page_text(big(2000), max_bytes=len(whole.encode()) - 1)
    assert left_out == ("large table",)
    assert "large table: left out" in smaller
    assert [chart["title"] for chart in charts_in(smaller)] == ["small", "large"]
    huge, left_out = page_text(big(60_000))
    assert len(huge.encode()) < MOST_BYTES
    assert left_out == ("large table",)


def test_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    paths = samples.all_of_them(tmp_path)
    for name in ("one.html", "two.html"):
        write_page(read_results(paths), tmp_path / name)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# Machado, Oliveira & Fernandes 2009, severity 1: what deuteranopes, protanopes and tritanopes see, in linear RGB.
VISIONS = {
    "common": np.eye(3),
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
]


def seen(colour: str, vision: str) -> np.ndarray:
    """CIELAB of a colour as a kind of vision sees it."""
    rgb = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = np.array(TO_XYZ) @ np.clip(np.array(VISIONS[vision]) @ linear, 0, 1) / [0.95047, 1, 1.08883]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_stand_out_from_their_paper(scheme: int) -> None:
    text, _ = page_text(big(3))
    pairs = dict(re.findall(r"--(\w+): light-dark\((#\w{6}, #\w{6})\)", text))
    colours = {name: pair.split(", ")[scheme] for name, pair in pairs.items()}
    assert {f"c{number}" for number in range(7)} <= set(colours)
    for vision in VISIONS:
        for one, other in itertools.combinations(range(7), 2):
            apart = np.linalg.norm(seen(colours[f"c{one}"], vision) - seen(colours[f"c{other}"], vision))
            assert apart > 18, (vision, one, other)  # Okabe and Ito's own are 16 apart at least
    for paper in (colours["paper"], colours["panel"]):
        for name in ("ink", "faint", "link"):
            assert contrast(colours[name], paper) >= 4.5, name
        for number in range(7):
            assert contrast(colours[f"c{number}"], paper) >= 3, number
