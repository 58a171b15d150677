"""docs/training.md says what the code does: every setting, and the recipes' figures."""

from __future__ import annotations

import re
from pathlib import Path

from enxuto.train.config import RECIPES, TrainConfig

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its two lines of headings."""
    below = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in below.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_setting_is_explained_once() -> None:
    named = [name for row in table("Settings") for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(named) == sorted(TrainConfig.model_fields)


def test_recipes_are_those_of_the_code() -> None:
    rows = {re.findall(r"`([\w-]+)`", row[0])[0]: row[1:] for row in table("Recipes")}
    assert rows.keys() == RECIPES.keys()
    for name, (optimizer, rate, batch, epochs, decay, *_) in rows.items():
        config = TrainConfig.from_recipe(name)
        assert config.optimizer in optimizer.lower()
        assert str(config.momentum) in optimizer or config.optimizer == "rmsprop"  # which has none here
        assert str(config.lr) in rate
        assert (int(batch), int(epochs.removeprefix("≤ "))) == (config.batch, config.epochs)
        assert float(decay or 0) == config.weight_decay
