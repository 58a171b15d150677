"""Scores from attributions of the class score: DeepLIFT, layer-wise relevance, layer conductance.

All three say for each output of a layer how much of the class score, or of its difference from a reference, it
stands for; a filter's score is the L1 norm of its attributions, averaged over the images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from enxuto.prune.attribution.deeplift import deeplift
from enxuto.prune.attribution.layers import FilterLayer, filter_layers, per_filter
from enxuto.prune.attribution.references import Reference, blur
from enxuto.prune.criteria.conductance import conductance
from enxuto.prune.criteria.gradients import mean_over_images
from enxuto.prune.criteria.relevance import relevance

__all__ = ["Conductance", "DeepLift", "Relevance"]


@dataclass(frozen=True)
class DeepLift:
    """DeepLIFT (`attribution`) of the labels' scores against a reference, by default blurred images."""

    reference: Reference = blur

    def __call__(
        self, model: nn.Module, data: Iterable[tuple[Tensor, Tensor]], progress: Callable[[int], None]
    ) -> dict[str, Tensor]:
        """Score all layers that class scores depend on."""
        layers = filter_layers(model)

        def norm(name: str, contributions: Tensor) -> Tensor:
            return per_filter(contributions.abs(), layers[name])

        def measure(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
            attributions = deeplift(model, images, labels, reference=self.reference, reduce=norm)
            return {name: sum(uses[1:], uses[0]) for name, uses in attributions.layers.items()}

        return mean_over_images(data, measure, progress)


@dataclass(frozen=True)
class Relevance:
    """Layer-wise relevance propagation by the z⁺ rule (`relevance`) of the labels' scores."""

    def __call__(
        self, model: nn.Module, data: Iterable[tuple[Tensor, Tensor]], progress: Callable[[int], None]
    ) -> dict[str, Tensor]:
        """Score all layers that class scores depend on."""
        layers = filter_layers(model)

        def measure(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
            return _norms(relevance(model, images, labels).layers, layers)

        return mean_over_images(data, measure, progress)


@dataclass(frozen=True)
class Conductance:
    """Layer conductance (`conductance`) of the labels' scores in `steps` steps from a reference."""

    reference: Reference = blur
    steps: int = 16

    def __call__(
        self, model: nn.Module, data: Iterable[tuple[Tensor, Tensor]], progress: Callable[[int], None]
    ) -> dict[str, Tensor]:
        """Score all layers that class scores depend on."""
        layers = filter_layers(model)

        def measure(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
            attributions = conductance(model, images, labels, reference=self.reference, steps=self.steps)
            return _norms(attributions, layers)

        return mean_over_images(data, measure, progress)


def _norms(
    attributions: Mapping[str, tuple[Tensor, ...]], layers: Mapping[str, FilterLayer]
) -> dict[str, Tensor]:
    """L1 norm of each image's attributions by filter, all calls of a layer together."""
    norms = {}
    for name, uses in attributions.items():
        parts = [per_filter(use.abs(), layers[name]) for use in uses]
        norms[name] = sum(parts[1:], parts[0])
    return norms
