"""What a network calls, one after another: which layer is a summand of which sum, and where a batch norm follows.

Seen on a run with two images, as one alone may be treated otherwise: a constant that is added to it has its shape.
Calls are numbered, so that a later run of the same network knows each of them again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from enxuto.prune.attribution.layers import Network, filter_layers, run_detached
from enxuto.prune.attribution.rules import base_name

__all__ = ["LayerUse", "is_plain_sum", "layer_uses", "tensors_in"]

_SUMS = ("add", "iadd", "radd")


@dataclass(frozen=True)
class LayerUse:
    """The one call of a layer.

    norm: name of the batch norm that alone reads its output. total: the place among the sums of the one
    that alone reads it (or the norm's output), and `other`: the number of the call that computes the other summand,
    before this layer. None where there is none. low, high: what comes last of these is read by a clipping activation
    alone, and does not matter below `low` and above `high`.
    """

    call: int
    norm: str | None = None
    total: int | None = None
    other: int | None = None
    low: float = -math.inf
    high: float = math.inf


def layer_uses(model: nn.Module, images: Tensor) -> dict[str, LayerUse]:
    """The layers that are called once, in the order of their calls. images: (2 or 1, channels, height, width)"""
    with run_detached(model) as network, torch.no_grad():
        seen = CallSequence(network)
        with seen:
            network(images)
    found = {}
    for layer, calls in seen.layer_calls.items():
        if len(calls) == 1:
            found[layer] = seen.use_of(calls[0])
    return dict(sorted(found.items(), key=lambda item: item[1].call))


def tensors_in(values: Any) -> Iterator[Tensor]:
    """The tensors among arguments, those in lists too."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from tensors_in(value)


class CallSequence(TorchFunctionMode):
    """Numbers the calls of torch functions, and notes who reads whose output."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.layers = filter_layers(network.model)
        self.count = 0
        self.made_by: Any = WeakIdKeyDictionary()
        self.readers: dict[int, list[int]] = {}
        self.layer_calls: dict[str, list[int]] = {}
        self.norms: dict[int, str] = {}  # call → name
        self.means = {
            id(part.running_mean): name
            for name, part in network.model.named_modules()
            if isinstance(getattr(part, "running_mean", None), Tensor)
        }
        self.sums: list[tuple[int, int]] = []
        self.sum_calls: dict[int, int] = {}  # call → its place among the sums
        self.clips: dict[int, tuple[float, float]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function and note it."""
        kwargs = kwargs or {}
        number = self.count
        self.count += 1
        read = [self.made_by.get(one) for one in tensors_in([*args, *kwargs.values()])]
        layer = self.network.layer_of_call(func, args, kwargs)
        output = func(*args, **kwargs)
        if layer is not None:
            self.layer_calls.setdefault(layer, []).append(number)
        elif base_name(func) == "batch_norm" and len(args) > 1 and id(args[1]) in self.means:
            self.norms[number] = self.means[id(args[1])]
        elif is_plain_sum(func, args, kwargs):
            self.sum_calls[number] = len(self.sums)
            self.sums.append(tuple(-1 if call is None else call for call in read[:2]))  # type: ignore[arg-type]
        else:
            clip = _clip_of(func, args, kwargs)
            if clip is not None:
                self.clips[number] = clip
        made = list(tensors_in(output))
        for call in read if made else ():  # a size that is asked for is no value that is read
            if call is not None:
                self.readers.setdefault(call, []).append(number)
        for tensor in made:
            self.made_by[tensor] = number
        return output

    def use_of(self, call: int) -> LayerUse:
        """What becomes of the output of a layer's call."""
        last, norm = call, None
        readers = self.readers.get(last, [])
        if len(readers) == 1 and readers[0] in self.norms:
            last = readers[0]
            norm = self.norms[last]
            readers = self.readers.get(last, [])
        if len(readers) != 1 or readers[0] not in self.sum_calls:
            return self._clipped(LayerUse(call, norm), last)
        total = self.sum_calls[readers[0]]
        first, second = self.sums[total]
        other = second if first == last else first
        if first == second or not 0 <= other < call:
            return LayerUse(call, norm)
        return self._clipped(LayerUse(call, norm, total, other), readers[0])

    def _clipped(self, use: LayerUse, last: int) -> LayerUse:
        readers = self.readers.get(last, [])
        if len(readers) != 1 or readers[0] not in self.clips:
            return use
        low, high = self.clips[readers[0]]
        return replace(use, low=low, high=high)


def _clip_of(func: Any, args: Any, kwargs: Any) -> tuple[float, float] | None:
    """The bounds of a clipping activation."""
    name = base_name(func)
    if name == "relu":
        return 0.0, math.inf
    if name == "relu6":
        return 0.0, 6.0
    if name not in {"hardtanh", "clamp", "clip", "clamp_min"}:
        return None
    rest = list(args[1:])
    first = kwargs.get("min", kwargs.get("min_val", rest[0] if rest else None))
    second = kwargs.get("max", kwargs.get("max_val", rest[1] if len(rest) > 1 else None))
    if name == "hardtanh":
        first, second = -1.0 if first is None else first, 1.0 if second is None else second
    bounds = (-math.inf if first is None else first, math.inf if second is None else second)
    if not all(isinstance(bound, (int, float)) for bound in bounds):
        return None
    return float(bounds[0]), float(bounds[1])


def is_plain_sum(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether a torch function is a sum of two tensors of one shape."""
    return (
        base_name(func) in _SUMS
        and len(args) == 2
        and not kwargs
        and all(isinstance(one, Tensor) for one in args)
        and args[0].shape == args[1].shape
    )
