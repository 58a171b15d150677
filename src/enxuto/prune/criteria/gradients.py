"""Scores from plain gradients at layers' outputs: gradient × activation of the class score, and Taylor of the loss.

Both approximate to first order what changes if an output a becomes 0, a·∂/∂a. Gradient × activation sums the
absolute changes of the score of the image's class over a filter's positions; Taylor takes the absolute value of the
mean over the positions, of the cross-entropy.

Source: P. Molchanov et al., "Pruning convolutional neural networks for resource efficient inference",
arXiv:1611.06440, equation 8, at the convolution's output. Left out: its normalisation by layer, which is `ranking`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.overrides import TorchFunctionMode

from enxuto.prune.attribution.layers import Network, filter_layers, per_filter, run_detached, validate_classes

__all__ = ["GradientActivation", "Taylor", "class_scores", "mean_over_images", "outputs_and_gradients"]

Target = Callable[[Tensor], Tensor]
"""From logits (batch, classes) to the sum over the images of what gradients are taken of."""
Calls = dict[tuple[str, int], tuple[Tensor, Tensor]]


def outputs_and_gradients(network: Network, images: Tensor, target: Target) -> Calls:
    """Run a network once and back: (layer, nth call) → its output and the target's gradient there, both copies.

    Calls that the target does not depend on are left out.
    """
    with _Taps(network) as taps:
        leaf = images.detach().clone().requires_grad_()
        logits = network(leaf.clone())
    taken = target(logits)
    if taken.requires_grad:
        torch.autograd.grad(taken, leaf, allow_unused=True)
    return {
        call: (taps.outputs[call], taps.gradients[call]) for call in taps.outputs if call in taps.gradients
    }


class _Taps(TorchFunctionMode):
    """Copies layers' outputs, before they can be overwritten, and hooks for their gradients."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.outputs: dict[tuple[str, int], Tensor] = {}
        self.gradients: dict[tuple[str, int], Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function; look at the output of a layer."""
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        name = self.network.layer_of_call(func, args, kwargs)
        if name is not None and output.requires_grad:
            call = (name, sum(seen == name for seen, _ in self.outputs))
            self.outputs[call] = output.detach().clone()

            def keep(gradient: Tensor) -> None:
                self.gradients[call] = gradient.detach().clone()

            output.register_hook(keep)
        return output


def class_scores(labels: Tensor) -> Target:
    """Return the target that sums the scores of the images' own classes."""
    return lambda logits: logits.gather(1, validate_classes(labels, logits)[:, None]).sum()


@dataclass(frozen=True)
class GradientActivation:
    """Mean over images of Σ over positions |output × gradient of the class score|."""

    def __call__(
        self, model: nn.Module, data: Iterable[tuple[Tensor, Tensor]], progress: Callable[[int], None]
    ) -> dict[str, Tensor]:
        """Score all layers that class scores depend on."""
        layers = filter_layers(model)

        def measure(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
            with run_detached(model) as network:
                calls = outputs_and_gradients(network, images, class_scores(labels))
            return _sum_calls(
                {(n, use): per_filter((a * g).abs(), layers[n]) for (n, use), (a, g) in calls.items()}
            )

        return mean_over_images(data, measure, progress)


@dataclass(frozen=True)
class Taylor:
    """Mean over images of |mean over positions of output × gradient of the cross-entropy|."""

    def __call__(
        self, model: nn.Module, data: Iterable[tuple[Tensor, Tensor]], progress: Callable[[int], None]
    ) -> dict[str, Tensor]:
        """Score all layers that class scores depend on."""
        layers = filter_layers(model)

        def measure(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
            def loss(logits: Tensor) -> Tensor:
                return cross_entropy(logits, validate_classes(labels, logits), reduction="sum")

            with run_detached(model) as network:
                calls = outputs_and_gradients(network, images, loss)
            found = {}
            for (name, use), (output, gradient) in calls.items():
                changes = per_filter(output * gradient, layers[name])
                positions = output.numel() // changes.numel()
                found[name, use] = changes.abs() / positions
            return _sum_calls(found)

        return mean_over_images(data, measure, progress)


def _sum_calls(calls: Mapping[tuple[str, int], Tensor]) -> dict[str, Tensor]:
    """Add up the calls of a layer that is called more than once."""
    found: dict[str, Tensor] = {}
    for (name, _), values in calls.items():
        found[name] = found[name] + values if name in found else values
    return found


def mean_over_images(
    data: Iterable[tuple[Tensor, Tensor]],
    measure: Callable[[Tensor, Tensor], Mapping[str, Tensor]],
    progress: Callable[[int], None],
) -> dict[str, Tensor]:
    """Return the mean over all images of what `measure` gives for a batch, (batch, filters) a layer, in float64."""
    totals: dict[str, Tensor] = {}
    count = 0
    for images, labels in data:
        for name, values in measure(images, labels).items():
            part = values.double().sum(0)
            totals[name] = totals[name] + part if name in totals else part
        count += len(images)
        progress(count)
    return {name: total / count for name, total in totals.items()}
