"""The model without branches that no sample takes, so that what lies in those that are taken can be calibrated.

Where the condition of an If is the same for all samples (the rate of sound, whether there is a batch, a shape), the
branch's nodes take its place. Loops, and Ifs that samples answer differently, stay: weights in them are calibrated as
`calibration.other_weights` are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from enxuto.calibration.cells import with_hidden_states
from enxuto.data.samples import Group
from enxuto.errors import EnxutoError
from enxuto.onnx_model import STANDARD_DOMAINS, Model, hoist_weights, inline_branches
from enxuto.runtime import Runner

__all__ = ["straighten"]

_DEPTH = 16  # of branches in branches


def straighten(model: Model, groups: Sequence[Group], *, threads: int = 0) -> Model:
    """Return a model that gives the same outputs for these samples, without the Ifs that they all answer alike.

    Names of weights are those of the model. The hidden states of recurrent cells are values of it. It is the model
    itself where there are no subgraphs and no cells.
    """
    found = hoist_weights(model)
    for _ in range(_DEPTH):
        conditions = [
            node.input[0]
            for node in found.proto.graph.node
            if node.op_type == "If" and node.domain in STANDARD_DOMAINS
        ]
        answers = _answers(found, sorted(set(conditions)), groups, threads) if conditions else {}
        if not answers:
            break
        found = inline_branches(found, answers)
    found = with_hidden_states(found)
    return found if found is model or _gives_the_same(model, found, groups, threads) else model


def _gives_the_same(model: Model, straight: Model, groups: Sequence[Group], threads: int) -> bool:
    """Say whether two models give the same for a few samples: what cannot be run straight is run as it is."""
    few = next(groups[0].parts(2))
    names = [item.name for item in model.proto.graph.output]
    try:
        one, other = (Runner(each, threads=threads).values(few.feeds, names) for each in (model, straight))
    except EnxutoError:
        return False
    return all(
        a.shape == b.shape and np.allclose(a, b, rtol=1e-3, atol=1e-4, equal_nan=True)
        for a, b in zip(one, other, strict=True)
        if isinstance(a, np.ndarray) and a.dtype.kind in "fiub"
    )


def _answers(
    model: Model, conditions: Sequence[str], groups: Sequence[Group], threads: int
) -> dict[str, bool]:
    """Return the conditions that are the same for all samples, and what they are."""
    fed = {item.name for item in model.proto.graph.input}
    known = {name: {bool(model.load(name).reshape(-1)[0])} for name in conditions if name in model}
    asked = [name for name in conditions if name not in known]
    try:
        runner = Runner(model, threads=threads, extra_outputs=[name for name in asked if name not in fed])
        for group in groups:
            values = [
                group.feeds[name] if name in group.feeds else runner.values(group.feeds, [name])[0]
                for name in asked
            ]
            for name, value in zip(asked, values, strict=True):
                known.setdefault(name, set()).update(np.asarray(value).reshape(-1)[:1].astype(bool).tolist())
    except EnxutoError:  # a condition that can be no output: then nothing is known of any
        return {}
    return {name: found.pop() for name, found in known.items() if len(found) == 1}
