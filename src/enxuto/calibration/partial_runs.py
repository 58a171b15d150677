"""Run a model piece by piece, so that weights can be changed between the pieces without running any of it twice.

A stage is what it takes to get from the values at hand to the next stop. Values are dropped once nothing later reads
them. What subgraphs read of the main graph counts as read by the node they belong to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, helper

from enxuto.onnx_model import Model, numpy_dtype, reads_of
from enxuto.runtime import Runner

__all__ = ["Stages"]

_AT_ONCE = 8  # images that ONNX Runtime sees at a time, so that its own memory stays small


@dataclass(frozen=True)
class _Stage:
    nodes: list[NodeProto]
    needs: list[str]
    gives: list[str]


class Stages:
    """The stages of a model that end at `stops` (names of values, in the order of execution), and the rest."""

    def __init__(self, model: Model, stops: Sequence[str]) -> None:
        self._model = model
        graph = model.proto.graph
        self._input = next(item.name for item in graph.input if item.name not in model)
        self._type = input_type(model)
        self.output = graph.output[0].name
        self._stages = _plan(model, [*stops, self.output])

    def run(
        self, images: np.ndarray, weights: Mapping[str, np.ndarray], *, threads: int = 0
    ) -> Iterator[np.ndarray]:
        """Yield the value at every stop for a batch (N, …), and last the scores.

        Whatever `weights` (name → array instead of the model's own) holds when a stage begins is what it runs with:
        change it between the stages.
        """
        values: dict[str, np.ndarray] = {self._input: images.astype(self._type, copy=False)}
        for number, stage in enumerate(self._stages):
            self._advance(stage, values, weights, threads)
            yield values[stage.gives[0]]
            self._forget(values, number)

    def tails(
        self, images: np.ndarray, *, threads: int = 0
    ) -> Iterator[Callable[[Mapping[str, np.ndarray]], np.ndarray]]:
        """Yield at every stop what gives the scores of a batch (N, …) with weights other than the model's own.

        It runs only what comes after the stop, and so takes weights that are read there; use it before the next stop.
        """
        values: dict[str, np.ndarray] = {self._input: images.astype(self._type, copy=False)}
        for number, stage in enumerate(self._stages[:-1]):
            self._advance(stage, values, {}, threads)
            rest = _joined(self._stages[number + 1 :], values, self.output)

            def scores(weights: Mapping[str, np.ndarray], rest: _Stage = rest) -> np.ndarray:
                found = dict(values)
                self._advance(rest, found, weights, threads)
                return found[self.output]

            yield scores
            self._forget(values, number)

    def _advance(
        self, stage: _Stage, values: dict[str, np.ndarray], weights: Mapping[str, np.ndarray], threads: int
    ) -> None:
        """Add to `values` what a stage gives."""
        if stage.nodes:
            runner = Runner(self._piece(stage, values, weights), threads=threads)
            found = _in_pieces(runner, {name: values[name] for name in stage.needs}, stage.gives)
            values.update(zip(stage.gives, found, strict=True))

    def _forget(self, values: dict[str, np.ndarray], number: int) -> None:
        """Drop what no stage after this one reads."""
        later = {name for after in self._stages[number + 1 :] for name in (*after.needs, after.gives[0])}
        for name in [name for name in values if name not in later]:
            del values[name]

    def _piece(
        self, stage: _Stage, values: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray]
    ) -> Model:
        """Return a stage as a model of its own."""
        reads = {name for node in stage.nodes for name in reads_of(node)}
        proto = ModelProto()
        proto.ir_version = self._model.proto.ir_version
        proto.opset_import.extend(self._model.proto.opset_import)
        proto.functions.extend(self._model.proto.functions)
        graph = proto.graph
        graph.name = "stage"
        graph.node.extend(stage.nodes)
        for name in stage.needs:
            kind = helper.np_dtype_to_tensor_dtype(values[name].dtype)
            graph.input.append(helper.make_tensor_value_info(name, kind, None))
        for name in stage.gives:
            graph.output.add(name=name)
        whole = self._model.proto.graph
        graph.initializer.extend(tensor for tensor in whole.initializer if tensor.name in reads)
        graph.sparse_initializer.extend(
            item for item in whole.sparse_initializer if item.values.name in reads
        )
        piece = self._model.with_proto(proto)
        return piece.replaced({name: array for name, array in weights.items() if name in piece})


def input_type(model: Model) -> np.dtype:
    """Return the element type of a model's first input that is no weight."""
    item = next(item for item in model.proto.graph.input if item.name not in model)
    return numpy_dtype(item.type.tensor_type.elem_type) or np.dtype(np.float32)


def _joined(stages: Sequence[_Stage], values: Mapping[str, np.ndarray], output: str) -> _Stage:
    """Return several stages as one that gives the scores alone."""
    nodes = [node for stage in stages for node in stage.nodes]
    needs = sorted({name for stage in stages for name in stage.needs} & values.keys())
    return _Stage(nodes, needs, [output])


def _in_pieces(runner: Runner, feeds: dict[str, np.ndarray], gives: list[str]) -> list[np.ndarray]:
    """Run a stage on a few images at a time; at once where a value has not a row for each of them."""
    lengths = {value.shape[:1] for value in feeds.values()}
    count = next(iter(lengths))[0] if len(lengths) == 1 and () not in lengths else 0
    if count <= _AT_ONCE:
        return runner.run(feeds, gives)
    whole: list[np.ndarray] = []
    for start in range(0, count, _AT_ONCE):
        piece = slice(start, min(start + _AT_ONCE, count))
        found = runner.run({name: value[piece] for name, value in feeds.items()}, gives)
        if any(value.shape[:1] != (piece.stop - start,) for value in found):
            return runner.run(feeds, gives)
        whole = whole or [np.empty((count, *value.shape[1:]), value.dtype) for value in found]
        for value, rows in zip(whole, found, strict=True):
            value[piece] = rows
    return whole


def _plan(model: Model, stops: Sequence[str]) -> list[_Stage]:
    """Return, for every stop, the nodes not run before that it needs, what they read and what is read of them."""
    nodes = list(model.proto.graph.node)
    sparse = {item.values.name for item in model.proto.graph.sparse_initializer}
    reads = [reads_of(node) for node in nodes]
    maker = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    done: set[int] = set()
    chosen: list[list[int]] = []
    for stop in stops:
        own: set[int] = set()
        pending = [maker[stop]] if stop in maker else []
        while pending:
            index = pending.pop()
            if index in done or index in own:
                continue
            own.add(index)
            pending.extend(maker[name] for name in reads[index] if name in maker)
        done |= own
        chosen.append(sorted(own))
    stages = []
    for number, (stop, own_nodes) in enumerate(zip(stops, chosen, strict=True)):
        made = {name for index in own_nodes for name in nodes[index].output}
        read = {name for index in own_nodes for name in reads[index]}
        later = {name for after in chosen[number + 1 :] for index in after for name in reads[index]}
        later |= set(stops[number + 1 :])
        gives = [stop, *sorted((made & later) - {stop})] if own_nodes else [stop]
        needs = sorted(name for name in read - made - sparse if name not in model)
        stages.append(_Stage([nodes[index] for index in own_nodes], needs, gives))
    return stages
