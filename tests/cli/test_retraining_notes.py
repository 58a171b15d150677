"""What `compress` says of the files that it tries, in a search and while it trains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from enxuto.cli.shared.calibration_results import say_trial
from enxuto.cli.shared.retraining_results import say_check, show_retraining
from enxuto.compression.calibrated import CalibratedResult
from enxuto.compression.judge import Judgement
from enxuto.compression.retrainer import Retrained, RetrainingCheck
from enxuto.compression.search import Trial

CHECK = RetrainingCheck(
    images=64_000, seconds=90.0, price=1e-6, bytes=43_210,
    judgement=Judgement(100, None, None, None, 91.0, (84.0, 95.0), 0.1, "hash"), violation="too large",
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "end"),
    [
        ({}, "exceeds a bound"),
        ({"violation": None}, "fits"),
        ({"coming_down": True}, "on its way down"),
        ({"coming_down": True, "images": 0}, "from here training comes down to the size asked for"),
    ],
)
def test_a_file_made_on_the_way_is_said_to_be_that(
    change: dict[str, object], end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    say_check(replace(CHECK, **change))  # type: ignore[arg-type]
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith(end)
    assert "43,210 B" in line


@pytest.mark.parametrize(
    ("facts", "notes"),
    [
        ({}, []),
        ({"best": CHECK}, ["retraining found no better file within the bound; the calibrated one was kept"]),
        ({"best": CHECK, "not_taken": replace(CHECK, judgement=replace(CHECK.judgement, kl=0.0987))},
         ["the best file of the training loses 0.0987 on the 100 images that choose, the calibrated one 0.1: no more"]),
        ({"label_weight": 0.5}, ["labels of the images that train count 50 % of the loss"]),
        ({"ended": "interrupted"}, ["training ended early: interrupted; the best file until then was taken"]),
    ],
)  # fmt: skip
def test_what_a_training_came_to_is_said_below_its_measures(
    facts: dict[str, Any], notes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    unused: Any = None
    better = replace(CHECK, bytes=40_000)
    retrained = Retrained(**{
        "outcome": unused, "best": better, "start": CHECK, "checks": (), "images": 640, "epochs": 1.0,
        "planned_epochs": 1.0, "seconds": 60.0, **facts,
    })  # fmt: skip
    judged = CHECK.judgement
    show_retraining(CalibratedResult(unused, judged, unused, retrained=retrained, before_retraining=judged))
    written = capsys.readouterr()
    said = [line for line in written.err.splitlines() if line]
    assert len(said) == len(notes)
    assert all(line.startswith(start) for line, start in zip(said, notes, strict=True))
    assert ("retrained" in written.out) == retrained.improved


LABELLED = Judgement(
    5000, 97.99, 0.5, (-0.2, 1.0), 99.5, (99.0, 99.8), 0.0006274, "hash", original_top1=98.49
)


@pytest.mark.parametrize("judgement", [None, CHECK.judgement, LABELLED], ids=["none", "answers", "labels"])
@pytest.mark.parametrize(
    ("fits", "most", "end"),
    [
        (True, None, "fits"),
        (False, None, "too lossy"),
        (True, 2_000_000, "fits"),
        (False, 1_000_000, "larger than the 1,000,000 B asked for"),
    ],
)
def test_a_file_that_was_tried_takes_one_line_of_a_terminal(
    judgement: Judgement | None, fits: bool, most: int | None, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if most is not None:
        judgement = None  # a size and a bound on answers are not searched together
    say_trial(Trial(1e-6, 1_234_567, judgement, fits), most)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("tried 1,234,567 B")
    assert line.endswith(end)
    assert len(line) <= 80
