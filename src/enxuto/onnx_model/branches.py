"""Bring what lies inside of branches and loops out into the main graph, where nodes can be followed and measured.

`hoist_weights` moves the weights of subgraphs into the main graph, under the names that they have already
(`onnx_model.scopes`). `inline_branches` puts the nodes of a branch in the place of the If that always takes it.
Neither changes what the model computes, where the conditions are as said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from enxuto.onnx_model.model import Model
from enxuto.onnx_model.scopes import STANDARD_DOMAINS, subgraphs, weight_slots

__all__ = ["hoist_weights", "inline_branches"]

_Rename = Callable[[str], str]


def hoist_weights(model: Model) -> Model:
    """Return the model with the weights of its subgraphs as initializers of the main graph; itself without any.

    Names of weights stay. A weight whose name is another value's of the main graph stays where it is.
    """
    if not any(True for node in model.proto.graph.node for _ in subgraphs(node)):
        return model
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    taken |= {item.name for item in graph.input}
    functions = {slot.name for slot in weight_slots(proto).values()} - {
        slot.name for slot in weight_slots(_without_functions(proto)).values()
    }
    moved: list[TensorProto] = []
    for node in graph.node:
        for path, body in subgraphs(node):
            moved += _hoist(body, path, {}, taken | functions)
    if not moved:
        return model
    graph.initializer.extend(moved)
    return model.with_proto(proto)


def inline_branches(model: Model, taken: Mapping[str, bool]) -> Model:
    """Return the model with every If of the main graph, whose condition is named in `taken`, replaced by a branch."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    nodes: list[NodeProto] = []
    for node in model.proto.graph.node:
        if node.op_type != "If" or node.domain not in STANDARD_DOMAINS or node.input[0] not in taken:
            nodes.append(node)
            continue
        wanted = "then_branch" if taken[node.input[0]] else "else_branch"
        path, body = next((path, graph) for path, graph in subgraphs(node) if path.endswith(f".{wanted}/"))
        nodes += _inline(body, path, node.output)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return model.with_proto(proto)


def _without_functions(proto: ModelProto) -> ModelProto:
    alone = ModelProto()
    alone.graph.CopyFrom(proto.graph)
    return alone


def _hoist(body: GraphProto, path: str, renamed: Mapping[str, str], taken: set[str]) -> list[TensorProto]:
    """Take the weights out of a subgraph in place and return them; `renamed` holds those of graphs around it."""
    slots = weight_slots(_alone(body))
    local = {
        name: path + name for name, slot in slots.items() if not slot.scope_path and path + name not in taken
    }
    defined = {name for node in body.node for name in node.output} | {
        item.name for item in (*body.input, *body.initializer)
    }
    names = {**{old: new for old, new in renamed.items() if old not in defined}, **local}
    moved = [_named(tensor, local[tensor.name]) for tensor in body.initializer if tensor.name in local]
    kept = [tensor for tensor in body.initializer if tensor.name not in local]
    nodes = []
    for node in body.node:
        constant = node.op_type == "Constant" and len(node.output) == 1 and node.output[0] in local
        if constant and not any(node.output[0] == tensor.name for tensor in body.initializer):
            value = next(item for item in node.attribute if item.name == "value")
            moved.append(_named(value.t, local[node.output[0]]))
            continue
        changed = NodeProto()
        changed.CopyFrom(node)
        changed.input[:] = [names.get(name, name) for name in node.input]
        for inner, graph in subgraphs(changed):
            moved += _hoist(graph, path + inner, names, taken)
        nodes.append(changed)
    # A graph gives out what a node of its own makes.
    nodes += [
        helper.make_node("Identity", [names[item.name]], [item.name])
        for item in body.output
        if item.name in names
    ]
    del body.node[:]
    body.node.extend(nodes)
    del body.initializer[:]
    body.initializer.extend(kept)
    return moved


def _alone(body: GraphProto) -> ModelProto:
    proto = ModelProto()
    proto.graph.CopyFrom(body)
    return proto


def _named(tensor: TensorProto, name: str) -> TensorProto:
    found = TensorProto()
    found.CopyFrom(tensor)
    found.name = name
    return found


def _inline(body: GraphProto, path: str, outputs: Iterable[str]) -> list[NodeProto]:
    """Return the nodes of a branch with names of their own, and those that give its outputs the If's names."""
    own = {name for node in body.node for name in node.output if name} | {
        tensor.name for tensor in body.initializer
    }

    def rename(name: str) -> str:
        return path + name if name in own else name

    nodes = [_renamed(node, rename) for node in body.node]
    nodes = [
        helper.make_node("Constant", [], [path + tensor.name], value=tensor) for tensor in body.initializer
    ] + nodes
    for item, output in zip(body.output, outputs, strict=False):
        if output:
            nodes.append(helper.make_node("Identity", [rename(item.name)], [output]))
    return nodes


def _renamed(node: NodeProto, rename: _Rename) -> NodeProto:
    """Return a node with other names, and those in its subgraphs that mean values around them."""
    found = NodeProto()
    found.CopyFrom(node)
    found.input[:] = [rename(name) for name in node.input]
    found.output[:] = [rename(name) for name in node.output]
    for _, graph in subgraphs(found):
        inner = {name for one in graph.node for name in one.output} | {
            item.name for item in (*graph.input, *graph.initializer)
        }

        def outside(name: str, inner: set[str] = inner) -> str:
            return name if name in inner else rename(name)

        nodes = [_renamed(one, outside) for one in graph.node]
        del graph.node[:]
        graph.node.extend(nodes)
    return found
