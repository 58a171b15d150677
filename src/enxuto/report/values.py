"""What the readers of results share: numbers and texts checked by pydantic, and how they look in tables."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from enxuto.escaping import anonymise, shell_words

__all__ = [
    "Calibration",
    "Checked",
    "Count",
    "Interval",
    "Number",
    "Positive",
    "Share",
    "WithProvenance",
    "compress_command",
    "file_name",
    "interval_text",
    "loss_text",
    "percent",
    "shell_command",
]

Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Interval = tuple[Share, Share]


class Checked(BaseModel):
    """Values of a file after checking; further keys, of later versions perhaps, are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class WithProvenance(Checked):
    """What any file may say of itself: a title, and how its values were made."""

    title: str | None = None
    provenance: dict[str, Any] = Field(default_factory=dict)


def percent(share: float | None, digits: int = 2) -> str:
    """A share in percent, without the sign: the column's heading has it."""
    return "–" if share is None else f"{100 * share:.{digits}f}"


def interval_text(interval: Interval | None) -> str:
    """The two ends of an interval of shares, in percent."""
    return "–" if interval is None else f"{100 * interval[0]:.1f} – {100 * interval[1]:.1f}"


def loss_text(lost: float | None, interval: tuple[float, float] | None) -> str:
    """A share lost and the ends of its interval, in points."""
    if lost is None or interval is None:
        return "–"
    return f"{100 * lost:+.2f} ({100 * interval[0]:+.2f} to {100 * interval[1]:+.2f})"


def file_name(path: str) -> str:
    """What a model is called where its path is too long: the name of its file."""
    return PurePath(path).name or path


class Calibration(Checked):
    """What calibrated compression says of the images it looked at."""

    images: Count
    data: str
    seed: int


def compress_command(output: str | None, calibration: Calibration | None) -> str | None:
    """The command of a compressed file, as far as its results tell."""
    if output is None:
        return None
    seen = (
        ()
        if calibration is None
        else ("--data", "DATA", "--images", calibration.images, "--seed", calibration.seed)
    )
    return shell_command("enxuto compress MODEL.onnx -o", output, *seen, "--json")


def shell_command(start: str, *words: Any) -> str:
    """A command: its start as it is, and words quoted as a shell needs them; None is left out.

    Of paths from the root the last name stands, as wherever a command is shown.
    """
    return f"{start} {shell_words(anonymise(str(word)) for word in words if word is not None)}".rstrip()
