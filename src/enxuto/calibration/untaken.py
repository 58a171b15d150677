"""Weights that no sample reaches: those of branches that none of them takes. No figure tells what these lose."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import GraphProto

from enxuto.onnx_model import Model, Role, hoist_weights
from enxuto.onnx_model.scopes import subgraphs

__all__ = ["untaken_weights"]

_SHARE = 0.05  # of the weights, from which on it is worth a word
_ROLES = frozenset({Role.KERNEL, Role.DEPTHWISE, Role.MATRIX})


def untaken_weights(model: Model, straight: Model | None) -> str | None:
    """Return a sentence on kernels and matrices that are in the branches left out; None where they are few.

    Args:
        model: the model.
        straight: the same without branches that no sample takes (`calibration.straight_model`), None for itself.
    """
    if straight is None or straight is model:
        return None
    hoisted = hoist_weights(model)
    reached = set(_read(straight.proto.graph))
    read = set(_read(hoisted.proto.graph))  # without those that functions hold
    weights = {
        info.name: info.elements
        for info in hoisted.infos()
        if info.name in read
        and (info.role in _ROLES or (info.name in model and model.info(info.name).role in _ROLES))
    }
    untaken = {name: count for name, count in weights.items() if name not in reached}
    share = sum(untaken.values()) / max(1, sum(weights.values()))
    if share < _SHARE:
        return None
    largest = max(untaken, key=untaken.__getitem__)
    return (
        f"{100 * share:.0f} % of the weights, such as {largest!r}, are in branches that none of these "
        "samples takes: no figure here tells what they lose"
    )


def _read(graph: GraphProto) -> Iterator[str]:
    """Yield the names that a graph's nodes read, and those of their subgraphs."""
    for node in graph.node:
        yield from node.input
        for _, body in subgraphs(node):
            yield from _read(body)
