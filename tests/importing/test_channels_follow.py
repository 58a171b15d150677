"""Constant sizes in a graph that are sizes of its activations: they follow when channels are removed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from onnx import NodeProto

from enxuto.importing import load_module
from enxuto.onnx_model import Model
from enxuto.prune.channels.tracing import trace
from enxuto.prune.removal.remove import remove
from enxuto.runtime import Runner
from rule_forms import floats, graph, integers, made, node

COUNT, SIDE = 8, 6
POOLED = made("GlobalAveragePool", ["a"], ["p"])
GATE = [made("Gemm", ["v", "g"], ["e"]), made("Sigmoid", ["e"], ["s"])]
HELD: dict[str, Any] = {
    "g": floats(COUNT, COUNT), "row": integers(-1, COUNT), "plane": integers(-1, COUNT, 1, 1),
    "last": integers(-1, 1, 1, COUNT), "lines": integers(-1, COUNT, SIDE * SIDE),
    "whole": integers(1, COUNT, SIDE, SIDE), "image": integers(-1, COUNT, SIDE, SIDE),
    "k": floats(COUNT, COUNT, 1, 1), "zero": integers(0), "one": integers(1),
    "rest": integers(COUNT, SIDE, SIDE), "copied": integers(0, COUNT, 1, 1),
}  # fmt: skip
FORMS: dict[str, list[NodeProto]] = {
    "vectors and planes": [
        POOLED, made("Reshape", ["p", "row"], ["v"]), *GATE, made("Reshape", ["s", "plane"], ["q"]),
        made("Mul", ["a", "q"], ["b"]),
    ],
    "a copied batch": [
        POOLED, made("Reshape", ["p", "row"], ["v"]), *GATE, made("Reshape", ["s", "copied"], ["q"]),
        made("Mul", ["a", "q"], ["b"]),
    ],
    "channels at the end": [
        made("Transpose", ["a"], ["l"], perm=[0, 2, 3, 1]), made("ReduceMean", ["l"], ["m"], axes=[1, 2], keepdims=0),
        made("Reshape", ["m", "last"], ["r"]), made("Transpose", ["r"], ["t"], perm=[0, 3, 1, 2]),
        made("Conv", ["t", "k"], ["e"]), made("Sigmoid", ["e"], ["q"]), made("Mul", ["a", "q"], ["b"]),
    ],
    "rows of positions": [
        made("Reshape", ["a", "lines"], ["l"]), made("ReduceMean", ["l"], ["v"], axes=[2], keepdims=0), *GATE,
        made("Reshape", ["s", "plane"], ["q"]), made("Mul", ["a", "q"], ["b"]),
    ],
    "and back": [made("Reshape", ["a", "lines"], ["l"]), made("Reshape", ["l", "image"], ["b"])],
    "expanded": [
        POOLED, made("Conv", ["p", "k"], ["e"]), made("Expand", ["e", "whole"], ["q"]), made("Mul", ["a", "q"], ["b"]),
    ],
    "expanded to computed sizes": [
        POOLED, made("Conv", ["p", "k"], ["e"]), made("Shape", ["a"], ["z"]),
        made("Slice", ["z", "zero", "one"], ["n"]), made("Concat", ["n", "rest"], ["w"], axis=0),
        made("Expand", ["e", "w"], ["q"]), made("Mul", ["a", "q"], ["b"]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_channels_go_through_sizes_written_in_a_graph(name: str) -> None:
    nodes = [made("Conv", ["h", "first"], ["a"], pads=[1] * 4), *FORMS[name], node("Conv", "b", "after")]
    held = {**HELD, "first": floats(COUNT, 3, 3, 3), "after": floats(4, COUNT, 1, 1)}
    read = {each for item in nodes for each in item.input}
    model = Model.from_proto(
        graph(nodes, {key: value for key, value in held.items() if key in read}, (3, SIDE, SIDE), 13)
    )
    network = load_module(model)
    x = np.random.default_rng(0).standard_normal((3, 3, SIDE, SIDE)).astype(np.float32)
    with torch.no_grad():
        (expected,) = Runner(model, threads=1).run({"x": x})
        np.testing.assert_allclose(network(torch.from_numpy(x)).numpy(), expected, rtol=1e-5, atol=1e-5)
        channels = trace(network, torch.zeros(2, 3, SIDE, SIDE))
        assert not [item for item in channels.fixed if item.layer == "first"]
        gone = [group.number for group in channels.groups if 2 in group.filters.get("first", ())]
        smaller = remove(network, channels, channels.without_groups(gone))  # compared with zeroed filters
        assert smaller(torch.from_numpy(x)).shape == expected.shape
