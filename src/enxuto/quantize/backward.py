"""Gradients of a model's scores with respect to what its layers put out, by a second ONNX graph that runs backwards.

`Backward(model, wanted)` runs the model forwards, then a graph made here, in which every operator is replaced by
its derivative: a convolution by a transposed one, a rectifier by a mask. ONNX Runtime computes both; no training
framework is needed. Rules are there for the operators of feed-forward image classifiers; a model with others
between a layer and the scores is refused by name (`UnsupportedError`), and whoever asked does without gradients.

Left out: gradients of weights (they follow from a layer's input and the gradient of its output), control flow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto

from enxuto.onnx_model import Model
from enxuto.quantize.derivatives import RULES
from enxuto.quantize.graph_maker import GraphMaker, UnsupportedError, plain
from enxuto.runtime import Runner

__all__ = ["Backward", "UnsupportedError"]

_NO_SLOPE = ("Shape", "Size")  # what they put out does not depend on values


class Backward:
    """Runs a model forwards and backwards; `wanted` names the values whose gradients are asked for."""

    def __init__(
        self,
        model: Model,
        wanted: Sequence[str],
        example: np.ndarray,
        *,
        also: Sequence[str] = (),
        threads: int = 0,
    ) -> None:
        """`example` (N, …) is a batch from which the sizes of all values are taken; `scores` gives values `also` too.

        Raises `UnsupportedError` where an operator on the way has no rule here.
        """
        self.wanted = list(wanted)
        graph = model.proto.graph
        self._scores = graph.output[0].name
        nodes = _between(model, self.wanted, self._scores)
        reads = {name for node in nodes for name in (*node.input, *node.output) if name and name not in model}
        fed = {item.name for item in graph.input}
        inner = sorted(reads - fed - {self._scores})
        self._input = next(item.name for item in graph.input if item.name not in model)
        probe = Runner(model, threads=threads, extra_outputs=inner)
        values = dict(
            zip([*inner, self._scores], probe.outputs(example, [*inner, self._scores]), strict=True)
        )
        values[self._input] = example
        maker = GraphMaker(model, {name: value.shape for name, value in values.items()})
        gradients = _walk(maker, nodes, self.wanted, self._scores)
        self._needs = sorted(maker.forward - {self._input})
        self._needs_input = self._input in maker.forward
        self._given = sorted({*self._needs, *also} - {self._scores, self._input})
        self._forward = Runner(model, threads=threads, extra_outputs=self._given)
        self._outputs = [gradients[name] for name in self.wanted]
        self._backward = Runner(maker.model(self._outputs), threads=threads)

    def scores(self, batch: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the scores (N, C) of a batch, and its values: what `gradients` needs, and those asked for besides."""
        names = [self._scores, *self._given]
        values = dict(zip(names, self._forward.outputs(batch, names), strict=True))
        values[self._input] = batch
        return values[self._scores], values

    def gradients(self, values: dict[str, np.ndarray], cotangent: np.ndarray) -> dict[str, np.ndarray]:
        """Return d(Σ cotangent·scores)/d(value), of the value's shape, for every value wanted."""
        feeds = {name: values[name] for name in self._needs}
        if self._needs_input:
            feeds[self._input] = values[self._input]
        feeds = {plain(name): value for name, value in feeds.items()}
        feeds["cotangent"] = np.asarray(cotangent, np.float32)
        return dict(zip(self.wanted, self._backward.run(feeds, self._outputs), strict=True))


def _between(model: Model, wanted: Sequence[str], scores: str) -> list[NodeProto]:
    """Return the nodes, in order, that carry something from a wanted value to the scores."""
    reached = set(wanted)
    forward = []
    for node in model.proto.graph.node:
        if node.op_type not in _NO_SLOPE and any(name in reached for name in node.input):
            forward.append(node)
            reached.update(node.output)
    needed = {scores}
    nodes = []
    for node in reversed(forward):
        if any(name in needed for name in node.output):
            nodes.append(node)
            needed.update(name for name in node.input if name in reached)
    return nodes[::-1]


def _walk(
    maker: GraphMaker, nodes: Sequence[NodeProto], wanted: Sequence[str], scores: str
) -> dict[str, str]:
    """Add the derivative of every node, last first; return the gradient's name of every wanted value."""
    carries = set(wanted) | {name for node in nodes for name in node.output}
    gradients: dict[str, str] = {scores: "cotangent"}
    for node in reversed(nodes):
        arriving = gradients.get(node.output[0])
        if arriving is None:
            raise UnsupportedError(f"no gradient flows through output {node.output[0]!r} of a {node.op_type}")
        rule = RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if rule is None:
            raise UnsupportedError(f"no gradient is known here for the operator {node.op_type}")
        if (
            len(node.output) > 1
            and node.op_type != "Split"
            and any(name in gradients for name in node.output[1:])
        ):
            raise UnsupportedError(f"only the first output of a {node.op_type} may lead to the scores")
        for name, gradient in rule(maker, node, arriving, carries):
            before = gradients.get(name)
            gradients[name] = gradient if before is None else maker.op("Add", before, gradient)
    return {name: maker.op("Identity", gradients[name]) for name in wanted}
