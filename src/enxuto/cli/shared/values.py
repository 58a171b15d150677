"""Values that users write as one word: sizes of an input, shares, bytes."""

from __future__ import annotations

import re

from enxuto.errors import UsageError

__all__ = ["parse_bytes", "parse_image_size", "parse_input_shape", "parse_share", "percent"]

_UNITS = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "KIB": 1024, "MIB": 1024**2}


def parse_bytes(text: str) -> int:
    """Return the bytes that `300KB`, `1.5MB`, `64KiB` or `65536` mean."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([A-Za-z]*)\s*", text)
    if match is None or match[2].upper() not in _UNITS:
        raise UsageError(f"--target-size takes bytes such as 65536, 300KB or 1.5MB, not {text!r}")
    return int(min(2.0**62, float(match[1]) * _UNITS[match[2].upper()]))


def parse_input_shape(text: str | None) -> tuple[int, ...] | None:
    """Return the sizes of an input without the batch: `3,224,224`, also written `3x224x224`; None for None."""
    if text is None:
        return None
    parts = text.replace("×", ",").replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--input-shape takes channels,height,width such as 3,224,224, not {text!r}")
    return tuple(int(part) for part in parts)


def parse_image_size(text: str | None) -> tuple[int, int] | None:
    """Return the height and width in pixels of `H,W`; None for None."""
    if text is None:
        return None
    sides = text.split(",")
    if len(sides) != 2 or not all(side.strip().isdecimal() and int(side) > 0 for side in sides):
        raise UsageError(f"--resize takes H,W in pixels, such as 32,32, not {text!r}")
    return int(sides[0]), int(sides[1])


def parse_share(text: str) -> float:
    """Return `20%` or `0.2` as 0.2; `UsageError` for anything that is not above 0 and below 1."""
    number, is_percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        value = float(number) / (100 if is_percent else 1)
    except ValueError as error:
        raise UsageError(f"--amount takes a share such as 20% or 0.2, not {text!r}") from error
    if not 0 < value < 1:
        raise UsageError(f"--amount is above 0 % and below 100 %, written 20% or 0.2, not {text!r}")
    return value


def percent(share: float, digits: int = 1) -> str:
    """Return 0.2 as `20.0`."""
    return f"{100 * share:.{digits}f}"
