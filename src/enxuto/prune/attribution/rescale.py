"""DeepLIFT's rules, function by function: Σ multipliers · differences = difference of the result.

`ReferenceRules` run the references and keep what they look like before each function that is not affine, and after
each layer. `SampleRules` run the images, meet the same functions in the same order, and build a graph whose
backward pass carries multipliers, with Δ for sample − reference:

- affine: the gradient is the multiplier;
- element by element: Δy/Δx; the derivative where Δx is lost in rounding;
- max pool: only the element that holds the larger of the two maxima gets anything, Δy/Δx of it. If the sample's
  maximum is larger, its place i has Δx_i = y − r_i ≥ y − y₀ = Δy > 0, and the other way round alike: the multiplier
  lies in 0…1 and Δy is given away whole. (The same as the rule of the authors' successors in SHAP.)
- product of two activations a·b: (b + b₀)/2 for a and (a + a₀)/2 for b, as Δ(ab) = Δa·(b + b₀)/2 + Δb·(a + a₀)/2.

Layers hand their contributions out in the backward pass through hooks on the graph's own tensors, gone with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from enxuto.errors import ModelError
from enxuto.prune.attribution.rules import base_name, is_in_place, refusal

__all__ = ["MAX_POOLS", "ReferenceRules", "ReferenceValues", "SampleRules"]

# With `return_indices`; torch's own functions of the same names do not have it.
MAX_POOLS: Mapping[str, tuple[Callable[..., Any], int]] = MappingProxyType(
    {
        "max_pool1d": (F.max_pool1d, 1),
        "max_pool2d": (F.max_pool2d, 2),
        "max_pool3d": (F.max_pool3d, 3),
        "adaptive_max_pool1d": (F.adaptive_max_pool1d, 1),
        "adaptive_max_pool2d": (F.adaptive_max_pool2d, 2),
        "adaptive_max_pool3d": (F.adaptive_max_pool3d, 3),
    }
)


@dataclass(frozen=True)
class ReferenceValues:
    """What the references looked like at a function: its name and copies of the values it met there.

    read: where the function made a Python number, that number.
    """

    function: str
    values: tuple[Tensor, ...]
    read: object = None


class ReferenceRules:
    """Calls everything as it is and keeps `recorded`; copies, because networks overwrite activations in place."""

    def __init__(self) -> None:
        self.recorded: list[ReferenceValues] = []

    def layer(self, name: str | None, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Keep the output of a layer."""
        output: Tensor = func(*args, **kwargs)
        if name is not None:
            self._keep(name, output)
        return output

    def batch_norm(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Affine: nothing to keep."""
        output: Tensor = func(*args, **kwargs)
        return output

    def elementwise(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Keep the input."""
        self._keep(base_name(func), args[0])
        output: Tensor = func(*args, **kwargs)
        return output

    def product(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Keep both factors."""
        self._keep(base_name(func), *args[:2])
        output: Tensor = func(*args, **kwargs)
        return output

    def max_pool(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Keep the input."""
        return self.elementwise(func, args, kwargs)

    def read(self, func: Any, value: Any) -> None:
        """Keep the number."""
        self.recorded.append(ReferenceValues(base_name(func), (), value))

    def _keep(self, function: str, *values: Tensor) -> None:
        self.recorded.append(ReferenceValues(function, tuple(value.detach().clone() for value in values)))


class SampleRules:
    """Builds a graph whose gradients are multipliers.

    The backward pass calls `on_contribution(layer, use, contributions)` for each call of each layer.
    """

    def __init__(
        self, recorded: Iterable[ReferenceValues], on_contribution: Callable[[str, int, Tensor], None]
    ) -> None:
        self._recorded = iter(recorded)
        self._on_contribution = on_contribution
        self.uses: dict[str, int] = {}

    def layer(self, name: str | None, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Affine; a hook on the output hands its contributions out."""
        output: Tensor = func(*args, **kwargs)
        if name is not None:
            use = self.uses.get(name, 0)
            self.uses[name] = use + 1
            (reference,) = self._recall(name).values
            change = output.detach() - reference
            output.register_hook(lambda multiplier: self._on_contribution(name, use, multiplier * change))  # type: ignore[no-untyped-call]
        return output

    def batch_norm(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Affine."""
        output: Tensor = func(*args, **kwargs)
        return output

    def elementwise(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Δy/Δx. The function gets copies, so that one that works in place does not show."""
        x, rest = args[0], args[1:]
        (reference,) = self._recall(base_name(func)).values
        copy = x.detach().clone()
        version = copy._version

        def call(values: Tensor) -> Tensor:
            result: Tensor = func(values, *rest, **kwargs)
            return result

        def rescale(x: Tensor) -> tuple[Tensor, Tensor]:
            y = call(copy)
            change = x - reference
            return y, _secant(x, change, y - call(reference), call)

        output: Tensor = _Rescale.apply(x, rescale)  # type: ignore[no-untyped-call]
        return _write_back(x, output) if copy._version != version else output

    def product(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Each factor by the mean of the other's sample and reference."""
        a, b, *rest = args
        a_reference, b_reference = self._recall(base_name(func)).values
        overwrites = is_in_place(func)
        if overwrites and base_name(func) not in ("mul", "multiply"):
            raise refusal(func, "a product in place is known only element by element")
        call = torch.mul if overwrites else func
        value = call(a.detach(), b.detach(), *rest, **kwargs)
        carrier = call(a, (b.detach() + b_reference) / 2, *rest, **kwargs)
        carrier = carrier + call((a.detach() + a_reference) / 2, b, *rest, **kwargs)
        output: Tensor = value + (carrier - carrier.detach())
        return _write_back(a, output) if overwrites else output

    def max_pool(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Give all of Δy to the element that holds the larger maximum."""
        if kwargs.pop("return_indices", False):
            raise refusal(func, "its indices depend on the images")
        pool, dimensions = MAX_POOLS[base_name(func)]
        (reference,) = self._recall(base_name(func)).values
        x, *rest = args
        if len(rest) >= (2 if base_name(func).startswith("adaptive") else 6):
            raise refusal(func, "give return_indices by its name")
        output: Tensor = _MaxPool.apply(  # type: ignore[no-untyped-call]
            x, reference, lambda values: pool(values, *rest, **kwargs, return_indices=True), dimensions
        )
        return output

    def read(self, func: Any, value: Any) -> None:
        """The number must be that of the references: then it is no change that has to be explained."""
        if self._recall(base_name(func)).read != value:
            raise refusal(
                func,
                "the number that it reads differs between images and references: the network's way depends on the "
                "values",
            )

    def _recall(self, function: str) -> ReferenceValues:
        """Return what the references looked like here; sample and references must take the same way."""
        recorded = next(self._recorded, None)
        if recorded is None or recorded.function != function:
            raise ModelError(
                f"attribution: an image comes to {function} where its reference comes to "
                f"{'the end' if recorded is None else recorded.function}: the network's way depends on the values",
                code="E032",
            )
        return recorded


class _Rescale(torch.autograd.Function):
    """The value and, in the backward pass, the multiplier that `rescale` says."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rescale: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
        value, multiplier = rescale(x)
        ctx.save_for_backward(multiplier)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (multiplier,) = ctx.saved_tensors
        return grads[0] * multiplier, None


class _MaxPool(torch.autograd.Function):
    """A max pool that gives each window's change to one element (see the head of the file)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, reference: Tensor, pool: Callable[[Tensor], Any], dimensions: int
    ) -> Tensor:
        value, position = pool(x)
        value_reference, place_reference = pool(reference)
        chosen = torch.where(value >= value_reference, position, place_reference).flatten(-dimensions)
        difference = (x - reference).flatten(-dimensions).gather(-1, chosen)
        change = (value - value_reference).flatten(-dimensions)
        multiplier = torch.where(difference == 0, 1, change / difference)
        ctx.save_for_backward(chosen, multiplier)
        ctx.shape, ctx.dimensions = x.shape, dimensions
        result: Tensor = value
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        chosen, multiplier = ctx.saved_tensors
        given = grads[0].flatten(-ctx.dimensions) * multiplier
        planes = given.new_zeros(ctx.shape).flatten(-ctx.dimensions)
        return planes.scatter_add_(-1, chosen, given).view(ctx.shape), None, None, None


def _secant(x: Tensor, change: Tensor, result: Tensor, call: Callable[[Tensor], Tensor]) -> Tensor:
    """Δy/Δx; the derivative at x where |Δx| is within a few roundings of |x|, both 0 included."""
    lost = change.abs() <= 8 * torch.finfo(x.dtype).eps * x.abs()
    if not bool(lost.any()):
        return result / change
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(call(leaf.clone()).sum(), leaf)
    # A slope that is infinite (a root at 0) has no difference to multiply there.
    slope = torch.nan_to_num(slope, posinf=0.0, neginf=0.0)
    return torch.where(lost, slope, result / change)


def _write_back(target: Tensor, output: Tensor) -> Tensor:
    """Overwrite `target`, as the function that was called would have, with a graph that goes by the rule."""
    return target.copy_(output)
