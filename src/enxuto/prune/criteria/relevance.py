"""Layer-wise relevance propagation (LRP): the class score handed back, layer by layer, to what made it.

Rules, each of which keeps the sum:
- convolutions and linear layers: z⁺ (α = 1, β = 0): an input gets relevance in proportion to its positive part in
  the sum, x⁺w⁺ + x⁻w⁻; negative parts and biases get none. A batch norm that follows is part of the layer, whose
  relevance is then that of the normalised output. A sum without any positive part keeps what it has;
- functions element by element pass it on whole; max pools to the largest; sums and averages by share;
- a product of two activations: half to each.
Not kept whole by a batch norm that follows no layer (DenseNet, ResNet v2): its shift keeps its own share.

The backward pass carries c = R/x, relevance for each unit of activation: then every rule for affine functions is
their gradient, and the others take their value y as if it were made of a carrier z in fixed proportion, y = z·(y/z).

Source: S. Bach et al., "On pixel-wise explanations for non-linear classifier decisions by layer-wise relevance
propagation", PLOS ONE 10(7), 2015, equation 60; G. Montavon et al., arXiv:1512.02479.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from enxuto.prune.attribution.dispatch import Dispatch
from enxuto.prune.attribution.layers import is_layer_call, run_detached, validate_classes
from enxuto.prune.attribution.rules import base_name, is_in_place, refusal

__all__ = ["LayerRelevance", "relevance"]


@dataclass(frozen=True)
class LayerRelevance:
    """Relevance of layers' outputs, one tensor (batch, filters, …) for each call, and of the pixels; and the class
    scores (batch,) that were handed back.
    """

    layers: Mapping[str, tuple[Tensor, ...]]
    images: Tensor
    scores: Tensor


def relevance(model: nn.Module, images: Tensor, classes: Tensor) -> LayerRelevance:
    """Hand the classes' scores back through an unmodified network; see the head of this file for the rules.

    images: (batch, channels, height, width) on the network's device. classes: whose score, (batch,) integers.
    Layers that the scores do not depend on are left out. Raises `ModelError` for a function without a rule.
    """
    with run_detached(model) as network:
        leaf = images.detach().clone().requires_grad_()
        rules = _Relevance()
        with Dispatch(network, rules) as dispatch:
            logits = network(leaf.clone())
        dispatch.check_scores(logits)
        scores = logits.gather(1, validate_classes(classes, logits)[:, None])[:, 0]
        (carried,) = torch.autograd.grad(scores.sum(), leaf, materialize_grads=True)
    names = dict.fromkeys(name for name, _ in rules.calls)
    found = {
        name: tuple(rules.found[c] for c in rules.calls if c[0] == name and c in rules.found)
        for name in names
    }
    return LayerRelevance(
        {name: uses for name, uses in found.items() if uses}, carried * leaf.detach(), scores.detach()
    )


@dataclass(frozen=True)
class _LayerCall:
    """A call of a convolution or linear layer: its input, its weights, and itself, without bias, on others."""

    x: Tensor
    weight: Tensor
    call: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class _LayerOutput:
    """What a batch norm after a layer needs to become part of it."""

    output: Tensor
    name: str | None
    version: int
    function: str
    called: _LayerCall

    def is_unchanged(self, values: Tensor) -> bool:
        """Whether these are the layer's output, not overwritten since."""
        return values is self.output and values._version == self.version


class _Relevance:
    """The rules; `found` fills in the backward pass."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.found: dict[tuple[str, int], Tensor] = {}
        self._last: _LayerOutput | None = None

    def layer(self, name: str | None, func: Any, args: Any, kwargs: Any) -> Tensor:
        """z⁺ for convolutions and linear layers; other products with something fixed are their gradient."""
        if not is_layer_call(func):
            affine: Tensor = func(*args, **kwargs)
            return affine
        called = _split_call(func, args, kwargs)
        output = _carry(func(*args, **kwargs).detach(), _positive_part(called, called.weight))
        self._watch(name, output)
        self._last = _LayerOutput(output, name, output._version, base_name(func), called)
        return output

    def batch_norm(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Part of the layer before, if it follows one; else its gradient."""
        value: Tensor = func(*args, **kwargs)
        last = self._last
        if last is None or not last.is_unchanged(args[0]) or last.function.startswith("conv_transpose"):
            return value
        given = inspect.signature(func).bind(*args, **kwargs)
        given.apply_defaults()
        norm = given.arguments
        scale = torch.rsqrt(norm["running_var"] + norm["eps"])
        if norm["weight"] is not None:
            scale = scale * norm["weight"]
        weight = last.called.weight
        folded = weight * scale.view(-1, *[1] * (weight.dim() - 1))
        output = _carry(value.detach(), _positive_part(last.called, folded))
        self._watch(last.name, output)
        return output

    def elementwise(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """All to the element; the function gets a copy, so that one that works in place does not show."""
        x, *rest = args
        copy = x.detach().clone()
        version = copy._version
        output = _carry(func(copy, *rest, **kwargs), x)
        return x.copy_(output) if copy._version != version else output

    def product(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Half to each factor."""
        a, b, *rest = args
        overwrites = is_in_place(func)
        if overwrites and base_name(func) not in ("mul", "multiply"):
            raise refusal(func, "a product in place is known only element by element")
        call = torch.mul if overwrites else func
        both = (call(a, b.detach(), *rest, **kwargs) + call(a.detach(), b, *rest, **kwargs)) / 2
        return a.copy_(both) if overwrites else both

    def max_pool(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """To the largest, which is the gradient."""
        output: Tensor = func(*args, **kwargs)
        return output

    def read(self, func: Any, value: Any) -> None:
        """One run has one way; what it is led by gets no relevance."""

    def _watch(self, name: str | None, output: Tensor) -> None:
        """Note the relevance of a layer's output when it comes back."""
        if name is None or not output.requires_grad:
            return
        call = (name, sum(seen == name for seen, _ in self.calls))
        self.calls.append(call)
        value = output.detach().clone()

        def keep(carried: Tensor) -> None:
            self.found[call] = carried.detach() * value

        output.register_hook(keep)  # type: ignore[no-untyped-call]


def _split_call(func: Any, args: Any, kwargs: Any) -> _LayerCall:
    """Take a call of a convolution or linear layer apart: its input, its weights, and itself without bias."""
    x, *given = args
    named = dict(kwargs)
    weight = given.pop(0) if given else named.pop("weight")
    if given:
        given.pop(0)
    named.pop("bias", None)

    def call(x: Tensor, weight: Tensor) -> Tensor:
        result: Tensor = func(x, weight, None, *given, **named)
        return result

    return _LayerCall(x, weight, call)


def _positive_part(called: _LayerCall, weight: Tensor) -> Tensor:
    """Σ x⁺w⁺ + x⁻w⁻ for each output, the negative half only where an input is negative (after ReLU none is)."""
    x = called.x
    total = called.call(F.relu(x), F.relu(weight))
    if bool((x < 0).any()):
        total = total + called.call(-F.relu(-x), -F.relu(-weight))
    return total


def _carry(value: Tensor, carrier: Tensor) -> Tensor:
    """`value`, with a gradient as if it were the carrier times a constant; none where the carrier is 0."""
    fixed = carrier.detach()
    there = fixed.abs() > torch.finfo(fixed.dtype).eps ** 2
    ratio = torch.where(there, value / torch.where(there, fixed, 1), 0)
    share = carrier * ratio
    return value + (share - share.detach())
