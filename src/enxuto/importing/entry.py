"""`load_module`, which says what is missing where PyTorch is not installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from enxuto.errors import import_optional
from enxuto.files import to_path
from enxuto.onnx_model import Model

if TYPE_CHECKING:
    from enxuto.importing.network import OnnxNetwork

__all__ = ["load_module"]


def load_module(
    path: str | Path | Model, *, input_shape: Sequence[int] | None = None, threads: int = 0
) -> OnnxNetwork:
    """Make a PyTorch module of an ONNX or `.enx` file; it computes what ONNX Runtime computes, and can be trained.

    Args:
        path: the file, a checkpoint that `save_module` wrote, or a `Model`.
        input_shape: (channels, height, width), where the model leaves sizes open. The module takes any batch.
        threads: that decode an `.enx` file; 0 takes one per processor.

    Returns:
        The module, in evaluation mode, on the CPU. Its state keys are the initializers' names, as far as PyTorch
        allows (docs/reference/importing.md); `initializers` has both.

    Raises:
        ModelError: an operator, or a form of one, has no module; all unknown operators are named at once.
        UsageError: the input shape is missing or does not fit, the file is missing, or PyTorch is.

        network = enxuto.load_module("model.onnx")
        optimizer = torch.optim.SGD(network.train().parameters(), lr=0.01)
    """
    import_optional("torch", "load_module", "PyTorch", "train")
    from enxuto.importing.checkpoint import read_module
    from enxuto.importing.load import network_of
    from enxuto.opening import load_with_metadata

    if isinstance(path, Model):
        return network_of(path, input_shape)
    place = to_path(path, "the path of a model")
    if place.suffix == ".pt":
        return read_module(place)
    model, metadata = load_with_metadata(place, threads=threads)
    return network_of(model, input_shape, metadata)
