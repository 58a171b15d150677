"""Names of channels: which must be removed together, which must stay, and which counts must stay equal.

A name is a small integer. `NameBook` hands names out and holds what the operators of a network demand of them:
ties (union–find: channels that meet in a sum go together), fixings (a channel that must stay, and why), balances
(parts that must lose equally many channels, as the groups of a grouped convolution do), and which rows and columns
of which parameter carry which name. Not here: operators (`rules`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["Balance", "NameBook", "Site", "core", "spread", "varies"]


@dataclass(frozen=True)
class Balance:
    """Parts (names, with repetition) that must all lose equally many channels; `module_path` is the module."""

    module_path: str
    parts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Site:
    """A reshape, split or slice along channels, whose sizes may be fixed in the module's code; to be tried."""

    module_path: str
    operator: str
    names: frozenset[int]


class NameBook:
    """Everything that is known about the channels of one network while it is followed."""

    def __init__(self) -> None:
        self.balances: list[Balance] = []
        self.sites: list[Site] = []
        self.bindings: dict[tuple[str, int], Tensor] = {}
        self.grouped: dict[str, tuple[int, Tensor]] = {}
        self.producers: dict[str, tuple[str, int]] = {}
        self.pads: dict[str, tuple[Tensor, Tensor]] = {}
        self.shuffles: dict[str, tuple[Tensor, tuple[int, ...]]] = {}
        self.depthwise: set[str] = set()
        self._parents = np.zeros(0, dtype=np.int64)
        self._count = 0
        self._reasons: dict[int, str] = {}

    def new_names(self, count: int) -> Tensor:
        """`count` names that nothing is known of."""
        first, self._count = self._count, self._count + count
        if self._count > self._parents.size:
            grown = np.arange(max(self._count, 2 * self._parents.size), dtype=np.int64)
            grown[: self._parents.size] = self._parents
            self._parents = grown
        return torch.arange(first, self._count)

    def roots(self, names: Tensor) -> Tensor:
        """The name that stands for all that are tied to it, for each of `names`; same shape."""
        small = core(names)
        found = self._parents[small.numpy()]
        while True:
            above = self._parents[found]
            if np.array_equal(above, found):
                return torch.from_numpy(np.ascontiguousarray(found)).expand(names.shape)
            found = above

    def tie(self, first: Tensor, second: Tensor) -> None:
        """Tie names element by element; the shapes broadcast."""
        shape = np.broadcast_shapes(first.shape, second.shape)
        one, other = self.roots(first).expand(shape), self.roots(second).expand(shape)
        one, other = _common_core(one, other)
        pairs = np.stack((one.reshape(-1).numpy(), other.reshape(-1).numpy()))
        pairs = np.unique(pairs[:, pairs[0] != pairs[1]], axis=1)
        for left, right in pairs.T.tolist():
            low, high = sorted((self._root(left), self._root(right)))
            self._parents[high] = low

    def tie_all(self, names: Tensor) -> None:
        """Tie all of `names` to each other."""
        flat = core(names).reshape(-1)
        if flat.numel():
            self.tie(flat, flat[:1])

    def fix(self, names: Tensor, reason: str) -> None:
        """These channels must stay; the first reason given for a name is the one reported."""
        for name in torch.unique(core(names)).tolist():
            self._reasons.setdefault(name, reason)

    def new_fixed_names(self, count: Sequence[int], reason: str) -> Tensor:
        """One new name over the whole shape, for values that belong to no channel that could go."""
        names = self.new_names(1)
        self.fix(names, reason)
        return names.expand(tuple(count))

    def fixed_roots(self) -> dict[int, str]:
        """Root → reason of everything that must stay, by itself or by a tie."""
        found: dict[int, str] = {}
        for name, reason in self._reasons.items():
            found.setdefault(self._root(name), reason)
        return found

    def reason(self, name: int) -> str | None:
        """Why this very name must stay; None where nothing but a tie says so."""
        return self._reasons.get(name)

    def balance(self, parts: Sequence[Tensor], module_path: str) -> None:
        """These parts must lose equally many channels."""
        self.balances.append(Balance(module_path, tuple(tuple(part.tolist()) for part in parts)))

    def add_site(self, module_path: str, operator: str, names: Tensor) -> None:
        """Remember an operator whose sizes may be written in the module's code."""
        self.sites.append(Site(module_path, operator, frozenset(torch.unique(core(names)).tolist())))

    def bind(self, tensor: str, dim: int, names: Tensor) -> None:
        """The slices of parameter or buffer `tensor` along `dim` belong to `names`, one each."""
        known = self.bindings.setdefault((tensor, dim), names)
        if known is not names:
            self.tie(known, names)

    def rows(self, tensor: str, dim: int, count: int) -> Tensor:
        """The names of a layer's filters: new ones at its first call, the same at every later one."""
        known = self.bindings.get((tensor, dim))
        if known is None:
            known = self.bindings[tensor, dim] = self.new_names(count)
        return known

    def _root(self, name: int) -> int:
        while self._parents[name] != name:
            name = int(self._parents[name])
        return name


def core(names: Tensor) -> Tensor:
    """The same names with each axis that only repeats them (stride 0) cut to size 1."""
    for axis, (size, stride) in enumerate(zip(names.shape, names.stride(), strict=True)):
        if size > 1 and stride == 0:
            names = names.narrow(axis, 0, 1)
    return names


def _common_core(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Two tensors of one shape, each axis that repeats both cut to size 1."""
    for axis, size in enumerate(one.shape):
        if size > 1 and one.stride(axis) == 0 and other.stride(axis) == 0:
            one, other = one.narrow(axis, 0, 1), other.narrow(axis, 0, 1)
    return one, other


def varies(names: Tensor, axis: int) -> bool:
    """Whether the names change along an axis."""
    if names.shape[axis] < 2 or names.stride(axis) == 0:
        return False
    small = core(names)
    return bool((small != small.narrow(axis, 0, 1)).any())


def spread(names: Tensor, axis: int, shape: Sequence[int]) -> Tensor:
    """Names (count) laid along `axis` of a tensor of `shape`, repeated along all others."""
    view = [1] * len(shape)
    view[axis] = names.shape[0]
    return names.reshape(view).expand(tuple(shape))
