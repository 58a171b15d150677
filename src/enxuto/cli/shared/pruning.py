"""What the verbs that train and prune in studies share: amounts in percent, images that fit a network, a point each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enxuto.cli.shared.terminal import note, warn
from enxuto.errors import UsageError, needs

if TYPE_CHECKING:
    from enxuto.studies.images import Images, ImageSelection
    from enxuto.studies.pruning import TrainedWeights

__all__ = [
    "asked_images",
    "check_packages",
    "checked_size",
    "interval",
    "opened",
    "percent",
    "samples_of",
    "share_of",
    "there",
]


def check_packages(*names: str) -> None:
    """Say what is missing before anything is begun. Raises `UsageError`."""
    from importlib.util import find_spec

    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise UsageError(needs("this verb", ", ".join(missing), "train", "report"))


def samples_of(images: Images) -> dict[str, int]:
    """How many images there are, by what they are for."""
    return {"train": len(images.train), "test": len(images.test)}


def share_of(text: str) -> float:
    """`20%` or `0.2` as 0.2. Raises `UsageError` for anything that is not above 0 and below all."""
    number, is_percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        value = float(number) / (100 if is_percent else 1)
    except ValueError as error:
        raise UsageError(f"--amount takes a share such as 20% or 0.2, not {text!r}") from error
    if not 0 < value < 1:
        raise UsageError(f"--amount is above 0 % and below 100 %, written 20% or 0.2, not {text!r}")
    return value


def percent(share: float, digits: int = 1) -> str:
    """0.2 as `20.0`."""
    return f"{100 * share:.{digits}f}"


def interval(values: Mapping[str, Any]) -> str:
    """The 95 % interval of a point's accuracy, in %."""
    low, high = values["top1_interval"]
    return f"{100 * low:.1f} – {100 * high:.1f}"


def checked_size(text: str | None) -> tuple[int, int] | None:
    """`H,W` as numbers. Raises `UsageError`."""
    if text is None:
        return None
    sides = text.split(",")
    if len(sides) != 2 or not all(side.strip().isdecimal() and int(side) > 0 for side in sides):
        raise UsageError(f"--size takes H,W in pixels, such as 32,32, not {text!r}")
    return int(sides[0]), int(sides[1])


def asked_images(
    network: str,
    *,
    limit: int | None,
    test_limit: int | None,
    seed: int,
    size: str | None,
    format_: str | None,
    image_column: str | None,
    label_column: str | None,
    labels: Path | None = None,
    weights: TrainedWeights | None = None,
) -> ImageSelection:
    """Which images, normalised as for `weights`, resized to what a network of the zoo takes unless `size` differs."""
    from enxuto import zoo
    from enxuto.data import read_labels
    from enxuto.studies.images import ImageSelection

    sides = checked_size(size)
    if sides is None and ":" not in network:
        _, height, width = zoo.input_shape(network)
        sides = height, width
    return ImageSelection(
        limit, test_limit, seed, sides, None, format_, image_column, label_column,
        None if weights is None else weights.mean, None if weights is None else weights.std,
        None if labels is None else read_labels(labels),
    )  # fmt: skip


def there(place: str | None) -> str | None:
    """A path that any process finds; the name of a published set as it is."""
    return place if place is None or not Path(place).exists() else str(Path(place).resolve())


def opened(asked: ImageSelection, data: str, test: str | None) -> Images:
    """Open both parts, saying what there is to say."""
    from enxuto.studies.images import open_images

    images = open_images(asked, data, test)
    for remark in images.label_notes:
        warn(remark)
    if len(images.test) < 100:
        warn(f"accuracies of {len(images.test)} test images say little")
    note(
        f"{len(images.train):,} training images, {len(images.test):,} test images, {images.train.classes} classes"
    )
    return images
