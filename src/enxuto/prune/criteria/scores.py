"""How much each filter matters, by any criterion: `scores(model, data, criterion) -> {layer: score per filter}`.

The lowest go first. Every convolution and hidden linear layer gets a score for each of its filters or neurons; the
layers whose filters are the classes get none, as they are never pruned. A criterion is a value that can be called
like `Criterion`; those of this package by name are `CRITERIA`, and take their settings when they are made:
`Random(seed=3)`, `DeepLift(reference=zero_reference)`, `Conductance(steps=32)`.

Left out: which filters must go together and how many go (`ranking`), and normalisation between layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from types import MappingProxyType
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from enxuto.errors import DataError, ModelError, UsageError, did_you_mean
from enxuto.prune.attribution.layers import output_layers
from enxuto.prune.attribution.references import (
    Reference,
    blur,
    constant_reference,
    mean_image,
    zero_reference,
)
from enxuto.prune.criteria.attribution import Conductance, DeepLift, Relevance
from enxuto.prune.criteria.gradients import GradientActivation, Taylor
from enxuto.prune.criteria.weights import L1, L2, Random

__all__ = ["CRITERIA", "REFERENCES", "Criterion", "scores", "with_reference"]


class Criterion(Protocol):
    """Scores of all filters of all layers it can say something about, float64 (filters,) for each layer's name."""

    def __call__(
        self, model: nn.Module, data: Iterable[tuple[Tensor, Tensor]], progress: Callable[[int], None]
    ) -> dict[str, Tensor]:
        """Score on all of `data`; `progress` is called with the number of images done."""


CRITERIA: Mapping[str, Criterion] = MappingProxyType(
    {
        "l1": L1(),
        "l2": L2(),
        "random": Random(),
        "gradient-activation": GradientActivation(),
        "taylor": Taylor(),
        "deeplift": DeepLift(),
        "lrp": Relevance(),
        "conductance": Conductance(),
    }
)

REFERENCES: Mapping[str, Callable[[Iterable[tuple[Tensor, Tensor]]], Reference]] = MappingProxyType(
    {
        "blur": lambda batches: blur,
        "zero": lambda batches: zero_reference,
        "mean": lambda batches: constant_reference(mean_image(batches)),
    }
)
"""What an image is compared with, by name: functions of batches of training images."""


def with_reference(name: str, reference: Reference) -> Criterion:
    """Return the criterion of this name that compares with `reference`, those that compare with nothing as they are."""
    criterion = CRITERIA[name]
    return (
        replace(criterion, reference=reference)
        if isinstance(criterion, DeepLift | Conductance)
        else criterion
    )


def scores(
    model: nn.Module,
    data: Iterable[tuple[Tensor, Tensor]],
    criterion: str | Criterion = "l1",
    *,
    progress: Callable[[int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Return for each layer's name, output layers left out, a float64 score for each filter; low ones go first.

    The same network, data and criterion give the same scores on the same machine. The network is not changed.
    Criteria that read data leave out layers that no class score depends on (auxiliary heads, in evaluation mode).

    Args:
        data: batches of normalised images (batch, channels, height, width) and integer labels (batch,), which are
            moved to the network's device. Criteria of weights use one image, to find the output layers.
        progress: called after each batch with the number of images done.

    Raises:
        UsageError: the criterion is unknown.
        DataError: a batch is not images and labels.
        ModelError: a function has no rule, or scores are not finite.
    """
    if isinstance(criterion, str):
        if criterion not in CRITERIA:
            hint = did_you_mean(criterion, CRITERIA)
            raise UsageError(
                f"no criterion {criterion!r}{hint}: choose one of {', '.join(CRITERIA)}", code="E021"
            )
        criterion = CRITERIA[criterion]
    batches = _check_batches(data, _device(model))
    first = next(batches, None)
    if first is None:
        raise DataError(
            "scores: no images were given; at least one batch of images and labels is needed", code="E043"
        )
    outputs = output_layers(model, first[0])
    found = criterion(model, chain([first], batches), progress or (lambda _: None))
    result = {name: values.cpu().double().numpy() for name, values in found.items() if name not in outputs}
    for name, values in result.items():
        if not np.isfinite(values).all():
            raise ModelError(
                f"scores: {name} has filters whose score is not a finite number; check its weights",
                code="E033",
            )
    return result


def _device(model: nn.Module) -> torch.device:
    return next((value.device for value in model.parameters()), torch.device("cpu"))


def _check_batches(
    data: Iterable[tuple[Tensor, Tensor]], device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches on the device, empty ones left out; an error where images or labels are not what they should be."""
    for images, labels in data:
        if not images.is_floating_point() or labels.is_floating_point() or labels.shape != images.shape[:1]:
            raise DataError(
                f"scores: a batch must be float images and as many integer labels, not {images.dtype} "
                f"{tuple(images.shape)} and {labels.dtype} {tuple(labels.shape)}"
            )
        if len(images):
            yield images.to(device), labels.to(device)
