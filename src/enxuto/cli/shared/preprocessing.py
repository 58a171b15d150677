"""The preprocessing options that several verbs share: a preset or TOML file, and single settings over it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enxuto.errors import UsageError

if TYPE_CHECKING:
    from enxuto.data import Preprocess

__all__ = [
    "Base",
    "Channels",
    "Crop",
    "DivideBy",
    "Interpolation",
    "Layout",
    "Mean",
    "PreprocessOptions",
    "Resize",
    "Std",
]

_PANEL = "Preprocessing"

Base = Annotated[
    str | None,
    typer.Option("--preprocess", rich_help_panel=_PANEL,
                 help="Preset (resnet-cifar, imagenet, efficientnet-lite) or TOML file; settings below go over it."),
]  # fmt: skip
Resize = Annotated[
    str | None, typer.Option(rich_help_panel=_PANEL, help="N (short side) or H,W; `none` for none.")
]
Interpolation = Annotated[
    str | None, typer.Option(rich_help_panel=_PANEL, help="nearest, bilinear, bicubic or lanczos.")
]
Crop = Annotated[
    str | None, typer.Option(rich_help_panel=_PANEL, help="Centre crop: N or H,W; `none` for none.")
]
DivideBy = Annotated[
    float | None, typer.Option(rich_help_panel=_PANEL, help="Pixels 0…255 are divided by this.")
]
Mean = Annotated[
    str | None, typer.Option(rich_help_panel=_PANEL, help="Subtracted: one value, or one per channel.")
]
Std = Annotated[
    str | None, typer.Option(rich_help_panel=_PANEL, help="Then divided by: one value or one per channel.")
]
Channels = Annotated[str | None, typer.Option(rich_help_panel=_PANEL, help="RGB, BGR or L (grey).")]
Layout = Annotated[str | None, typer.Option(rich_help_panel=_PANEL, help="NCHW or NHWC.")]


@dataclass(frozen=True)
class PreprocessOptions:
    """What the user said of preprocessing; all None where nothing was said."""

    base: str | None = None
    resize: str | None = None
    interpolation: str | None = None
    crop: str | None = None
    divide_by: float | None = None
    mean: str | None = None
    std: str | None = None
    channels: str | None = None
    layout: str | None = None

    def build(self, stored: Preprocess | None) -> Preprocess | None:
        """Return the settings said, over the preset or file or else `stored`; None if there is neither."""
        from enxuto.data import Preprocess, preset

        said = {
            "resize": _sizes("--resize", self.resize),
            "interpolation": self.interpolation,
            "crop": _sizes("--crop", self.crop),
            "divide_by": self.divide_by,
            "mean": _numbers("--mean", self.mean),
            "std": _numbers("--std", self.std),
            "channels": self.channels,
            "layout": self.layout,
        }
        changes = {name: value for name, value in said.items() if value is not None}
        base = stored
        if self.base is not None:
            base = Preprocess.from_toml(self.base) if Path(self.base).suffix == ".toml" else preset(self.base)
        if not changes:
            return base
        values = (base or Preprocess()).to_dict() | changes
        return Preprocess.from_dict({name: None if value == () else value for name, value in values.items()})


def _sizes(option: str, text: str | None) -> int | list[int] | tuple[()] | None:
    """N or H,W as numbers; `none` as (), which takes a setting away; None if nothing was said."""
    if text is None:
        return None
    if text == "none":
        return ()
    try:
        sides = [int(side) for side in text.split(",")]
    except ValueError as error:
        raise UsageError(f"{option} takes N, H,W or none, not {text!r}") from error
    return sides[0] if len(sides) == 1 else sides


def _numbers(option: str, text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(value) for value in text.split(",")]
    except ValueError as error:
        raise UsageError(f"{option} takes numbers separated by commas, not {text!r}") from error
