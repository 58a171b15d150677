"""The layer table of a network: volumes, kernels, parameters, memory, operations, receptive fields.

Of a torch module or of an ONNX graph, both without running it. What is counted how: `enxuto.summary.cost`.
"""

from enxuto.summary.cost import CONVENTION, conv_side
from enxuto.summary.onnx_graph import summarize_onnx
from enxuto.summary.reach import Reach
from enxuto.summary.table import COUNTS, Count, Layer, Stage, Summary
from enxuto.summary.target import build_module, summarize, summarize_network

__all__ = [
    "CONVENTION",
    "COUNTS",
    "Count",
    "Layer",
    "Reach",
    "Stage",
    "Summary",
    "build_module",
    "conv_side",
    "summarize",
    "summarize_module",
    "summarize_network",
    "summarize_onnx",
]


def __getattr__(name: str) -> object:
    """`summarize_module`, which needs torch, is imported when it is first asked for."""
    if name == "summarize_module":
        from enxuto.summary.torch_module import summarize_module

        return summarize_module
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
