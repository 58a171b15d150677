"""What a trained network measures: accuracy, parameters, bytes, operations, latency.

Nothing here is estimated: files are written and weighed, runs are timed.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enxuto.measure.network import Measurements, NetworkFiles, measure, write_network
    from enxuto.measure.timing import torch_latency

__all__ = [
    "Measurements",
    "NetworkFiles",
    "measure",
    "torch_latency",
    "write_network",
]

_HOMES = {
    "network": ("Measurements", "NetworkFiles", "measure", "write_network"),
    "timing": ("torch_latency",),
}


def __getattr__(name: str) -> Any:
    """Names are imported when they are first used."""
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"enxuto.measure.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
