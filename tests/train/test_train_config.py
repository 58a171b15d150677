"""The configuration: recipes as published, bad values refused by the name of their field, TOML, --set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from enxuto.errors import UsageError
from enxuto.prune.retrain import DISTILLATION
from enxuto.studies.souza.points import SouzaStudy
from enxuto.train.config import RECIPES, TrainConfig, parse_setting


def test_recipes_are_the_published_protocols() -> None:
    souza = TrainConfig.from_recipe("souza")
    assert (souza.batch, souza.epochs, souza.lr, souza.schedule) == (128, 200, 0.01, "souza")
    assert (souza.lr_factor, souza.stable_change, souza.stabilisations, souza.patience) == (0.1, 0.01, 4, 1)
    assert souza.augment == "flip"
    program = TrainConfig.from_recipe("souza-program")
    assert (program.optimizer, program.lr, program.patience, program.rise_is_stable) == (
        "rmsprop",
        0.01,
        10,
        True,
    )
    assert (program.augment, program.batch, program.schedule) == ("crop-flip", 128, "souza")
    lottery = TrainConfig.from_recipe("lottery")
    assert (lottery.optimizer, lottery.momentum, lottery.lr) == ("momentum", 0.9, 0.1)
    assert (lottery.milestones, lottery.epochs, lottery.weight_decay) == ((80, 120), 160, 1e-4)
    assert 64 <= lottery.batch <= 128
    resnet, alexnet = TrainConfig.from_recipe("resnet"), TrainConfig.from_recipe("alexnet")
    assert (resnet.lr, resnet.schedule, resnet.weight_decay, resnet.batch) == (0.1, "plateau", 1e-4, 256)
    assert (alexnet.lr, alexnet.schedule, alexnet.weight_decay, alexnet.batch) == (0.01, "plateau", 5e-4, 128)
    assert resnet.momentum == alexnet.momentum == 0.9


@pytest.mark.parametrize("recipe", [*RECIPES, None])
def test_images_lie_as_is_fastest_here_where_nothing_is_said(recipe: str | None) -> None:
    """One default for all verbs, benchmarks and Python, of which none says it again."""
    assert TrainConfig.from_recipe(recipe).channels_last == "auto"
    assert SouzaStudy().config("vgg19-cifar", 0).channels_last == "auto"
    assert TrainConfig.from_recipe(None, DISTILLATION).channels_last == "auto"
    told = TrainConfig.from_recipe(recipe, {"channels_last": False})
    assert TrainConfig.from_recipe(None, told.to_dict()).channels_last is False


@pytest.mark.parametrize("recipe", [*RECIPES, None])
def test_a_configuration_survives_its_dictionary(recipe: str | None) -> None:
    config = TrainConfig.from_recipe(recipe, {"keep_epochs": [0, 4]})
    assert TrainConfig.from_recipe(None, config.to_dict()) == config


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lr", 0.0),
        ("lr", float("nan")),
        ("lr", "fast"),
        ("lr", True),
        ("batch", 0),
        ("batch", 12.5),
        ("epochs", 0),
        ("momentum", 1.0),
        ("weight_decay", -1e-4),
        ("optimizer", "lamb"),
        ("schedule", "steps"),
        ("milestones", [3, 2]),
        ("milestones", [3]),
        ("label_smoothing", 1.0),
        ("clip", 0.0),
        ("early_stopping", 0),
        ("augment", "mixup"),
        ("precision", "float64"),
        ("validation", 1.0),
        ("seed", -1),
        ("device", "tpu"),
        ("threads", 0),
        ("keep_epochs", [-1]),
        ("learning_rate", 0.1),
    ],
)
def test_bad_values_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        TrainConfig.from_recipe("quick", {field: value})
    assert field in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValidationError):
        TrainConfig.model_validate({field: value})


def test_fields_that_do_not_fit_together() -> None:
    with pytest.raises(UsageError, match="milestones"):
        TrainConfig.from_recipe(None, {"schedule": "milestones"})
    with pytest.raises(UsageError, match="momentum"):
        TrainConfig.from_recipe(None, {"optimizer": "nesterov", "momentum": 0.0})
    with pytest.raises(UsageError, match=r"momentum 0\.97 with momentum_swing 0\.05"):
        TrainConfig.from_recipe("quick", {"momentum": 0.97})
    assert TrainConfig.from_recipe("quick", {"momentum": 0.97, "momentum_swing": 0.02}).momentum == 0.97
    with pytest.raises(UsageError, match="souza, lottery, resnet, alexnet, quick"):
        TrainConfig.from_recipe("best")


def test_it_cannot_be_changed() -> None:
    config = TrainConfig()
    with pytest.raises(ValidationError):
        config.lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lr=0.1", ("lr", 0.1)),
        ("milestones = [80, 120]", ("milestones", [80, 120])),
        ("optimizer=adam", ("optimizer", "adam")),
        ("compile=true", ("compile", True)),
        ("augment=none", ("augment", "none")),
        ("clip=none", ("clip", None)),
    ],
)
def test_settings_of_the_command_line(text: str, expected: tuple[str, Any]) -> None:
    key, value = parse_setting(text)
    assert (key, value) == expected


@pytest.mark.parametrize("text", ["lr", "lr=", "=0.1", "rate=0.1"])
def test_settings_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match=r"a setting is key=value|no setting"):
        parse_setting(text)


def test_gd_is_sgd() -> None:
    assert TrainConfig.from_recipe(None, {"optimizer": "gd"}).optimizer == "sgd"


def test_toml(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('[train]\nrecipe = "lottery"\nlr = 0.05\nmilestones = [8, 12]\n')
    config = TrainConfig.from_toml(file, {"epochs": 16})
    assert config == TrainConfig.from_recipe("lottery", {"lr": 0.05, "milestones": [8, 12], "epochs": 16})
    file.write_text("learning = 1\n")
    with pytest.raises(UsageError, match=r"run\.toml.*'learning'"):
        TrainConfig.from_toml(file)
    for text in ("lr = ", "train = 3\n", "recipe = 3\n"):
        file.write_text(text)
        with pytest.raises(UsageError, match=r"run\.toml"):
            TrainConfig.from_toml(file)
    with pytest.raises(UsageError, match="E010"):
        TrainConfig.from_toml(tmp_path / "missing.toml")


def test_a_later_field_is_left_out_at_its_default() -> None:
    """So that the points of studies made before it are found again."""
    assert "rise_is_stable" not in TrainConfig().to_dict()
    assert TrainConfig.from_recipe(None, TrainConfig(rise_is_stable=True).to_dict()).rise_is_stable
