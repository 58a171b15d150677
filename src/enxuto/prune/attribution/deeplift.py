"""DeepLIFT: how much every convolution's output contributed to a class score, all layers at once.

Images and their references (blurred copies, say) go through the network once each; then one backward pass carries
multipliers m instead of gradients, such that for each layer that everything passes Σ m·(x − x₀) = t − t₀: the
contributions m·(x − x₀) of its output explain the whole difference of the class score t. That sum is checked at the
images, and where it misses by more than rounding that is an error. The rules per function are in
`rescale`, which functions there are in `rules`; the network itself stays as it is.

Source: A. Shrikumar, P. Greenside, A. Kundaje, "Learning important features through propagating activation
differences", arXiv:1704.02685: rescale rule. Left out: RevealCancel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from enxuto.errors import DataError, ModelError
from enxuto.prune.attribution.dispatch import Dispatch
from enxuto.prune.attribution.layers import Network, run_detached, validate_classes
from enxuto.prune.attribution.references import Reference, blur
from enxuto.prune.attribution.rescale import ReferenceRules, ReferenceValues, SampleRules

__all__ = ["Attribution", "deeplift"]

_TOLERANCE = 1e-3  # of the change
_CANCELLED = 1e-6  # of the contributions: what single precision leaves of a change they cancel to
_SMALL = 0.1  # of the mean change: less than that is a small one
_ROUNDINGS = 16  # of outputs, and
_ROUNDINGS_OF_PARTS = 2  # of contributions: no network of the zoo needs as many


@dataclass(frozen=True)
class Attribution:
    """What `deeplift` found for a batch.

    layers: for each layer's name the contributions of its output, one tensor (batch, filters, …) for each time
    that the layer was called; calls that no score depends on (auxiliary heads) are left out.
    images: contributions of the pixels, the images' shape. classes: whose score is explained, (batch,).
    change: t − t₀ of that score, float64 (batch,). error: Σ contributions of the pixels − change, float64 (batch,).
    """

    layers: Mapping[str, tuple[Tensor, ...]]
    images: Tensor
    classes: Tensor
    change: Tensor
    error: Tensor

    @property
    def relative_error(self) -> float:
        """Convergence: Σ |error| over Σ |change| of the batch; 0 is exact.

        Where contributions of both signs cancel to a change of less than a millionth of them, over that millionth.
        """
        missed, explained = float(self.error.abs().sum()), float(self.change.abs().sum())
        scale = max(explained, _CANCELLED * float(self.images.double().abs().sum()))
        return missed / scale if missed and scale else missed


def deeplift(
    model: nn.Module,
    images: Tensor,
    classes: Tensor | None = None,
    *,
    reference: Reference = blur,
    reduce: Callable[[str, Tensor], Tensor] | None = None,
) -> Attribution:
    """Attribute class scores to the outputs of all convolutions and linear layers of an unmodified network.

    The network runs in evaluation mode and gets its modes back. Gradients of parameters are not touched. The caller's
    gradient mode does not matter.

    Args:
        images: (batch, channels, height, width), normalised, on the network's device.
        classes: whose score is attributed, (batch,) integers; None: the class predicted for each image.
        reduce: called with a layer's name and contributions; returns what to keep of them. Sums over filters take less
            memory than all contributions.

    Raises:
        ModelError: a function has no rule, or a value depends on the images without a gradient (a mask, `detach`); or
            the contributions of an image miss its change by more than 1e-3 that rounding does not explain.
        DataError: images, references and classes do not fit one another.
    """
    keep = reduce or (lambda _, contributions: contributions)
    found: dict[str, dict[int, Tensor]] = {}

    def on_contribution(name: str, use: int, contributions: Tensor) -> None:
        found.setdefault(name, {})[use] = keep(name, contributions)

    with run_detached(model) as network:
        images = images.detach().clone()
        start = reference(images)
        if start.shape != images.shape:
            raise DataError(
                f"reference: images of shape {tuple(images.shape)} got {tuple(start.shape)}", code="E044"
            )
        before, recorded = _reference_scores(network, start)
        leaf = images.requires_grad_()
        sample = SampleRules(recorded, on_contribution)
        with Dispatch(network, sample) as dispatch:
            scores = network(leaf.clone())  # a clone, as the network may overwrite what it is given
        dispatch.check_scores(scores)
        chosen = scores.detach().argmax(1) if classes is None else validate_classes(classes, scores)
        after = scores.gather(1, chosen[:, None])[:, 0]
        first = before.gather(1, chosen[:, None])[:, 0].double()
        change = after.detach().double() - first
        multipliers = torch.zeros_like(leaf)
        if after.requires_grad:
            (multipliers,) = torch.autograd.grad(after.sum(), leaf, allow_unused=True, materialize_grads=True)
    pixels = multipliers * (images - start).detach()
    made = Attribution(
        layers={
            name: tuple(found[name][use] for use in sorted(found[name]))
            for name in sample.uses
            if name in found
        },
        images=pixels.detach(),
        classes=chosen,
        change=change,
        error=pixels.detach().double().flatten(1).sum(1) - change,
    )
    _check_sum(made, first.abs() + after.detach().double().abs())
    return made


def _check_sum(made: Attribution, outputs: Tensor) -> None:
    """Refuse contributions that do not add up, image by image, beyond what rounding explains.

    outputs: |t| + |t₀|, (batch,). Rounding grows with these and with the contributions, not with a difference, which
    may be nearly 0 for an image. The caller reports scores that are not finite.
    """
    missed, change = made.error.abs(), made.change.abs()
    contributed = made.images.double().abs().flatten(1).sum(1)
    rounding = torch.finfo(made.images.dtype).eps * (_ROUNDINGS * outputs + _ROUNDINGS_OF_PARTS * contributed)
    scale = torch.maximum(torch.maximum(change, _SMALL * change.mean()), _CANCELLED * contributed)
    wrong = missed > _TOLERANCE * scale + rounding
    if bool(wrong.any()):
        share = float((missed / scale)[wrong].max())
        raise ModelError(
            f"attribution: contributions miss the change of a score by {share:.2%}: the network computes something "
            "that no rule saw (a custom autograd function, say); attribute the scores before it",
            code="E032",
        )


def _reference_scores(network: Network, start: Tensor) -> tuple[Tensor, list[ReferenceValues]]:
    """Run the references, keeping what the sample pass compares with but no graph."""
    discard = torch.autograd.graph.saved_tensors_hooks(lambda _: None, lambda _: torch.empty(0))
    rules = ReferenceRules()
    with discard, Dispatch(network, rules):
        scores = network(start.detach().clone().requires_grad_().clone())
    return scores.detach(), rules.recorded
