"""Values that come from the images and carry no gradient: masks, positions of maxima, detached copies.

Autograd takes such a value for a constant. Where a network uses one, as in x·(x > 0) or x / max(x).detach(),
its gradient is not a multiplier: contributions would miss the difference that they explain. `DetachedValues` follows
these values by the memory they lie in, through everything computed from them, and knows which function made each.

What a network reads out of its activations as Python numbers (`item`, a condition) leaves no trace at all; which
functions do so is listed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.overrides import resolve_name

from enxuto.errors import ModelError
from enxuto.prune.attribution.rules import base_name, refusal

__all__ = ["DetachedValues", "leaves_torch", "reads_number", "tensors_in", "watch_writes"]

_READ = frozenset({
    "item", "tolist", "__bool__", "__float__", "__int__", "__index__", "__complex__", "__contains__", "equal",
    "allclose", "is_nonzero",
})  # fmt: skip
_LEFT = frozenset({"numpy", "__array__", "__dlpack__"})
_SHAPE_ONLY = frozenset({
    "zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "randint_like", "new_zeros",
    "new_ones", "new_empty", "new_full", "new_tensor", "new_empty_strided",
})  # fmt: skip
_SHAPE_OF_SECOND = frozenset({"view_as", "expand_as", "reshape_as", "type_as", "to"})


def reads_number(func: Callable[..., Any]) -> bool:
    """Whether a function makes a Python number, or a list of them, of a tensor's values."""
    return getattr(func, "__name__", "") in _READ


def leaves_torch(func: Callable[..., Any]) -> bool:
    """Whether a function gives a tensor's values to another library."""
    return getattr(func, "__name__", "") in _LEFT


def tensors_in(values: Iterable[object]) -> list[Tensor]:
    """All tensors among arguments or results, lists, tuples and mappings included."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += tensors_in(value)
        elif isinstance(value, dict):
            found += tensors_in(value.values())
    return found


def watch_writes(tensors: Sequence[Tensor]) -> Callable[[], list[Tensor]]:
    """Remember these tensors' versions; the returned function gives those that were overwritten since."""
    before = [_version(tensor) for tensor in tensors]

    def overwritten() -> list[Tensor]:
        return [tensor for tensor, was in zip(tensors, before, strict=True) if _version(tensor) != was]

    return overwritten


@dataclass(frozen=True)
class _Origin:
    """func: what cut the value off. shared: whether it lies in an activation's own memory."""

    storage: Any
    func: Callable[..., Any]
    shared: bool


class DetachedValues:
    """The values of one run that depend on the images without a gradient."""

    def __init__(self) -> None:
        self._origins: dict[int, _Origin] = {}

    def find_in(self, values: Iterable[object]) -> list[Tensor]:
        """The cut-off tensors among arguments."""
        if not self._origins:
            return []
        return [
            value
            for value in tensors_in(values)
            if not value.requires_grad and self._origin(value) is not None
        ]

    def mark(self, func: Callable[..., Any], results: Iterable[object], sources: Sequence[Tensor]) -> None:
        """Note what a function of `sources` gave: all tensors among `results` that have no gradient."""
        if base_name(func) in _SHAPE_ONLY and len(sources) == 1:
            return
        origin = next((known for source in sources if (known := self._origin(source)) is not None), None)
        memory = {_storage(source)._cdata for source in sources if source.requires_grad}
        for result in tensors_in(results):
            if not result.requires_grad:
                storage = _storage(result)
                self._origins.setdefault(
                    storage._cdata,
                    _Origin(storage, origin.func if origin else func, storage._cdata in memory),
                )

    def check(self, func: Callable[..., Any], args: Sequence[object], cut: Sequence[Tensor]) -> None:
        """Refuse a function that combines cut-off values with activations; one that reads shapes alone may."""
        name = base_name(func)
        if name in _SHAPE_OF_SECOND and args and all(args[0] is not tensor for tensor in cut):
            return
        raise self.error(cut[0], f"{resolve_name(func) or name} uses it")

    def check_write(self, func: Callable[..., Any], overwritten: Iterable[Tensor]) -> None:
        """Refuse writing into the memory of an activation behind its gradient."""
        for tensor in overwritten:
            origin = self._origin(tensor)
            if origin is not None and origin.shared:
                raise self.error(
                    tensor, f"{resolve_name(func) or base_name(func)} overwrites the activation by it"
                )

    def error(self, tensor: Tensor, use: str) -> ModelError:
        """The error for a cut-off value, by the name of what cut it off."""
        origin = self._origin(tensor)
        assert origin is not None
        return refusal(
            origin.func,
            f"its result depends on the images and has no gradient (a mask, a choice of positions, a detached value), "
            f"and {use}; write it with functions listed in enxuto.prune.attribution.rules, such as relu",
        )

    def _origin(self, tensor: Tensor) -> _Origin | None:
        return self._origins.get(_storage(tensor)._cdata)


def _storage(tensor: Tensor) -> Any:
    """What a tensor's values lie in; views share it. It is kept as long as its address is used."""
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):  # sparse tensors have none
        return _NoStorage(tensor)


class _NoStorage:
    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self._cdata = tensor, -id(tensor)


def _version(tensor: Tensor) -> int:
    try:
        return tensor._version
    except RuntimeError:  # tensors of inference mode do not count
        return 0
