"""The model without Ifs that ask for nothing but sizes: PyTorch writes a squeeze of an axis of unknown size so.

What such an If answers is the same for all images of one size, so the nodes of its branch take its place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from enxuto.errors import EnxutoError
from enxuto.importing.constants import follow_sizes
from enxuto.onnx_model import STANDARD_DOMAINS, Model, hoist_weights, inline_branches
from enxuto.runtime import Runner

__all__ = ["without_branches"]

_DEPTH = 16  # of branches in branches


def without_branches(model: Model, inputs: Sequence[str], examples: Sequence[Tensor]) -> Model:
    """Replace every If whose condition is made of sizes, and the same for one image and for two, by its branch.

    Args:
        model: with a free batch size.
        inputs: names of its inputs.
        examples: a batch for each.

    Returns:
        A model with the same names of weights; the model itself where there is no such If, or it does not run.
    """
    found = hoist_weights(model)
    for _ in range(_DEPTH):
        asked = _conditions(found)
        if not asked:
            break
        try:
            runner = Runner(found, threads=1, extra_outputs=asked)
            answers = [
                runner.values(
                    {name: batch[:count].numpy() for name, batch in zip(inputs, examples, strict=True)}, asked
                )
                for count in (1, len(examples[0]))
            ]
        except EnxutoError:
            return model
        taken = {
            name: bool(np.asarray(one).reshape(-1)[0])
            for name, one, other in zip(asked, *answers, strict=True)
            if np.array_equal(one, other)
        }
        if not taken:
            break
        found = inline_branches(found, taken)
    return found


def _conditions(model: Model) -> list[str]:
    """The conditions of Ifs in the main graph that are made of sizes."""
    nodes = model.proto.graph.node
    branching = [node for node in nodes if node.op_type == "If" and node.domain in STANDARD_DOMAINS]
    if not branching:
        return []
    known, sizes = follow_sizes(nodes, set(model.weight_names))
    return sorted({node.input[0] for node in branching if node.input[0] in known | sizes})
