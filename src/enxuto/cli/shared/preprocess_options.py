"""The preprocessing options that verbs share: a preset or TOML file, and single settings that override it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared.completion import complete_presets
from enxuto.cli.shared.terminal import note, warn
from enxuto.errors import UsageError

if TYPE_CHECKING:
    from enxuto.data import Preprocess
    from enxuto.onnx_model import Model

__all__ = ["BasePreprocess", "PreparingOptions", "PreprocessOptions", "assume_plain", "read_preprocess"]

_PANEL = "Preprocessing"

BasePreprocess = Annotated[
    str | None,
    typer.Option(
        "--preprocess",
        rich_help_panel=_PANEL,
        metavar="NAME|FILE",
        autocompletion=complete_presets,
        help="A preset (resnet-cifar, imagenet, efficientnet-lite) or a TOML file.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class PreparingOptions:
    """What the user said of preprocessing but for size and layout, which verbs that train have their own words for."""

    preprocess: BasePreprocess = None
    interpolation: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="NAME",
            help="nearest, bilinear, bicubic or lanczos, for --resize.",
        ),
    ] = None
    crop: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_PANEL, metavar="N|H,W", help="Crop the centre to N,N or H,W; or `none`."
        ),
    ] = None
    divide_by: Annotated[
        float | None,
        typer.Option(rich_help_panel=_PANEL, metavar="X", help="Divide pixels, which are 0 to 255, by X."),
    ] = None
    mean: Annotated[
        tuple[float, ...] | None,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="X[,X,X]",
            help="Then subtract this, one value or one per channel.",
        ),
    ] = None
    std: Annotated[
        tuple[float, ...] | None,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="X[,X,X]",
            help="Then divide by this, one value or one per channel.",
        ),
    ] = None
    channels: Annotated[
        str | None, typer.Option(rich_help_panel=_PANEL, metavar="NAME", help="RGB, BGR or L (grey).")
    ] = None

    @property
    def is_given(self) -> bool:
        """Whether the user said anything of preprocessing."""
        return self != type(self)()

    def settings(self) -> dict[str, Any]:
        """Return the single settings by name, None for those that were not given; () takes one away."""
        return {
            "interpolation": self.interpolation,
            "crop": _sizes("--crop", self.crop),
            "divide_by": self.divide_by,
            "mean": None if self.mean is None else list(self.mean),
            "std": None if self.std is None else list(self.std),
            "channels": self.channels,
        }

    def build(self, stored: Preprocess | None, model: Model | None = None) -> Preprocess | None:
        """Return the settings given, over the preset or file or else `stored`; None if there is neither.

        model: what images need at least to fit its input counts where nothing else is given.
        """
        from enxuto.data import Preprocess

        changes = {name: value for name, value in self.settings().items() if value is not None}
        base = stored if self.preprocess is None else read_preprocess(self.preprocess)
        if not changes:
            return base
        values = (base or _plain(model)).to_dict() | changes
        return Preprocess.from_dict({name: None if value == () else value for name, value in values.items()})


@dataclass(frozen=True, kw_only=True)
class PreprocessOptions(PreparingOptions):
    """What the user said of preprocessing; all None where nothing was said."""

    resize: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_PANEL, metavar="N|H,W", help="Resize the short side to N, or to H,W; or `none`."
        ),
    ] = None
    layout: Annotated[
        str | None, typer.Option(rich_help_panel=_PANEL, metavar="NAME", help="NCHW or NHWC.")
    ] = None

    def settings(self) -> dict[str, Any]:
        """Return the single settings by name, as the options that verbs share do, and size and layout."""
        return super().settings() | {"resize": _sizes("--resize", self.resize), "layout": self.layout}

    def choose(
        self,
        stored: Preprocess | None,
        model: Model | None = None,
        *,
        beside: tuple[Path, Preprocess | None] | None = None,
    ) -> Preprocess:
        """Return the settings given over those that the model carries; warn where they differ or none is known.

        beside: a model that gets the same inputs, and what it carries, which counts where the first says nothing.
        """
        name, other = beside or (None, None)
        if stored is None and other is not None and self.build(None, model) is None:
            note(f"images are prepared as {name} says, since the other model says nothing of it")
        known = stored or other
        chosen = self.build(known, model)
        if chosen is None:
            return assume_plain(model)
        if known is not None and (differences := chosen.differences(known)):
            whose = f"that of {name}" if stored is None else "the model's own"
            warn(f"the preprocessing differs from {whose}: {'; '.join(differences)}")
        elif other is not None and (differences := chosen.differences(other)):
            warn(f"the preprocessing differs from that of {name}: {'; '.join(differences)}")
        return chosen


def assume_plain(model: Model | None) -> Preprocess:
    """Return what images need at least, for a trained model of which no preprocessing is known, with a warning."""
    chosen = _plain(model)
    how = "fed as they are, 0 to 255" if chosen.divide_by == 1 else "divided by 255 and nothing else"
    if model is None or _takes_images(model):
        warn(f"no preprocessing is known for this model: pixels are {how}; say --preprocess …")
    return chosen


def _takes_images(model: Model) -> bool:
    """Say whether a model's first input may be images: of four axes, of three (one image), or of any number."""
    item = next((item for item in model.proto.graph.input if item.name not in model), None)
    shape = (
        None if item is None or not item.type.tensor_type.HasField("shape") else item.type.tensor_type.shape
    )
    return shape is None or len(shape.dim) in (3, 4)


def _plain(model: Model | None) -> Preprocess:
    from enxuto.data import Preprocess
    from enxuto.opening import plain_preprocess_of

    return Preprocess() if model is None else plain_preprocess_of(model)


def read_preprocess(name: str) -> Preprocess:
    """Return the preset of that name, or what a TOML file says."""
    from enxuto.data import Preprocess, preset

    return Preprocess.from_toml(name) if name.endswith(".toml") or Path(name).is_file() else preset(name)


def _sizes(option: str, text: str | None) -> int | list[int] | tuple[()] | None:
    """N or H,W as numbers; `none` as (), which takes a setting away; None for None."""
    if text is None:
        return None
    if text == "none":
        return ()
    try:
        sides = [int(side) for side in text.split(",")]
    except ValueError as error:
        raise UsageError(f"{option} takes N, H,W or none, not {text!r}") from error
    return sides[0] if len(sides) == 1 else sides
