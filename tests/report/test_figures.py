"""Charts that verbs write: written whole, the same bytes for the same values, with what they must show."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from enxuto.errors import UsageError
from enxuto.report.figures.training import draw_losses, draw_training

RECORDS = [
    {
        "epoch": n,
        "loss": 2.0 / n,
        "lr": 0.01 if n < 4 else 0.001,
        "validation_loss": None,
        "seconds": 1.0,
        "images_per_s": 9.0,
    }
    for n in range(1, 7)
]


def texts(path: Path) -> str:
    """All words of an SVG."""
    return re.sub(r"<[^>]*>", " ", path.read_text())


def test_loss_and_learning_rate_are_drawn_with_names_and_numbers(tmp_path: Path) -> None:
    shown = texts(draw_training(RECORDS, tmp_path / "one.svg", title="a network"))
    for word in ("a network", "epoch", "mean loss", "learning rate", " 1.5 ", " 0.005 "):
        assert word in shown
    assert "validation" not in shown


def test_validation_losses_with_gaps_and_rates_that_never_change(tmp_path: Path) -> None:
    records = [
        {**record, "lr": 0.1, "validation_loss": 1.0 if record["epoch"] % 2 else None} for record in RECORDS
    ]
    assert "validation" in texts(draw_training(records, tmp_path / "one.svg", title="a network"))


def test_png_opens_and_one_epoch_suffices(tmp_path: Path) -> None:
    with Image.open(draw_training(RECORDS[:1], tmp_path / "one.png", title="one")) as picture:
        assert picture.size == (1590, 555)


def test_one_epoch_has_one_number(tmp_path: Path) -> None:
    shown = texts(draw_losses({"a-net": RECORDS[:1]}, tmp_path / "one.svg", title="losses"))
    assert not any(number in shown for number in ("0.945", "0.96", "0.975", "1.02", "1.05"))
    assert "losses: a-net" in shown


def test_the_same_history_gives_the_same_bytes(tmp_path: Path) -> None:
    for ending in ("svg", "png"):
        first = draw_training(RECORDS, tmp_path / f"a.{ending}", title="a").read_bytes()
        assert draw_training(RECORDS, tmp_path / f"b.{ending}", title="a").read_bytes() == first


def test_losses_of_several_networks(tmp_path: Path) -> None:
    shown = texts(draw_losses({"a-net": RECORDS, "b-net": RECORDS[:3]}, tmp_path / "all.svg", title="losses"))
    assert "a-net" in shown
    assert "b-net" in shown


def test_what_cannot_be_drawn_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"\.png or \.svg"):
        draw_training(RECORDS, tmp_path / "one.gif", title="a")
    with pytest.raises(UsageError, match="no epoch"):
        draw_losses({}, tmp_path / "one.png", title="a")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match="E090"):
        draw_training(RECORDS, tmp_path / "one.png", title="a")
    assert list(tmp_path.iterdir()) == []


def test_losses_that_hardly_change_stay_below_the_upper_edge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that learns nothing is drawn inside the frame, above an axis that begins at 0."""
    from matplotlib.figure import Figure

    seen: list[tuple[float, float]] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: seen.append(figure.axes[0].get_ylim()))
    records = [{**record, "loss": 2.3 + record["epoch"] / 1000} for record in RECORDS]
    draw_training(records, tmp_path / "one.png", title="a")
    draw_losses({"net": records}, tmp_path / "two.png", title="a")
    assert seen == [(0, pytest.approx(2.306 * 1.06))] * 2
