"""What `compress --retrain` says while it trains."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enxuto.cli.shared.retraining_results import say_check
from enxuto.compression.judge import Judgement
from enxuto.compression.retrainer import RetrainingCheck

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
