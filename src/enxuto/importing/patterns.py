"""Forms that exporters write as several nodes and that are one layer: a product with a bias, a shuffle, a view."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from onnx import NodeProto, helper
from torch import nn

from enxuto.importing.modules import Apply
from enxuto.importing.network import Step
from enxuto.importing.values import Value
from enxuto.zoo.shufflenet import ChannelShuffle

__all__ = ["join_biases", "join_shuffles", "plain_view"]


def join_biases(
    nodes: Sequence[NodeProto], outputs: set[str], rank: Callable[[str], int | None]
) -> list[NodeProto]:
    """MatMul by a constant matrix and Add of a constant vector become one Gemm, which is a layer with a bias.

    rank: of a constant by its name, None for what is no constant.
    """
    reads = Counter(name for node in nodes for name in node.input)
    adds = {name: node for node in nodes if node.op_type == "Add" for name in node.input}
    joined: dict[int, NodeProto] = {}
    gone: set[int] = set()
    for node in nodes:
        if node.op_type != "MatMul" or rank(node.input[1]) != 2 or rank(node.input[0]) is not None:
            continue
        made = node.output[0]
        add = adds.get(made)
        if add is None or reads[made] != 1 or made in outputs:
            continue
        bias = next(name for name in (*add.input[::-1], made) if name != made)
        if rank(bias) == 1:
            joined[id(add)] = helper.make_node("Gemm", [*node.input, bias], list(add.output), name=node.name)
            gone.add(id(node))
    return [joined.get(id(node), node) for node in nodes if id(node) not in gone]


def join_shuffles(
    steps: Sequence[Step],
    module: Callable[[str], nn.Module],
    shapes: Mapping[str, tuple[int, ...]],
    outputs: Sequence[str],
    put: Callable[[nn.Module], str],
) -> list[Step]:
    """Split the channels, swap the two parts, join them: one step with a `ChannelShuffle`."""
    reads = Counter(name for step in steps for name in step.inputs)
    reads.update(outputs)
    makers = {name: step for step in steps for name in step.outputs}
    found = []
    for step in steps:
        before = makers.get(step.inputs[0]) if len(step.inputs) else None
        first = makers.get(before.inputs[0]) if before is not None and before.inputs else None
        groups = None
        if before is not None and first is not None and first.inputs and len(step.outputs) == 1:
            swap = module(before.module)
            order = tuple(swap.settings.get("dims", ())) if isinstance(swap, Apply) else ()
            groups = _groups(
                order,
                *(shapes.get(name, ()) for name in (first.inputs[0], before.inputs[0], step.outputs[0])),
            )
        if (
            groups is None
            or first is None
            or before is None
            or reads[first.outputs[0]] > 1
            or reads[before.outputs[0]] > 1
        ):
            found.append(step)
        else:
            found.append(replace(step, module=put(ChannelShuffle(groups)), inputs=(first.inputs[0],)))
    return found


def _groups(
    order: tuple[int, ...], given: tuple[int, ...], split: tuple[int, ...], made: tuple[int, ...]
) -> int | None:
    """The number of groups, where these three shapes and this order are those of a shuffle."""
    if len(given) < 3 or made != given or len(split) != len(given) + 1:
        return None
    if order != (0, 2, 1, *range(3, len(split))):
        return None
    if (split[0], split[1] * split[2], *split[3:]) != given:
        return None
    return split[1]


def plain_view(
    node: NodeProto, values: Mapping[str, Value], flattened: Mapping[str, str]
) -> NodeProto | None:
    """A Gather that takes all numbers of a flattened tensor in their order, as a Reshape of that tensor.

    PyTorch's exporter writes `as_strided` so, which is what its adaptive average pool becomes. Its indices count the
    numbers of all channels, so that no channel could go.

    Args:
        node: any node; what is no such Gather gives None.
        values: the values known so far.
        flattened: what was reshaped to one axis → the tensor that it was.

    Returns:
        A Reshape whose second input is called as the node's output, with the ending `, its shape`.
    """
    if node.op_type != "Gather" or node.input[0] not in flattened or node.input[1] not in values:
        return None
    before, indices = values[flattened[node.input[0]]].example, values[node.input[1]].example
    if before is None or not isinstance(indices, np.ndarray) or not indices.ndim:
        return None
    whole = np.arange(int(np.prod(before.shape))).reshape(-1)
    if indices.shape[0] != before.shape[0] or not np.array_equal(indices.reshape(-1).astype(np.int64), whole):
        return None
    return helper.make_node(
        "Reshape",
        [flattened[node.input[0]], f"{node.output[0]}, its shape"],
        list(node.output),
        name=node.name,
    )
