"""What a trained network measures: accuracy, parameters, bytes, operations, latency; and plots of its training.

Nothing here is estimated: the sizes of written files are measured, and runs are timed. Only `plots` needs no torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enxuto.measure.network import Measurements, NetworkFiles, measure, write_network
    from enxuto.measure.plots import plot_losses, plot_training
    from enxuto.measure.timing import torch_latency

__all__ = [
    "Measurements",
    "NetworkFiles",
    "measure",
    "plot_losses",
    "plot_training",
    "torch_latency",
    "write_network",
]

_HOMES = {
    "network": ("Measurements", "NetworkFiles", "measure", "write_network"),
    "plots": ("plot_losses", "plot_training"),
    "timing": ("torch_latency",),
}


def __getattr__(name: str) -> Any:
    """Names are imported when they are first used: plots without torch, measures without matplotlib."""
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"enxuto.measure.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
