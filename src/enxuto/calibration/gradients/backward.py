"""Gradients of a model's scores with respect to the outputs of its layers, by a second ONNX graph that runs backwards.

`Backward(model, wanted)` runs the model forwards, then a backward graph, in which every operator is replaced by its
derivative: a convolution by a transposed one, a rectifier by a mask. ONNX Runtime runs both; no training framework is
needed. There are rules (`gradients.rules`) for the operators of feed-forward and attention networks. Another operator
between a layer and the scores is refused by name (`UnsupportedError`), and the caller does without gradients. So is
what a rule turns out not to cover when the graph is tried: a form of an operator, a type, a batch size. Gradients are
float32, whatever floats the model computes with.

Left out: gradients of weights (they follow from a layer's input and the gradient of its output), control flow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from enxuto.calibration.gradients.cells import is_cell, unroll_cells
from enxuto.calibration.gradients.fused import FUSED_DOMAIN, FUSED_RULES
from enxuto.calibration.gradients.graph import Contributions, GraphMaker, UnsupportedError, feed_name
from enxuto.calibration.gradients.rules import RULES, split_rule
from enxuto.data.samples import Group
from enxuto.errors import DataError, ModelError
from enxuto.onnx_model import Model, reads_of, static_values
from enxuto.runtime import Runner

__all__ = ["Backward", "UnsupportedError"]

_NO_SLOPE = frozenset(
    {"Shape", "Size", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "And", "Or", "Not", "Xor", "IsNaN",
     "IsInf", "ArgMax", "ArgMin", "NonZero", "Floor", "Ceil", "Round", "Sign"}
)  # fmt: skip
"""Operators whose outputs do not depend on values, or are constant but for jumps."""


class Backward:
    """Runs a model forwards and backwards; `wanted` names the values whose gradients are asked for.

    held: bytes of the values that the graph was made from; its sessions keep about as much memory.
    """

    def __init__(
        self,
        model: Model,
        wanted: Sequence[str],
        example: Group | np.ndarray,
        *,
        also: Sequence[str] = (),
        threads: int = 0,
    ) -> None:
        """`example` is a batch from which the sizes of all values are taken; `values` gives values `also` too.

        Raises `UnsupportedError` where an operator on the way has no rule here, or not for what the model does with it.
        """
        self.wanted = list(wanted)
        graph = model.proto.graph
        self._scores = [item.name for item in graph.output]
        self._inputs = [item.name for item in graph.input if item.name not in model]
        batch = example if isinstance(example, Group) else Group({self._inputs[0]: example}, len(example))
        model = _without_cells(model, batch, threads)
        nodes = _between(model, self.wanted, self._scores)
        parts = [batch, next(batch.parts(1))][: 2 if batch.count > 1 else 1]
        whole, *single = self._probe(model, nodes, parts, threads)
        self.held = whole.size
        maker = GraphMaker(
            model,
            shapes=whole.shapes,
            single=single[0].shapes if single else {},
            static=whole.static,
            dtypes=whole.dtypes,
            alone=isinstance(example, Group) and example.count == 1,
        )
        self._cotangents = ["cotangent", *(f"cotangent {i}" for i in range(1, len(self._scores)))]
        gradients = _walk(maker, nodes, self.wanted, dict(zip(self._scores, self._cotangents, strict=True)))
        self._needs = sorted(maker.forward - set(self._inputs))
        self._fed = [name for name in self._inputs if name in maker.forward]
        self._given = sorted({*self._needs, *also} - {*self._scores, *self._inputs})
        self._forward = Runner(model, threads=threads, extra_outputs=self._given, spinning=False)
        self._outputs = [gradients[name] for name in self.wanted]
        with _refuse("the derivatives of this model's operators"):
            backward = maker.model(self._outputs, self._cotangents)
            self._backward = Runner(backward, threads=threads, spinning=False)
        self._try_out(parts, [whole, *single], nodes)

    def scores(self, batch: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the first output (N, C) for a batch (N, …) of the only input, and values as `values` does."""
        found, values = self.values({self._inputs[0]: batch})
        return found[0], values

    def values(self, feeds: dict[str, np.ndarray]) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
        """Return all outputs, and the values by name: what `gradients` needs, and those asked for besides."""
        names = [*self._scores, *self._given]
        values = dict(zip(names, self._forward.values(feeds, names), strict=True)) | feeds
        return [values[name] for name in self._scores], values

    def gradients(
        self, values: dict[str, np.ndarray], cotangent: np.ndarray | Sequence[np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Return d(Σ cotangent·outputs)/d(value), float32 of the value's shape, for every value wanted.

        cotangent: of the first output, or of each.
        """
        cotangents = [cotangent] if isinstance(cotangent, np.ndarray) else list(cotangent)
        feeds = {name: values[name] for name in (*self._needs, *self._fed)}
        feeds = {feed_name(name): _fed(value) for name, value in feeds.items()}
        for name, array in zip(self._cotangents, cotangents, strict=True):
            feeds[name] = np.asarray(array, np.float32)
        return dict(zip(self.wanted, self._backward.run(feeds, self._outputs), strict=True))

    def _probe(
        self, model: Model, nodes: Sequence[NodeProto], parts: Sequence[Group], threads: int
    ) -> list[_Probed]:
        """Return what is known of everything that `nodes` read and put out, for each of some batches."""
        graph = model.proto.graph
        reads = {name for node in nodes for name in (*reads_of(node), *node.output) if name}
        made = {name for node in graph.node for name in node.output}
        inner = sorted(name for name in reads & made if name not in self._scores and name not in model)
        names = [*inner, *self._scores]
        static = static_values(model)
        with _refuse("a value of this model"):
            probe = Runner(model, threads=threads, extra_outputs=inner)
            # All values of a batch are large together: those of one are gone before the next is run.
            return [
                _Probed.of(
                    dict(zip(names, probe.values(part.feeds, names), strict=True)) | part.feeds, static
                )
                for part in parts
            ]

    def _try_out(self, parts: Sequence[Group], probed: Sequence[_Probed], nodes: Sequence[NodeProto]) -> None:
        """Run backwards for known shapes; `UnsupportedError` where a gradient has not its value's shape."""
        with _refuse("this number of images"):
            for part, known in zip(parts, probed, strict=True):
                scores, values = self.values(part.feeds)
                found = self.gradients(values, [np.ones(score.shape, np.float32) for score in scores])
                for name, gradient in found.items():
                    if gradient.shape != known.shapes[name]:
                        readers = " and ".join(sorted({n.op_type for n in nodes if name in reads_of(n)}))
                        raise UnsupportedError(
                            f"the gradient at {name!r} cannot be worked out here from what reads it ({readers})"
                        )


@dataclass(frozen=True)
class _Probed:
    """What a run tells of a model's values, without keeping them.

    shapes: by name. static: the values that follow from weights alone. dtypes: of those that are not float. size: of
    all, in bytes.
    """

    shapes: dict[str, tuple[int, ...]]
    static: dict[str, np.ndarray]
    dtypes: dict[str, np.dtype]
    size: int

    @classmethod
    def of(cls, values: Mapping[str, np.ndarray], static: Collection[str]) -> _Probed:
        """Return what values by name tell; `static` are the names of those that follow from weights alone."""
        for name, value in values.items():
            if not isinstance(value, np.ndarray):
                raise UnsupportedError(f"no gradient is known here: {name!r} is no tensor")
        return cls(
            {name: value.shape for name, value in values.items()},
            {name: value for name, value in values.items() if name in static},
            {name: value.dtype for name, value in values.items() if value.dtype.kind in "iub"},
            sum(value.nbytes for value in values.values()),
        )


def _without_cells(model: Model, batch: Group, threads: int) -> Model:
    """Return the model with recurrent cells written out for the lengths that sequences have in this batch."""
    fed = sorted({node.input[0] for node in model.proto.graph.node if is_cell(node)})
    if not fed:
        return model
    computed = [name for name in fed if name not in batch.feeds and name not in model]
    read = dict(batch.feeds)
    if computed:
        with _refuse("the sequences of this model"):
            values = Runner(model, threads=threads, extra_outputs=computed).values(batch.feeds, computed)
        read |= dict(zip(computed, values, strict=True))
    try:
        return unroll_cells(model, read)
    except UnsupportedError:
        raise
    except (ModelError, LookupError, TypeError, ValueError) as error:  # a form that is not written out
        raise UnsupportedError("no gradient is known here for this form of a recurrent cell") from error


def _fed(value: np.ndarray) -> np.ndarray:
    """Return a value as the backward graph takes it: floats as float32."""
    return value if value.dtype.kind in "iub" else value.astype(np.float32, copy=False)


@contextmanager
def _refuse(what: str) -> Iterator[None]:
    """Turn what goes wrong into an `UnsupportedError` that says at what."""
    try:
        yield
    except UnsupportedError:
        raise
    except (ModelError, DataError) as error:
        raise UnsupportedError(f"no gradient is known here for {what}: {error}") from error


def _between(model: Model, wanted: Sequence[str], scores: Sequence[str]) -> list[NodeProto]:
    """Return the nodes, in order, that carry something from a wanted value to the scores."""
    reached = set(wanted)
    forward = []
    for node in model.proto.graph.node:
        if node.op_type not in _NO_SLOPE and any(name in reached for name in reads_of(node)):
            forward.append(node)
            reached.update(name for name in node.output if name)
    needed = set(scores)
    nodes = []
    for node in reversed(forward):
        if any(name in needed for name in node.output):
            nodes.append(node)
            needed.update(name for name in reads_of(node) if name in reached)
    return nodes[::-1]


def _walk(
    maker: GraphMaker, nodes: Sequence[NodeProto], wanted: Sequence[str], scores: Mapping[str, str]
) -> dict[str, str]:
    """Add the derivative of every node, last first; return the gradient's name of every wanted value.

    scores: by output the name of its cotangent.
    """
    carries = set(wanted) | {name for node in nodes for name in node.output if name}
    gradients: dict[str, str] = dict(scores)
    for node in reversed(nodes):
        found = _through(maker, node, gradients, carries)
        reached = {name for name, _ in found}
        for name in reads_of(node):
            if name in carries and name not in reached:
                raise UnsupportedError(f"no gradient is known here for input {name!r} of a {node.op_type}")
        for name, gradient in found:
            before = gradients.get(name)
            gradients[name] = gradient if before is None else maker.op("Add", before, gradient)
    for name in wanted:
        if name not in gradients:
            raise UnsupportedError(f"the scores do not follow {name!r} smoothly")
    return {name: maker.op("Identity", gradients[name]) for name in wanted}


def _through(
    maker: GraphMaker, node: NodeProto, gradients: dict[str, str], carries: set[str]
) -> Contributions:
    """Return what arrives at the inputs of a node, given what has arrived at its outputs."""
    arriving = [(place, gradients[name]) for place, name in enumerate(node.output) if name in gradients]
    rules = RULES if node.domain in ("", "ai.onnx") else FUSED_RULES if node.domain == FUSED_DOMAIN else {}
    rule = rules.get(node.op_type)
    split = node.op_type == "Split" and node.domain in ("", "ai.onnx")
    if rule is None and not split:
        raise UnsupportedError(f"no gradient is known here for the operator {node.op_type}")
    if not split and [place for place, _ in arriving] != [0]:
        raise UnsupportedError(f"only the first output of a {node.op_type} may lead to the scores")
    try:
        if rule is None:
            return [pair for place, gradient in arriving for pair in split_rule(maker, node, place, gradient)]
        return rule(maker, node, arriving[0][1], carries)
    except UnsupportedError:
        raise
    except (ModelError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        # A form of the operator that the rule was not written for: attributes or inputs that are not there.
        raise UnsupportedError(f"no gradient is known here for this kind of {node.op_type}") from error
