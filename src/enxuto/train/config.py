"""`TrainConfig`: everything that defines a training run except the network and the data.

Checked when made, so a bad value is refused before anything is loaded, with the name of its field. The recipes are
the protocols of the source documents, as data; any field of theirs can be set otherwise.

Sources: C. O. de Souza 2020, chapter 4 (souza); Magalhães's lottery tickets after Frankle & Carbin (lottery); the
lectures' ResNet and AlexNet (resnet, alexnet); `quick` and `fine-tune` are ours: a usable network in few epochs, and a
trained one trained on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from enxuto.errors import UsageError, did_you_mean
from enxuto.files import parse_toml, read_toml

__all__ = ["RECIPES", "TrainConfig", "parse_setting"]

_LATER = ("rise_is_stable", "rotation", "rgb_pca")  # fields that came after studies were recorded

Optimizer = Literal[
    "sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam", "adamax", "nadam"
]
Schedule = Literal["constant", "milestones", "plateau", "souza", "cosine", "onecycle"]


def _tuple(value: object) -> object:
    """TOML and JSON have lists where this has tuples."""
    return tuple(value) if isinstance(value, list) else value


def _optimizer(value: object) -> object:
    """`gd` is another name for `sgd`: on batches both are the same step."""
    return "sgd" if value == "gd" else value


Epochs = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_tuple)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class TrainConfig(BaseModel):
    """How a network is trained. Make one by `TrainConfig()`, `TrainConfig.from_recipe(recipe, ...)` or `from_toml`.

    A bad value raises pydantic's `ValidationError` where the class is called directly. `from_recipe` and `from_toml`
    raise a `UsageError` of one line that names the field.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    optimizer: Annotated[Optimizer, BeforeValidator(_optimizer)] = "momentum"
    """sgd (also `gd`), momentum, nesterov, adagrad, adadelta, rmsprop, adam, adamax or nadam."""
    lr: Positive = 0.01
    """Learning rate at the start; for `cosine` and `onecycle` the highest."""
    momentum: Share = 0.9
    """For `momentum` and `nesterov` only."""
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Added to the gradient as this times the weight (L2), for every parameter."""
    batch: Annotated[int, Field(ge=1)] = 128
    """Images per step, over all processes together."""
    epochs: Annotated[int, Field(ge=1)] = 10
    """Passes over the training data at most."""
    drop_last: bool = False
    """Leave out a last batch that is smaller than the others."""

    schedule: Schedule = "constant"
    """constant, milestones, plateau, souza, cosine or onecycle; see `enxuto.train.schedules`."""
    milestones: Epochs = ()
    """For `milestones`: after how many epochs the learning rate is multiplied by `lr_factor`; ascending."""
    lr_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """What `milestones`, `plateau` and `souza` multiply the learning rate by."""
    patience: Annotated[int, Field(ge=1)] = 1
    """souza: stable epochs in a row before the learning rate falls; plateau: epochs in a row without a better loss."""
    stable_change: Positive = 0.01
    """souza: an epoch is stable when its loss differs by less than this from that of the epoch before."""
    rise_is_stable: bool = False
    """souza: an epoch whose loss rises, however much, is stable too, as in the source's own program."""
    stabilisations: Annotated[int, Field(ge=1)] = 4
    """souza: training stops after this many stabilisations."""
    warmup: Share = 0.3
    """onecycle: the share of the run in which the learning rate rises."""
    momentum_swing: Share = 0.05
    """onecycle: the momentum, or first beta, goes from this above its own to this below it while the rate rises,
    then back; of 0.9 that is 0.95 → 0.85 → 0.95, as in torch. 0 leaves it."""

    label_smoothing: Share = 0.0
    """Share of the target taken from the right class and spread over all; for the training loss only."""
    clip: Positive | None = None
    """The gradient's norm over all parameters is kept at most this; None does nothing."""
    early_stopping: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many epochs in a row without a lower validation loss; None never does."""
    augment: Literal["none", "flip", "crop-flip", "imagenet"] = "none"
    """What is done to training images at random: see `enxuto.train.augment`."""
    rotation: Annotated[float, Field(ge=0, le=180, allow_inf_nan=False)] = 0.0
    """Training images turn by a random angle up to this many degrees either way."""
    rgb_pca: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Standard deviation of random shifts along the principal colours of the training images; AlexNet's is 0.1."""
    validation: Share = 0.0
    """Share of the training data held out of training by class and seed, to choose the best epoch by."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of the weights (where the command line builds the network), the split, the order and the augmentation."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` is a GPU where there is one."""
    precision: Literal["float32", "mixed", "auto"] = "float32"
    """`mixed`: bfloat16 where the device has it, else float16 with a scaled loss; the weights stay float32. `auto`:
    mixed on a GPU and on processors with bfloat16 units, float32 on others, where mixed takes several times as long."""
    channels_last: bool | Literal["auto"] = "auto"
    """Keep images as (batch, height, width, channels) in memory. `auto`: on CPUs, and on GPUs with mixed precision,
    where convolutions are faster so. A network that was trained keeps the layout of its weights."""
    sync_batch_norm: bool = False
    """On several GPUs: batch normalisation by the statistics of the whole batch, not of each process's part."""
    compile: bool = False
    """Run the network through `torch.compile`."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """CPU threads while training; None leaves torch's own number. Other numbers give other last bits."""
    keep_epochs: Epochs = ()
    """Epochs whose checkpoint is kept as `epoch-NNN.pt`; 0 is the initialisation. Weight rewinding needs early ones."""

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if (self.schedule == "milestones") != bool(self.milestones):
            needed = self.schedule == "milestones"
            hint = "give at least one" if needed else "set schedule=milestones or leave milestones out"
            raise ValueError(f"milestones is {list(self.milestones)} with schedule={self.schedule}; {hint}")
        if any(late <= early for early, late in zip(self.milestones, self.milestones[1:], strict=False)):
            raise ValueError(f"milestones must ascend, not {list(self.milestones)}")
        if self.optimizer == "nesterov" and self.momentum == 0:
            raise ValueError("momentum must be above 0 for optimizer=nesterov")
        if self.schedule == "onecycle" and self.momentum > 0 and self.optimizer in ("momentum", "nesterov"):
            self._check_swing()
        return self

    def _check_swing(self) -> None:
        low, high = self.momentum - self.momentum_swing, self.momentum + self.momentum_swing
        if low <= 0 or high >= 1:
            raise ValueError(
                f"momentum {self.momentum} with momentum_swing {self.momentum_swing} goes from {high:g} to {low:g}; "
                "both must be above 0 and below 1"
            )

    @classmethod
    def from_recipe(cls, recipe: str | None = None, settings: Mapping[str, Any] | None = None) -> TrainConfig:
        """The configuration of a recipe (None: the defaults), of which `settings` override single fields.

        Raises `UsageError` that names the recipe or the field.
        """
        if recipe is not None and recipe not in RECIPES:
            raise UsageError(
                f"no recipe is called {recipe!r}{did_you_mean(recipe, RECIPES)}; there are {', '.join(RECIPES)}",
                code="E021",
            )
        values = {**(RECIPES[recipe] if recipe else {}), **(settings or {})}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            unknown = error.errors(include_url=False)[0]["type"] == "extra_forbidden"
            code = "E021" if unknown else "E020"
            raise UsageError(f"training: {_first_problem(error, values)}", code=code) from error

    @classmethod
    def from_toml(cls, path: str | Path, settings: Mapping[str, Any] | None = None) -> TrainConfig:
        """Read a TOML file, or its table `[train]`.

        Its key `recipe` names a recipe, of which its other keys override single fields; `settings` override the file.
        Raises `UsageError` that names the file and the field.
        """
        table = read_toml(path, "train")
        recipe = table.pop("recipe", None)
        if recipe is not None and not isinstance(recipe, str):
            raise UsageError(f"{path}: recipe must be a name in quotes, not {recipe!r}")
        try:
            return cls.from_recipe(recipe, {**table, **(settings or {})})
        except UsageError as error:
            raise UsageError(f"{path}: {error}", code=error.code) from error

    def to_dict(self) -> dict[str, Any]:
        """Fields as JSON-safe values; `TrainConfig.from_recipe(None, values)` gives an equal object back.

        Fields of `_LATER` are left out at their defaults, as the points of studies were known without them.
        """
        values = self.model_dump(mode="json")
        return {
            name: value
            for name, value in values.items()
            if name not in _LATER or value != type(self).model_fields[name].default
        }


def parse_setting(text: str) -> tuple[str, Any]:
    """Split `key=value`, the value as TOML would read it, a bare word as text: `lr=0.1`, `milestones=[80,120]`.

    `none` is None where the field allows it. Raises `UsageError` for a key that is no field or a missing `=`.
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not value:
        raise UsageError(f"a setting is key=value, such as lr=0.05, not {text!r}")
    if key not in TrainConfig.model_fields:
        raise UsageError(_unknown_setting(key), code="E021")
    if value == "none" and TrainConfig.model_fields[key].default is None:
        return key, None
    try:
        return key, parse_toml(f"value = {value}")["value"]
    except ValueError:
        return key, value


def _unknown_setting(key: str) -> str:
    names = TrainConfig.model_fields
    return f"no setting is called {key!r}{did_you_mean(key, names)}; there are {', '.join(names)}"


def _first_problem(error: ValidationError, values: Mapping[str, Any]) -> str:
    """One line about the first bad field: its name, what was given, what is allowed."""
    first = error.errors(include_url=False)[0]
    place: Sequence[int | str] = first["loc"]
    message = first["msg"].removeprefix("Value error, ")
    if not place:
        return message
    field = str(place[0])
    if first["type"] == "extra_forbidden":
        return _unknown_setting(field)
    hint = ""
    if first["type"] == "literal_error":
        hint = did_you_mean(str(values.get(field)), re.findall(r"'([^']+)'", first["ctx"]["expected"]))
    return f"{field} is {values.get(field)!r}{hint}: {message[0].lower()}{message[1:]}"


RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "souza": {
            "optimizer": "momentum",
            "lr": 0.01,
            "batch": 128,
            "epochs": 200,
            "schedule": "souza",
            "augment": "flip",
        },
        "lottery": {
            "optimizer": "momentum",
            "lr": 0.1,
            "weight_decay": 1e-4,
            "batch": 128,
            "epochs": 160,
            "schedule": "milestones",
            "milestones": (80, 120),
            "augment": "crop-flip",
        },
        "resnet": {
            "optimizer": "momentum",
            "lr": 0.1,
            "weight_decay": 1e-4,
            "batch": 256,
            "epochs": 200,
            "schedule": "plateau",
            "patience": 10,
            "augment": "crop-flip",
            "validation": 0.1,
        },
        "alexnet": {
            "optimizer": "momentum",
            "lr": 0.01,
            "weight_decay": 5e-4,
            "batch": 128,
            "epochs": 90,
            "schedule": "plateau",
            "patience": 10,
            "augment": "imagenet",
            "validation": 0.1,
        },
        "quick": {
            "optimizer": "nesterov",
            "lr": 0.05,
            "weight_decay": 5e-4,
            "batch": 128,
            "epochs": 12,
            "schedule": "onecycle",
            "label_smoothing": 0.05,
            "augment": "crop-flip",
        },
        "souza-program": {
            "optimizer": "rmsprop",
            "lr": 0.01,
            "batch": 128,
            "epochs": 200,
            "schedule": "souza",
            "patience": 10,
            "rise_is_stable": True,
            "augment": "crop-flip",
        },
        "fine-tune": {
            "optimizer": "nesterov",
            "lr": 0.005,
            "weight_decay": 5e-4,
            "batch": 128,
            "epochs": 5,
            "schedule": "onecycle",
            "clip": 1.0,
            "augment": "crop-flip",
        },
    }
)
"""Name → fields of `TrainConfig`.

The sources leave open, and this is our choice: Souza's optimizer (SGD with momentum 0.9, as in the program the work
builds on), how long a plateau lasts, and the epochs of the lectures' two. `souza-program` is what the dissertation's
own program does: RMSprop (later Adam: `optimizer=adam`) at 0.01, crops and flips, ten stable epochs in a row, a rise of
the loss counted as stable. That program also keeps the epoch that is best on the test images; this does not.

`fine-tune` begins with trained weights. A file's batch norms are folded into its convolutions, and gradients are then
so long that `quick` diverges. With the norm clipped, ResNet-20 keeps its accuracy up to a rate of 0.02; without, 0.005
already diverges.
"""
