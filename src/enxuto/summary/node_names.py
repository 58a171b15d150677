"""Names for the rows of an ONNX graph, as paths with dots: `features.stage1.0.conv1`.

Exporters write the path of the module into the node's name (`/features/conv1/Conv`), or only into the names of
weights (`features.conv1.weight`), or nowhere. A node without any path goes into the block of the one before it.
"""

from __future__ import annotations

from onnx import NodeProto

from enxuto.summary.onnx_shapes import Shapes

__all__ = ["layer_names"]


def layer_names(shapes: Shapes) -> dict[str, str]:
    """Row name by the first output of each node that depends on the image."""
    names: dict[str, str] = {}
    block: tuple[str, ...] = ()
    for node in shapes.proto.graph.node:
        output = next((name for name in node.output if name), "")
        if output not in shapes.moving:
            continue
        path = _path(node, shapes)
        if len(path) > 1:
            block = path[:-1]
        elif block:
            path = (*block, *path)
        names[output] = ".".join(path)
    return names


def _path(node: NodeProto, shapes: Shapes) -> tuple[str, ...]:
    label = node.name or next((name for name in node.output if name), node.op_type)
    if "/" in label:
        return _parts(label, node.op_type) or (label,)
    for name in node.input[1:]:
        if name and name not in shapes.moving and "." in name:
            return tuple(name.split(".")[:-1])
    return (label,)


def _parts(label: str, operator: str) -> tuple[str, ...]:
    """`/layer1/layer1.0/conv1/Conv_2` → layer1, 0, conv1: without the operator and repeated prefixes."""
    found: list[str] = []
    for part in filter(None, label.split("/")):
        prefix = f"{found[-1]}." if found else ""
        if prefix and part.startswith(prefix):
            found.extend(part[len(prefix) :].split("."))
        else:
            found.append(part)
    if len(found) > 1 and found[-1].split("_")[0] == operator:
        found.pop()
    return tuple(found)
