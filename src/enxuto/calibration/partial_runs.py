"""Run a model in stages, so that weights can change between stages without running any node twice.

A stage is the nodes from the values computed so far to the next stop. Values are dropped once no later stage reads
them. A node reads what its subgraphs read of the main graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from onnx import NodeProto, helper

from enxuto.data.samples import Group
from enxuto.machine.processors import processors
from enxuto.machine.workers import workers
from enxuto.onnx_model import Model, numpy_dtype, piece_of, reads_of, static_values
from enxuto.runtime import Runner

__all__ = ["PartialRuns"]

_BATCH = 8  # images that ONNX Runtime sees at a time, so that its new memory stays small
_LANES = 8  # such batches side by side, at most


@dataclass(frozen=True)
class _Stage:
    nodes: list[NodeProto]
    inputs: list[str]
    outputs: list[str]


@dataclass(frozen=True)
class _Values:
    """What is computed of a group so far, by name, and how many samples it has."""

    found: dict[str, np.ndarray]
    count: int


class PartialRuns:
    """A model in stages, one to each of `stops` (names of values, in the order of execution) and one to each output."""

    def __init__(self, model: Model, stops: Sequence[str]) -> None:
        self._model = model
        graph = model.proto.graph
        self._inputs = [item.name for item in graph.input if item.name not in model]
        self._type = input_type(model)
        self.outputs = [item.name for item in graph.output]
        self._constant = static_values(model)
        self._stages = _plan(model, [*stops, *self.outputs])

    def run(
        self, images: np.ndarray, weights: Mapping[str, np.ndarray], *, threads: int = 0
    ) -> Iterator[np.ndarray]:
        """Yield the value at every stop for a batch (N, …) of the only input, and last the outputs.

        `weights` (by name) replace the model's new. Each stage runs with what the mapping holds when it begins, so that
        the caller may change it between stages.
        """
        for (value,) in self.run_groups([self._group(images)], weights, threads=threads):
            yield value

    def run_groups(
        self, groups: Sequence[Group], weights: Mapping[str, np.ndarray], *, threads: int = 0
    ) -> Iterator[list[np.ndarray]]:
        """Do what `run` does for several groups of samples: yield the values of all at every stop."""
        held = [_Values(dict(group.feeds), group.count) for group in groups]
        for number, stage in enumerate(self._stages):
            self._advance(stage, held, weights, threads)
            yield [values.found[stage.outputs[0]] for values in held]
            self._drop_unread(held, number)

    def tails(
        self, images: np.ndarray, *, threads: int = 0
    ) -> Iterator[Callable[[Mapping[str, np.ndarray]], np.ndarray]]:
        """Yield at every stop a function from replaced weights (by name) to the first output for a batch (N, …).

        It runs only the nodes after the stop, so that only weights read there can be replaced.
        """
        for outputs in self.tails_of_groups([self._group(images)], threads=threads):
            yield lambda weights, outputs=outputs: outputs(weights)[0][0]  # type: ignore[misc]

    def tails_of_groups(
        self, groups: Sequence[Group], *, threads: int = 0
    ) -> Iterator[Callable[[Mapping[str, np.ndarray]], list[list[np.ndarray]]]]:
        """Do what `tails` does for several groups of samples: the functions give all outputs of each.

        They may be called later, and beside one another: each holds the values that it starts from.
        """
        held = [_Values(dict(group.feeds), group.count) for group in groups]
        for number, stage in enumerate(self._stages[: len(self._stages) - len(self.outputs)]):
            self._advance(stage, held, {}, threads)
            rest = _join(self._stages[number + 1 :], held[0].found, self.outputs)
            begun = [_Values(dict(values.found), values.count) for values in held]
            yield partial(self._run_tail, rest, begun, threads=threads)
            self._drop_unread(held, number)

    def _run_tail(
        self, rest: _Stage, begun: Sequence[_Values], weights: Mapping[str, np.ndarray], *, threads: int
    ) -> list[list[np.ndarray]]:
        """Return the outputs of every group from values that are there already."""
        made = [_Values(dict(values.found), values.count) for values in begun]
        self._advance(rest, made, weights, threads)
        return [[values.found[name] for name in self.outputs] for values in made]

    def _group(self, images: np.ndarray) -> Group:
        return Group({self._inputs[0]: images.astype(self._type, copy=False)}, len(images))

    def _advance(
        self,
        stage: _Stage,
        held: Sequence[_Values],
        weights: Mapping[str, np.ndarray],
        threads: int,
    ) -> None:
        """Run a stage and add its outputs to the values of every group."""
        if not stage.nodes:
            return
        threads = threads or processors()
        model = self._as_model(stage, held[0].found, weights)
        runners: dict[int, Runner] = {}
        # Weights that a node makes (a Cast of halves, say) have rows of their own, as many as samples by chance.
        whole = not self._constant.isdisjoint((*stage.inputs, *stage.outputs))
        for values in held:
            feeds = {name: values.found[name] for name in stage.inputs}
            split = not whole and values.count > _BATCH and _has_rows(feeds, values.count)
            batches = -(-values.count // _BATCH) if split else 1
            lanes = min(threads, batches, _LANES)
            if lanes not in runners:
                runners[lanes] = Runner(model, threads=threads // lanes, spinning=False)
            # What a session gives lies in its memory, all of which would be kept with it.
            made = (
                [value.copy() for value in runners[lanes].run(feeds, stage.outputs)]
                if batches == 1
                else _run_in_batches(runners[lanes], feeds, stage.outputs, values.count, lanes)
            )
            values.found.update(zip(stage.outputs, made, strict=True))

    def _drop_unread(self, held: Sequence[_Values], number: int) -> None:
        """Drop the values that no stage after this one reads."""
        later = {name for after in self._stages[number + 1 :] for name in (*after.inputs, after.outputs[0])}
        for values in held:
            for name in [name for name in values.found if name not in later]:
                del values.found[name]

    def _as_model(
        self, stage: _Stage, values: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray]
    ) -> Model:
        """Return a stage as a model of its new, with some weights replaced."""
        fed = {name: helper.np_dtype_to_tensor_dtype(values[name].dtype) for name in stage.inputs}
        piece = piece_of(self._model, stage.nodes, stage.outputs, fed)
        return piece.replace_weights({name: array for name, array in weights.items() if name in piece})


def input_type(model: Model) -> np.dtype:
    """Return the element type of a model's first input that is no weight."""
    item = next(item for item in model.proto.graph.input if item.name not in model)
    return numpy_dtype(item.type.tensor_type.elem_type) or np.dtype(np.float32)


def _join(stages: Sequence[_Stage], values: Mapping[str, np.ndarray], outputs: Sequence[str]) -> _Stage:
    """Return several stages as one that gives the outputs not known yet."""
    nodes = [node for stage in stages for node in stage.nodes]
    inputs = sorted({name for stage in stages for name in stage.inputs} & values.keys())
    return _Stage(nodes, inputs, [name for name in outputs if name not in values])


def _has_rows(feeds: Mapping[str, np.ndarray], count: int) -> bool:
    return all(value.shape[:1] == (count,) for value in feeds.values())


def _run_in_batches(
    runner: Runner, feeds: dict[str, np.ndarray], outputs: list[str], count: int, lanes: int
) -> list[np.ndarray]:
    """Run a stage on a few of `count` samples at a time, on several threads; whole where values have no row each."""
    first, *others = (slice(start, min(start + _BATCH, count)) for start in range(0, count, _BATCH))
    found = runner.run({name: value[first] for name, value in feeds.items()}, outputs)
    if any(value.shape[:1] != (first.stop,) for value in found):
        return runner.run(feeds, outputs)
    whole = [np.empty((count, *value.shape[1:]), value.dtype) for value in found]
    for value, rows in zip(whole, found, strict=True):
        value[first] = rows

    def fill(piece: slice) -> bool:
        found = runner.run({name: value[piece] for name, value in feeds.items()}, outputs)
        if any(rows.shape != value[piece].shape for value, rows in zip(whole, found, strict=True)):
            return False
        for value, rows in zip(whole, found, strict=True):
            value[piece] = rows
        return True

    if lanes == 1:
        done = all(map(fill, others))
    else:
        with workers(lanes) as pool:
            done = all(pool.map(fill, others))
    return whole if done else runner.run(feeds, outputs)


def _plan(model: Model, stops: Sequence[str]) -> list[_Stage]:
    """Return a stage for every stop: the nodes that no earlier stage runs, their inputs, and the outputs read later."""
    nodes = list(model.proto.graph.node)
    sparse = {item.values.name for item in model.proto.graph.sparse_initializer}
    reads = [reads_of(node) for node in nodes]
    maker = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    done: set[int] = set()
    chosen: list[list[int]] = []
    for stop in stops:
        new: set[int] = set()
        pending = [maker[stop]] if stop in maker else []
        while pending:
            index = pending.pop()
            if index in done or index in new:
                continue
            new.add(index)
            # A Constant node's output is a weight: each stage that reads it has it of its own.
            pending.extend(maker[name] for name in reads[index] if name in maker and name not in model)
        done |= new
        chosen.append(sorted(new))
    stages = []
    for number, (stop, new_nodes) in enumerate(zip(stops, chosen, strict=True)):
        made = {name for index in new_nodes for name in nodes[index].output}
        read = {name for index in new_nodes for name in reads[index]}
        later = {name for after in chosen[number + 1 :] for index in after for name in reads[index]}
        later |= set(stops[number + 1 :])
        outputs = [stop, *sorted((made & later) - {stop})] if new_nodes else [stop]
        inputs = sorted(name for name in read - made - sparse if name not in model)
        stages.append(_Stage([nodes[index] for index in new_nodes], inputs, outputs))
    return stages
