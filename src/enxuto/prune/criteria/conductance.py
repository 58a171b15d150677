"""Layer conductance: how much of the change of a class score flows through each output of a layer.

Images go from their references to themselves in a straight line; conductance of an output y is ∫ ∂t/∂y dy along it,
here by the trapezoid rule, Σ ½(g_k + g_{k+1})·(y_{k+1} − y_k). For each layer that everything passes it adds up to
t − t₀, exactly with infinitely many steps. All layers at once: one pass there and back for each of `steps` + 1 points.

Source: K. Dhamdhere, M. Sundararajan, Q. Yan, "How important is a neuron?", arXiv:1805.12233, equation 3.
"""

from __future__ import annotations

from torch import Tensor, nn

from enxuto.errors import UsageError
from enxuto.prune.attribution.layers import run_detached
from enxuto.prune.attribution.references import Reference, blur
from enxuto.prune.criteria.gradients import class_scores, outputs_and_gradients

__all__ = ["conductance"]


def conductance(
    model: nn.Module, images: Tensor, classes: Tensor, *, reference: Reference = blur, steps: int = 16
) -> dict[str, tuple[Tensor, ...]]:
    """Return for each layer's name the conductance of its outputs, one tensor (batch, filters, …) for each call.

    images: (batch, channels, height, width) on the network's device. classes: whose score, (batch,) integers.
    Layers that the scores do not depend on are left out. Raises `UsageError` for fewer than one step.
    """
    if steps < 1:
        raise UsageError(f"conductance: steps must be 1 or more, not {steps}")
    images = images.detach().clone()
    target = class_scores(classes)
    with run_detached(model) as network:
        start = reference(images)
        before = outputs_and_gradients(network, start, target)
        flowed: dict[tuple[str, int], Tensor] = {}
        for step in range(1, steps + 1):
            after = outputs_and_gradients(network, start + (images - start) * (step / steps), target)
            for call in after.keys() & before.keys():
                (y0, g0), (y1, g1) = before[call], after[call]
                part = (g0 + g1) / 2 * (y1 - y0)
                flowed[call] = flowed[call] + part if call in flowed else part
            before = after
    names = dict.fromkeys(name for name, _ in before)
    return {name: tuple(flowed[call] for call in before if call[0] == name) for name in names}
