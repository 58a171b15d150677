"""Values that users write as one word: sizes of an input, shares; and numbers of things, written out."""

from __future__ import annotations

from enxuto.errors import UsageError

__all__ = ["counted", "parse_image_size", "parse_input_shape", "parse_input_shapes", "parse_share", "percent"]


def parse_input_shape(text: str | None) -> tuple[int, ...] | None:
    """Return the sizes of an input without the batch: `3,224,224`, also written `3x224x224`; None for None."""
    if text is None:
        return None
    parts = text.replace("×", ",").replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--input-shape takes channels,height,width such as 3,224,224, not {text!r}")
    return tuple(int(part) for part in parts)


def parse_input_shapes(text: str | None) -> dict[str, tuple[int, ...]]:
    """Return the sizes by input of `image=3,224,224;state=2,1,128`; those without a name, under "", are all others'."""
    found: dict[str, tuple[int, ...]] = {}
    for part in (text or "").split(";") if text is not None else ():
        name, separator, sizes = part.rpartition("=")
        shape = parse_input_shape(sizes if separator else part)
        assert shape is not None, "a text gives a shape"
        if name.strip() in found:
            raise UsageError(f"--input-shape gives {name.strip() or 'all inputs'} twice, in {text!r}")
        found[name.strip()] = shape
    return found


def parse_image_size(text: str | None) -> tuple[int, int] | None:
    """Return the height and width in pixels of `H,W`; None for None."""
    if text is None:
        return None
    sides = text.split(",")
    if len(sides) != 2 or not all(side.strip().isdecimal() and int(side) > 0 for side in sides):
        raise UsageError(f"--resize takes H,W in pixels, such as 32,32, not {text!r}")
    return int(sides[0]), int(sides[1])


def parse_share(text: str, option: str = "--amount") -> float:
    """Return `20%` or `0.2` as 0.2; `UsageError` for anything that is not above 0 and below 1."""
    number, is_percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        value = float(number) / (100 if is_percent else 1)
    except ValueError as error:
        raise UsageError(f"{option} takes a share such as 20% or 0.2, not {text!r}") from error
    if not 0 < value < 1:
        raise UsageError(f"{option} is above 0 % and below 100 %, written 20% or 0.2, not {text!r}")
    return value


def percent(share: float, digits: int = 1) -> str:
    """Return 0.2 as `20.0`."""
    return f"{100 * share:.{digits}f}"


def counted(number: int, thing: str) -> str:
    """Return `1 tensor`, `2 tensors`, `1,200 charts`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
