"""Options of images where all outputs are compared: of arrays, the number of samples counts; the others are refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enxuto.errors import UsageError

if TYPE_CHECKING:
    from enxuto.cli.shared.data_options import ImageOptions
    from enxuto.cli.shared.preprocess_options import PreprocessOptions
    from enxuto.data.samples import Samples

__all__ = ["limited", "preprocess_given", "refuse_options_of_images"]

_OF_IMAGES = ("format", "split", "image_column", "labels")


def limited(samples: Samples, options: ImageOptions) -> Samples:
    """Return as many samples as --limit says, drawn as images are. Raises as `refuse_options_of_images` does."""
    refuse_options_of_images({name: getattr(options, name, None) for name in _OF_IMAGES}, samples.path)
    return samples.draw(options.limit, options.seed)


def refuse_options_of_images(given: Mapping[str, Any], path: str | Path | None = None) -> None:
    """Raise `UsageError` for an option of images with labels, where all outputs are compared.

    Args:
        given: options by name, with their values; what is None, False or empty was not given.
        path: of the arrays, where the data are some.
    """
    for name, value in given.items():
        if not (value is None or value is False or value == ()):
            here = "here all outputs are compared" if path is None else f"{path} holds arrays by input name"
            what = "answers to images" if path is None else "images"
            raise UsageError(
                f"--{name.replace('_', '-')} is of {what}, and {here}; leave it out", code="E024"
            )


def preprocess_given(options: PreprocessOptions) -> dict[str, Any]:
    """Return the options of preprocessing by name, with their values."""
    return {field.name: getattr(options, field.name) for field in fields(options)}
