"""The names of a graph, given back to the file that torch exports from the module that was made of it.

torch names what it computes by numbers (`val_13`), and folds a matrix that it turns, or a slope that it reshapes, into
a new constant of such a name. Here every tensor of the module's state has the name that the graph had for it, and lies
as it did there: a matrix that the graph multiplies from the right as (inputs, outputs) does so again. What torch made
itself never has a name that the graph used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from enxuto.onnx_model import int_attribute, ints_attribute

__all__ = ["GraphNames", "StateTensor", "give_names", "names_of", "state_tensors"]

_MOVING = frozenset({"Identity", "Reshape", "Squeeze", "Unsqueeze"})


@dataclass(frozen=True)
class GraphNames:
    """What a file's parts are called.

    tensors: key of the module's state → the initializer's name. turned: keys of those matrices that the state holds
    transposed. batch: the name of the open batch size. others: further constants of the graph, whose names no
    tensor of torch's may have. of_graph: whether a graph called them so, and not a module's code.
    """

    inputs: Sequence[str] = ("input",)
    outputs: Sequence[str] = ("logits",)
    batch: str = "batch"
    tensors: Mapping[str, str] = field(default_factory=dict)
    turned: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()
    of_graph: bool = False


@dataclass(frozen=True)
class StateTensor:
    """A tensor of the exported graph that a module's state holds under `key`; turned: transposed."""

    key: str
    turned: bool = False


def names_of(module: Any) -> GraphNames:
    """The names of the graph that a module was made of; for any other module those of its state."""
    own = {name: name for name, _ in module.named_parameters()} | {
        name: name for name, _ in module.named_buffers()
    }
    signature = getattr(module, "signature", None)
    if signature is None or not hasattr(module, "initializers"):
        return GraphNames(tensors=own)
    return GraphNames(
        signature.inputs,
        signature.outputs,
        signature.batch or GraphNames.batch,
        dict(module.initializers),
        frozenset(module.turned),
        frozenset(item.name for item in ModelProto.FromString(module.graph).graph.initializer),
        True,
    )


def state_tensors(nodes: Iterable[Any], keys: Iterable[str]) -> dict[str, StateTensor]:
    """Which values are tensors of the state, moved at most.

    Args:
        nodes: of the exported graph before its constants are folded, as onnx_ir has them.
        keys: of the state, whose tensors are initializers of the same names.
    """
    found = {key: StateTensor(key) for key in keys}
    for node in nodes:
        source = found.get(node.inputs[0].name) if node.inputs and node.inputs[0] is not None else None
        if source is None:
            continue
        perm = node.attributes.get("perm")
        if node.op_type == "Transpose" and perm is not None and list(perm.as_ints()) == [1, 0]:
            found[node.outputs[0].name] = StateTensor(source.key, not source.turned)
        elif node.op_type in _MOVING:
            found[node.outputs[0].name] = source
    return found


def give_names(proto: ModelProto, names: GraphNames, tensors: Mapping[str, StateTensor]) -> None:
    """Name inputs, outputs, the batch and the state's tensors of an exported graph, in place."""
    graph = proto.graph
    wanted = dict(zip((item.name for item in graph.input), names.inputs, strict=True))
    wanted |= dict(zip((item.name for item in graph.output), names.outputs, strict=True))
    given = set(wanted.values())
    for tensor in graph.initializer:
        known = tensors.get(tensor.name)
        name = None if known is None else names.tensors.get(known.key)
        if known is None or name is None or name in given:
            continue
        if known.turned != (known.key in names.turned) and not _turn(graph, tensor):
            if not names.of_graph or len(tensor.dims) != 2:
                continue  # the matrix of a layer of PyTorch's, transposed, or what was made of one: torch's name stays
            _transpose_back(graph, tensor)
        wanted[tensor.name] = name  # a second form of a tensor keeps torch's name
        given.add(name)
    _rename(graph, wanted, {*names.tensors.values(), *names.inputs, *names.outputs, *names.others})
    for item in (*graph.input, *graph.output, *graph.value_info):
        for dim in item.type.tensor_type.shape.dim:
            if dim.dim_param == GraphNames.batch:
                dim.dim_param = names.batch


def _turn(graph: GraphProto, tensor: TensorProto) -> bool:
    """Transpose a matrix and tell its readers so; False, with nothing done, where one of them takes it as it is."""
    readers = [
        (node, place) for node in graph.node for place, name in enumerate(node.input) if name == tensor.name
    ]
    outputs = {item.name for item in graph.output}
    if len(tensor.dims) != 2 or not all(_can_turn(node, place, outputs) for node, place in readers):
        return False
    for node, _ in readers:
        if node.op_type == "Gemm":
            turned = int_attribute(node, "transB")
            kept = [item for item in node.attribute if item.name != "transB"]
            del node.attribute[:]
            node.attribute.extend(kept)
            if not turned:
                node.attribute.add(name="transB", type=2, i=1)
        else:
            graph.node.remove(node)
            for reader in graph.node:
                for place, name in enumerate(reader.input):
                    if name == node.output[0]:
                        reader.input[place] = tensor.name
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(numpy_helper.to_array(tensor).T), name))
    return True


def _transpose_back(graph: GraphProto, tensor: TensorProto) -> None:
    """Transpose a matrix, and behind it once more by a node, as the graph must have done."""
    read = tensor.name
    matrix = np.ascontiguousarray(numpy_helper.to_array(tensor).T)
    tensor.CopyFrom(numpy_helper.from_array(matrix, f"{read}, transposed"))
    graph.node.insert(
        0, helper.make_node("Transpose", [tensor.name], [read], f"/{read}/Transpose", perm=[1, 0])
    )


def _can_turn(node: NodeProto, place: int, outputs: set[str]) -> bool:
    if node.op_type == "Transpose":
        return ints_attribute(node, "perm") == (1, 0) and node.output[0] not in outputs
    return node.op_type == "Gemm" and place == 1


def _rename(graph: GraphProto, wanted: Mapping[str, str], reserved: set[str]) -> None:
    """Give values the names `wanted`; others that have a name of `reserved` get a free one."""
    used = {name for node in graph.node for name in (*node.input, *node.output)}
    used |= {item.name for item in (*graph.initializer, *graph.input, *graph.output)}
    changed = dict(wanted)
    taken = used | reserved
    for name in sorted(used & reserved - set(wanted) - {""}):
        free = name
        while free in taken:
            free += "_"
        changed[name] = free
        taken.add(free)
    for item in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        item.name = changed.get(item.name, item.name)
    for node in graph.node:
        for values in (node.input, node.output):
            for place, name in enumerate(values):
                values[place] = changed.get(name, name)
