"""`enxuto summary`: the layer table of a network."""

from __future__ import annotations

from typing import Annotated

import typer

from enxuto.errors import UsageError

__all__ = ["HELP", "run"]

HELP = "Show the layer table of a network of the zoo, of your own module, or of an ONNX file."


def run(model: Annotated[str, typer.Argument(help="A zoo name, module:factory, or an ONNX file.")]) -> None:
    """Show the layer table; see `HELP`."""
    raise UsageError(f"summary of {model} is not there yet")
