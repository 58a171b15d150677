"""`enxuto export`: a network as one ONNX file."""

from __future__ import annotations

from typing import Annotated

import typer

from enxuto.errors import UsageError

__all__ = ["HELP", "run"]

HELP = "Write a network of the zoo, or a checkpoint, as one ONNX file."


def run(model: Annotated[str, typer.Argument(help="A zoo name or module:factory.")]) -> None:
    """Export; see `HELP`."""
    raise UsageError(f"export of {model} is not there yet")
