"""Second moments of what each reader reads, and of the gradients of what it writes, from images without labels.

Gradients are of the logarithm of a probability whose class is drawn from the network's own answer, so that their second
moment is the Fisher information: half of it times a squared error is a divergence in nats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from enxuto.errors import ModelError
from enxuto.prune.refit.readers import Reader, sample_inputs
from enxuto.zoo.modes import evaluation_mode

__all__ = ["FOLDS", "RIDGE", "ReaderMoments", "check_finite", "collect_moments"]

FOLDS = 3
RIDGE = 1e-3  # where inputs are many beside columns
_POSITIONS = 16  # of each image and layer, drawn by the seed


@dataclass(frozen=True)
class ReaderMoments:
    """Sums over images, float64.

    inputs: (folds, K + 1, K + 1), of outer products of the columns' inputs and a constant 1 behind them. counts:
    (folds,), summands. gradients: (outputs, outputs), the mean over images of the sum over positions. ridge: λ of
    costs, which compare filters.
    """

    inputs: Tensor
    counts: Tensor
    gradients: Tensor
    ridge: float = RIDGE

    def without_fold(self, fold: int) -> ReaderMoments:
        """Of the other images; gradients are those of all."""
        others = torch.arange(len(self.counts)) != fold
        return replace(self, inputs=self.inputs[others], counts=self.counts[others])


def collect_moments(
    network: nn.Module,
    readers: Sequence[Reader],
    batches: Iterable[Tensor],
    seed: int = 0,
    *,
    on_images: Callable[[int], None] | None = None,
) -> dict[str, ReaderMoments]:
    """Run the network on images (batch, channels, height, width) in evaluation mode; it is left as it was.

    Images go to the folds in turn. on_images: called with how many more were run. Raises `ModelError` where answers are
    not finite.
    """
    modules = {reader.layer: network.get_submodule(reader.layer) for reader in readers}
    sums: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    draws = np.random.default_rng(seed)
    classes = torch.Generator().manual_seed(seed)
    total = 0
    with evaluation_mode(network), torch.enable_grad():
        for batch in batches:
            images = batch.detach().requires_grad_()
            with _keep_calls(modules) as calls:
                logits = network(images)
            check_finite(logits)
            drawn = torch.multinomial(logits.detach().softmax(1), 1, generator=classes).squeeze(1)
            loss = nn.functional.cross_entropy(logits, drawn, reduction="sum")
            used = [layer for layer in modules if layer in calls]
            outputs = [calls[layer][1] for layer in used]
            gradients = torch.autograd.grad(loss, outputs, allow_unused=True) if used else ()
            folds = (torch.arange(len(images)) + total) % FOLDS
            total += len(images)
            for layer, gradient in zip(used, gradients, strict=True):
                _add(sums, layer, modules[layer], calls[layer][0], gradient, folds, draws)
            if on_images is not None:
                on_images(len(images))
    return {
        layer: ReaderMoments(inputs, counts, gradient / total)
        for layer, (inputs, counts, gradient) in sums.items()
    }


def check_finite(logits: Tensor) -> None:
    """Raise `ModelError` where answers are NaN or infinite: nothing can be fitted to them."""
    if not bool(logits.isfinite().all()):
        raise ModelError(
            "the unpruned network's answers are not finite: weights or images hold NaN or infinite values; look at "
            "them with `enxuto weights`",
            code="E033",
        )


def _add(
    sums: dict[str, tuple[Tensor, Tensor, Tensor]],
    layer: str,
    module: nn.Module,
    x: Tensor,
    gradient: Tensor | None,
    folds: Tensor,
    draws: np.random.Generator,
) -> None:
    written = _rows(module, gradient) if gradient is not None else None
    places: list[int] | None = None
    if written is not None and written.shape[1] > _POSITIONS and isinstance(module, nn.Conv2d):
        places = sorted(draws.choice(written.shape[1], _POSITIONS, replace=False).tolist())
    read = sample_inputs(module, x, places)
    read = torch.cat((read, torch.ones(*read.shape[:2], 1, dtype=read.dtype)), 2)
    if layer not in sums:
        size, outputs = read.shape[2], module.weight.shape[0]  # type: ignore[index]
        sums[layer] = (
            torch.zeros(FOLDS, size, size, dtype=torch.float64), torch.zeros(FOLDS, dtype=torch.float64),
            torch.zeros(int(outputs), int(outputs), dtype=torch.float64),
        )  # fmt: skip
    inputs, counts, total = sums[layer]
    for fold in range(FOLDS):
        rows = read[folds == fold].flatten(0, 1)
        inputs[fold] += (rows.T @ rows).double()
        counts[fold] += len(rows)
    if written is not None:
        rows = written.flatten(0, 1)
        total += (rows.T @ rows).double()


def _rows(module: nn.Module, values: Tensor) -> Tensor:
    """(batch, positions, outputs)"""
    if isinstance(module, nn.Linear):
        return values.reshape(len(values), -1, values.shape[-1])
    return values.flatten(2).transpose(1, 2)


@contextmanager
def _keep_calls(modules: dict[str, nn.Module]) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """What each layer read and wrote at its last call within the block."""
    calls: dict[str, tuple[Tensor, Tensor]] = {}

    def keeper(layer: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            calls[layer] = inputs[0].detach(), output

        return keep

    handles = [module.register_forward_hook(keeper(layer)) for layer, module in modules.items()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
