"""`benchmarks/stacked.py`: what its file of points must hold, and what its table says of them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from enxuto.errors import UsageError
from enxuto.machine.facts import machine

SCRIPT = Path(__file__).parent.parent.parent / "benchmarks" / "stacked.py"


@pytest.fixture(scope="module")
def stacked() -> ModuleType:
    spec = importlib.util.spec_from_file_location("stacked", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["stacked"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'needs data = "…" and at least one'),
        ('data = "x"', 'needs data = "…" and at least one'),
        ('data = "x"\n[[points]]\nname = "a"\nfile = "f.onnx"', 'point 1 needs command = "…"'),
        (
            'data = "x"\n[[points]]\nname = "a"\nfile = "f"\ncommand = "c"\nnotes = "n"',
            "point 1 has notes; there are",
        ),
        ('data = "x"\n[[points]]\nname = "a"\nfile = "f"\ncommand = "c"', "f of point 1 does not exist"),
        (
            'data = "x"\n[[points]]\nname = "a"\nfile = "f"\ncommand = "c"\nseed = 1.5',
            "seed of point 1 is 1.5",
        ),
        (
            'data = "x"\n[[points]]\nname = "a"\nfile = "f"\ncommand = "c"\nepochs = "9"',
            "epochs of point 1 is '9'",
        ),
        (
            'data = "x"\n[[points]]\nname = "a"\nfile = "f"\ncommand = "c"\nchosen_on = 0',
            "chosen_on of point 1 is 0",
        ),
        (
            'data = "x"\n[[points]]\nname = "a"\nfile = "f"\ncommand = "c"\naside = 1',
            "aside of point 1 is 1",
        ),
    ],
)
def test_points_are_checked(stacked: ModuleType, text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "points.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message.replace("[", r"\[")):
        stacked.read_points(path)


def test_the_table_compares_with_the_first_point_and_shows_each_command(
    stacked: ModuleType, tmp_path: Path
) -> None:
    points = [
        stacked.Point(
            "A|B", "a.onnx", 3_000_000, 90.0, 89.0, 91.0, 54_000_000, 2.5, "make a", "seed 0", None
        ),
        stacked.Point("small", "b.enx", 40_000, 89.25, 88.0, 90.0, 22_400_000, 1.25, "make b", "", "b.md"),
    ]
    text = stacked.table(points, "CIFAR-10", 5000, "abc")
    assert "| A\\|B | 3,000,000 | 1.0× | 90.00 (89.00 – 91.00) | +0.00 | 54.0 M | 2.50 | seed 0 |" in text
    assert "| [small](b.md) | 40,000 | 75.0× | 89.25 (88.00 – 90.00) | -0.75 | 22.4 M | 1.25 |  |" in text
    assert "# small: b.enx\nmake b\n" in text
    assert "5,000 test images (hash `abc`)" in text
    stacked.draw(points, "CIFAR-10", tmp_path / "s.svg")
    drawn = (tmp_path / "s.svg").read_text()
    assert all(
        label in drawn
        for label in ("1 MB", "100 kB", "small: 40,000 B", "top-1 on the test images of CIFAR-10")
    )


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        (("nothing", "training images held out"), True),
        (("nothing", None), False),
        (("nothing", "64 of the test images"), False),
    ],
)
def test_that_nothing_was_chosen_on_test_images_is_said_where_every_point_says_so(
    stacked: ModuleType, chosen: tuple[str | None, str | None], says: bool
) -> None:
    points = [
        stacked.Point(
            "a", "a.onnx", 3_000_000, 90.0, 89.0, 91.0, 54_000_000, 2.5, "make a", "bfloat16", None,
            0, 25, 190.5, "AMD EPYC, 2 cores", one,
        )
        for one in chosen
    ]  # fmt: skip
    text = stacked.table(points, "CIFAR-10", 5000, "abc")
    assert ("on which nothing was chosen" in text) == says
    assert "| seed 0; 25 epochs; 190.5 minutes; AMD EPYC, 2 cores; chosen on: nothing; bfloat16 |" in text
    facts = machine()
    assert f"{facts['cpu']}, {facts['cores']} core" in text
    last = "bfloat16 |" if chosen[1] is None else f"chosen on: {chosen[1]}; bfloat16 |"
    assert last in text.splitlines()[5]
