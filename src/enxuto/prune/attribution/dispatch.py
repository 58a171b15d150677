"""Sends every function of a running network to the rule of its kind.

`Dispatch` stands between a network and torch; a set of `Rules` says what an attribution method does with layers,
products, element-wise functions and pools. Functions built of others are taken apart here: a quotient a/b is the
product of a and 1/b, local response normalisation the product of x and its scale. What depends on the images
without a gradient is followed too (`cuts`): a network that uses it is refused by every method.
"""

from __future__ import annotations

import inspect
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from enxuto.prune.attribution.cuts import (
    DetachedValues,
    leaves_torch,
    reads_number,
    tensors_in,
    watch_writes,
)
from enxuto.prune.attribution.layers import Network
from enxuto.prune.attribution.rules import Kind, activations, base_name, is_in_place, kind_of, refusal

__all__ = ["Dispatch", "Rules"]

_SECOND = ("other", "mat2", "vec", "vec2", "exponent")  # keywords by which a second tensor is given


class Rules(Protocol):
    """What an attribution method does at each kind of function; each method returns the value for the network."""

    def layer(self, name: str | None, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Apply fixed weights to an activation; `name` is the layer's, None for a product that is no layer."""

    def batch_norm(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Scale and shift by fixed statistics."""

    def elementwise(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Apply a function to each element of the first argument."""

    def product(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Multiply two activations."""

    def max_pool(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Take the largest element of each window."""

    def read(self, func: Any, value: Any) -> None:
        """Learn a number that the network read out of its activations, which may decide its way."""


class Dispatch(TorchFunctionMode):
    """While it is entered, torch functions on activations go by `rules`; one without a rule is a `ModelError`."""

    def __init__(self, network: Network, rules: Rules) -> None:
        super().__init__()
        self.network = network
        self.rules = rules
        self._detached = DetachedValues()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a torch function by the rule of its kind."""
        kwargs = dict(kwargs or {})
        if "input" in kwargs:
            args = (kwargs.pop("input"), *args)
        if len(args) == 1:
            args = (*args, *(kwargs.pop(name) for name in _SECOND if name in kwargs))
        values = [*args, *kwargs.values()]
        depends, cut = activations(values), self._detached.find_in(values)
        if not depends and not cut:
            return func(*args, **kwargs)
        if reads_number(func):
            value = func(*args, **kwargs)
            self.rules.read(func, value)
            return value
        if leaves_torch(func):
            raise refusal(func, "its values leave torch, where they cannot be followed")
        overwritten = watch_writes(tensors_in(values))
        if depends and not cut and torch.is_grad_enabled():
            result = self._apply_rule(func, args, kwargs, depends)
        else:
            result = func(*args, **kwargs)
            if depends and cut and (overwritten() or activations([result])):
                self._detached.check(func, args, cut)
            elif depends and not cut and activations(overwritten()):
                raise refusal(func, "it overwrites an activation where gradients are off")
            self._detached.check_write(func, overwritten())
        self._detached.mark(func, [result, *overwritten()], [*depends, *cut])
        return result

    def check_scores(self, scores: Tensor) -> None:
        """Refuse scores that come from the images and have no gradient at all."""
        for tensor in self._detached.find_in([scores]):
            raise self._detached.error(tensor, "the scores are made of it")

    def _apply_rule(self, func: Any, args: Any, kwargs: Any, depends: list[Tensor]) -> Any:
        """Call a function of activations alone by the rule of its kind."""
        if kwargs.get("out") is not None:
            raise refusal(func, "it writes into a tensor made before (out=)")
        match kind_of(func):
            case Kind.AFFINE:
                return func(*args, **kwargs)
            case Kind.PRODUCT if len(depends) > 1:
                if len(depends) != len(activations(args[:2])):
                    raise refusal(func, "more than its first two tensors depend on the images")
                return self.rules.product(func, args, kwargs)
            case Kind.PRODUCT:
                return self.rules.layer(self.network.layer_of_call(func, args, kwargs), func, args, kwargs)
            case Kind.QUOTIENT if len(args) != 2 or kwargs.get("rounding_mode") is not None:
                raise refusal(func, "a quotient is known only as a / b, not rounded")
            case Kind.QUOTIENT if activations(args[1:]):
                return self._quotient(func, args)
            case Kind.QUOTIENT:
                return func(*args, **kwargs)
            case Kind.ELEMENTWISE if len(depends) == 1 and depends[0] is args[0]:
                result = self.rules.elementwise(func, args, kwargs)
                if result.shape != args[0].shape:
                    raise refusal(func, "its limits or slopes are of another shape than the activation")
                return result
            case Kind.ELEMENTWISE:
                raise refusal(func, "its limits or slopes depend on the images")
            case Kind.MAX_POOL:
                return self.rules.max_pool(func, args, kwargs)
            case Kind.BATCH_NORM:
                if len(depends) > 1:
                    raise refusal(func, "its parameters depend on the images")
                _check_switched_off(func, args, kwargs, "it takes its statistics from the batch")
                return self.rules.batch_norm(func, args, kwargs)
            case Kind.DROPOUT:
                _check_switched_off(func, args, kwargs, "it stays on in evaluation mode")
                return func(*args, **kwargs)
            case Kind.RESPONSE_NORM:
                return self._response_norm(*args, **kwargs)
            case None:
                return _call_unlisted(func, args, kwargs)

    def _quotient(self, func: Any, args: Any) -> Tensor:
        """a/b = a·(1/b), with 1/b element by element."""
        if is_in_place(func):
            raise refusal(func, "a quotient by an activation is known only as a / b")
        inverse = self.rules.elementwise(torch.reciprocal, args[1:], {})
        if activations(args[:1]):
            return self.rules.product(torch.mul, (args[0], inverse), {})
        return self.rules.layer(None, torch.mul, (inverse, args[0]), {})

    def _response_norm(
        self, x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
    ) -> Tensor:
        """x·s with s = (k + α·mean of x² over neighbouring channels)^−β: a square, a mean, a power, a product."""
        squares = self.rules.elementwise(torch.square, (x,), {})
        columns = squares.flatten(2).transpose(1, 2)  # (batch, places, channels)
        means = F.avg_pool1d(F.pad(columns, (size // 2, (size - 1) // 2)), size, 1)
        base = k + alpha * means.transpose(1, 2).reshape(x.shape)
        scale = self.rules.elementwise(torch.pow, (base, -beta), {})
        return self.rules.product(torch.mul, (x, scale), {})


def _call_unlisted(func: Any, args: Any, kwargs: Any) -> Any:
    """Call what has no kind: shapes and properties pass, anything that depends on the images does not."""
    result = func(*args, **kwargs)
    if base_name(func) != "get" and activations([result]):
        raise refusal(func)
    return result


def _check_switched_off(func: Any, args: Any, kwargs: Any, reason: str) -> None:
    """Refuse a function whose argument `training` is true, or which has none that can be read."""
    try:
        given = inspect.signature(func).bind(*args, **kwargs)
    except (TypeError, ValueError):
        raise refusal(
            func, "whether it is in evaluation mode cannot be seen; call torch.nn.functional's"
        ) from None
    given.apply_defaults()
    if given.arguments.get("training", True):
        raise refusal(func, reason)
