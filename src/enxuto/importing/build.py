"""Build an `OnnxNetwork`: node by node, each run at once on an example, so that rules know all shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from onnx import NodeProto
from torch import Tensor, nn

from enxuto.errors import EnxutoError, ModelError, error_reason
from enxuto.importing.check import opset_of
from enxuto.importing.constants import evaluate, is_constant, is_setting, tensors_of_sizes
from enxuto.importing.modules import Apply
from enxuto.importing.names import Places, layer_path
from enxuto.importing.network import OnnxNetwork, Step, needed_steps
from enxuto.importing.node import Built, Node
from enxuto.importing.patterns import join_biases, join_shuffles, plain_view
from enxuto.importing.rules import RULES
from enxuto.importing.rules.made import TensorOf
from enxuto.importing.size_arithmetic import size_kind
from enxuto.importing.sizes import SIZE_RULES
from enxuto.importing.values import Value, to_tensor
from enxuto.onnx_model import Model

__all__ = ["build"]


def build(model: Model, examples: Sequence[Tensor], inputs: Sequence[str]) -> OnnxNetwork:
    """The network of a graph whose operators are known to have rules.

    Args:
        model: the graph and its weights.
        examples: a batch for each input.
        inputs: the inputs' names.

    Raises:
        ModelError: a node has a form that no module is made of, or does not run.
    """
    graph = model.proto.graph
    outputs = [item.name for item in graph.output]
    builder = _Builder(model, outputs)
    for name, example in zip(inputs, examples, strict=True):
        builder.values[name] = Value(name, example=example)
    nodes = join_biases(list(graph.node), set(outputs), builder.constant_rank)
    builder.tensors = tensors_of_sizes(nodes, set(model.weight_names))
    with torch.no_grad():
        for node in nodes:
            builder.add(node)
    return builder.finish(inputs, outputs, [tuple(example.shape[1:]) for example in examples])


class _Builder:
    """The network in the making: values by name, steps so far, and where every tensor went."""

    def __init__(self, model: Model, outputs: Sequence[str]) -> None:
        self.network = OnnxNetwork().eval()
        self.places = Places(self.network)
        self.opset = opset_of(model)
        self.values: dict[str, Value] = {}
        self.tensors: set[str] = set()
        self._model = model
        self._steps: list[Step] = []
        self._layers: dict[tuple[Any, ...], str] = {}
        self._tensors: dict[str, list[tuple[np.ndarray, nn.Parameter | Tensor]]] = {}
        self._reads = Counter(name for node in model.proto.graph.node for name in node.input)
        self._reads.update(outputs)
        self._flattened: dict[str, str] = {}

    def constant_rank(self, name: str) -> int | None:
        """The number of axes of a weight, None for what is no weight."""
        return len(self._model.info(name).shape) if name in self._model else None

    def add(self, node: NodeProto) -> None:
        """Fold a constant, or add the step of a node and run it."""
        inputs = [self._value(name) if name else None for name in node.input]
        known = {value.name for value in inputs if value is not None and value.constant is not None}
        if all(name in self._model for name in node.output):
            return  # a constant: read when asked for
        if is_constant(node, known):
            for value in evaluate(node, self.opset, inputs):
                self.values[value.name] = value
            return
        node, inputs = self._as_plain_view(node, inputs)
        seen = Node(node, self.opset, inputs)
        given = [value for value in inputs if value is not None]
        sizes = any(value.is_sizes for value in given) and all(
            value.is_sizes or value.constant is not None for value in given
        )
        try:
            if (sizes and not self.tensors.intersection(node.output)) or node.op_type in ("Shape", "Size"):
                self._add_sizes(seen)
            else:
                seen = Node(node, self.opset, self._with_tensors(seen))
                self._add_module(seen, RULES[node.op_type](seen))
        except EnxutoError:
            raise
        except (RuntimeError, ValueError, TypeError, IndexError, KeyError, ArithmeticError) as error:
            raise seen.refusal(error_reason(error)) from error

    def _with_tensors(self, node: Node) -> list[Value | None]:
        """The inputs of a node that makes a tensor: sizes among its operands as tensors, and one tensor at least."""
        inputs = list(node.inputs)
        operands = [place for place in range(len(inputs)) if not is_setting(node.operator, place)]
        for place in operands:
            value = inputs[place]
            if value is not None and value.is_sizes:
                inputs[place] = self._tensor_of(node, value)
        if any((value := inputs[place]) is not None and value.constant is None for place in operands):
            return inputs
        for place in operands:  # a weight in a shape or at places that sizes give
            value = inputs[place]
            if value is not None and value.constant is not None:
                name = self._operand(node, place)
                inputs[place] = Value(name, example=self._example(name))
        return inputs

    def _tensor_of(self, node: Node, value: Value) -> Value:
        name = f"{value.name}, as a tensor"
        if name not in self.values:
            module = TensorOf(value.number_type)
            self._run(node, self.places.put_operator("TensorOf", module), [value.name], [name])
        return self.values[name]

    def _as_plain_view(
        self, node: NodeProto, inputs: list[Value | None]
    ) -> tuple[NodeProto, list[Value | None]]:
        """The Reshape that a Gather of all numbers is, with its inputs; any other node as it is."""
        first = inputs[0].example if inputs and inputs[0] is not None else None
        if node.op_type == "Reshape" and isinstance(first, Tensor) and self._makes_one_axis(inputs):
            self._flattened[node.output[0]] = node.input[0]
        view = plain_view(node, self.values, self._flattened)
        if view is None:
            return node, inputs
        indices = self.values[node.input[1]].example
        assert indices is not None
        shape = np.array([0, *indices.shape[1:]], np.int64)  # 0: the batch's size stays
        return view, [self.values[view.input[0]], Value(view.input[1], shape)]

    @staticmethod
    def _makes_one_axis(inputs: Sequence[Value | None]) -> bool:
        target = inputs[1].constant if len(inputs) > 1 and inputs[1] is not None else None
        return target is not None and target.tolist() == [-1]

    def _value(self, name: str) -> Value:
        if name not in self.values:
            if name not in self._model:
                raise ModelError(f"nothing makes the value {name!r}", code="E031")
            self.values[name] = Value(name, self._model.load(name), source=name)
        return self.values[name]

    def _add_sizes(self, node: Node) -> None:
        module = SIZE_RULES[node.operator](node)
        given = [value for value in node.inputs if value is not None]
        module.numbers = {
            position: value.constant for position, value in enumerate(given) if value.constant is not None
        }
        names = [value.name for value in given if value.constant is None]
        made = node.proto.output[0]
        self._run(node, self.places.put_operator(node.operator, module), names, [made])
        self.values[made] = replace(self.values[made], kind=size_kind(node))

    def _add_module(self, node: Node, built: Built) -> None:
        path = self._put(node, built)
        names = [self._operand(node, position) for position in built.inputs]
        outputs = list(node.proto.output)
        while len(outputs) > 1 and not self._reads[outputs[-1]]:
            outputs.pop()
        if built.before is not None:
            padded = f"{outputs[0]}, padded input"
            self._run(node, self.places.put_operator("Pad", built.before), names[:1], [padded])
            names[0] = padded
        if built.after is None:
            self._run(node, path, names, outputs)
            return
        whole = f"{outputs[0]}, before it is cut"
        self._run(node, path, names, [whole])
        self._run(node, self.places.put_operator("Crop", built.after), [whole], outputs)

    def _run(self, node: Node, path: str, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Call the module at `path` on examples, keep its results, and note the step."""
        given = [self._example(name) if name else None for name in inputs]
        found = self.network.get_submodule(path)(*given)
        results = list(found) if len(outputs) > 1 else [found]
        if len(outputs) > 1 and not isinstance(found, (tuple, list)):
            raise node.refusal("more than its first output is read")
        for name, result in zip(outputs, results, strict=True):
            self.values[name] = Value(name, example=result)
        self._steps.append(Step(path, tuple(inputs), tuple(outputs)))

    def _example(self, name: str) -> Any:
        if name in self.network.operands:
            path, _, attribute = self.network.operands[name].rpartition(".")
            return getattr(self.network.get_submodule(path), attribute)
        return self.values[name].example

    def _put(self, node: Node, built: Built) -> str:
        """Put the module into the network; one that holds the same tensors in the same way is used again."""
        module = built.module
        if not built.state:
            return self.places.put_operator(node.operator, module.eval())
        names = {attribute: self._source(node, position) for attribute, (position, _) in built.state.items()}
        form = (repr(module), *names.items())
        if form in self._layers:
            return self._layers[form]
        for attribute, (_, array) in built.state.items():
            if attribute in built.buffers:
                module._buffers[attribute] = to_tensor(array)
            else:
                module._parameters[attribute] = self._parameter(names[attribute], array)
        if isinstance(module._buffers.get("num_batches_tracked"), Tensor):
            module._buffers["num_batches_tracked"] = torch.tensor(0)
        path = self.places.put_layer(layer_path(names["weight"], "weight"), module.eval())
        self._layers[form] = path
        self.network.initializers.update({f"{path}.{attribute}": name for attribute, name in names.items()})
        self.network.turned.update(
            f"{path}.{attribute}"
            for attribute, (position, _) in built.state.items()
            if node.value(position).turned != (attribute in built.turned)
        )
        return path

    def _source(self, node: Node, position: int) -> str:
        value = node.value(position)
        return value.source or value.name

    def _parameter(self, name: str, array: np.ndarray) -> nn.Parameter:
        """The parameter that holds these numbers of an initializer; readers of one initializer share it."""
        for known, tensor in self._tensors.get(name, []):
            if (
                isinstance(tensor, nn.Parameter)
                and known.shape == array.shape
                and np.array_equal(known, array)
            ):
                return tensor
        parameter = nn.Parameter(to_tensor(array))
        self._tensors.setdefault(name, []).append((array, parameter))
        return parameter

    def _operand(self, node: Node, position: int) -> str:
        """The name by which a step reads an input; a constant one becomes a parameter or a buffer."""
        value = node.inputs[position]
        if value is None or value.constant is None or value.name in self.network.operands:
            return "" if value is None else value.name
        name = value.source or value.name
        path, owner, attribute = self.places.owner(name)
        array = value.constant
        if array.dtype.kind == "f" and array.size > 1 and np.isfinite(array).all():
            owner.register_parameter(attribute, self._parameter(name, array))
        else:
            owner.register_buffer(attribute, to_tensor(array))
        key = f"{path}.{attribute}" if path else attribute
        self.network.operands[value.name] = key
        self.network.initializers[key] = name
        if value.turned:
            self.network.turned.add(key)
        return value.name

    def finish(
        self, inputs: Sequence[str], outputs: Sequence[str], shapes: Sequence[tuple[int, ...]]
    ) -> OnnxNetwork:
        """Join what is one layer, drop what no output depends on."""
        network = self.network
        for name in outputs:
            if not isinstance(self._value(name).example, Tensor):
                raise ModelError(f"the output {name!r} does not depend on the images", code="E032")
        known = {
            name: tuple(value.example.shape)
            for name, value in self.values.items()
            if isinstance(value.example, Tensor)
        }
        steps = join_shuffles(
            self._steps, network.get_submodule, known, outputs,
            lambda module: self.places.put_operator("ChannelShuffle", module.eval()),
        )  # fmt: skip
        network.steps = needed_steps(steps, outputs, [*network.operands])
        used = {step.module for step in network.steps}
        for step in self._steps:
            module = network.get_submodule(step.module) if step.module not in used else None
            if isinstance(module, Apply) or (
                module is not None and not any(True for _ in module.parameters())
            ):
                parent, _, last = step.module.rpartition(".")
                network.get_submodule(parent)._modules.pop(last, None)
                used.add(step.module)
        network.signature = type(network.signature)(tuple(inputs), tuple(outputs), tuple(shapes))
        return network
