"""Small modules for what PyTorch has no module for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Apply", "Crop", "SamePadding", "spatial"]


class Apply(nn.Module):
    """A function of the inputs, with settings that stay. `numbers`: operands that are plain numbers, by position."""

    def __init__(
        self,
        function: Callable[..., Any],
        settings: Mapping[str, Any] | None = None,
        numbers: Mapping[int, Any] | None = None,
    ) -> None:
        super().__init__()
        self.function = function
        self.settings = dict(settings or {})
        self.numbers = dict(numbers or {})

    def forward(self, *inputs: Any) -> Any:
        """Call the function."""
        operands = list(inputs)
        for position, number in sorted(self.numbers.items()):
            operands.insert(position, number)
        return self.function(*operands, **self.settings)

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        parts = [getattr(self.function, "__name__", str(self.function))]
        parts += [f"{name}={value}" for name, value in self.settings.items()]
        return ", ".join([*parts, *map(str, self.numbers.values())])


class SamePadding(nn.Module):
    """Pads the last axes so that a window of `stride` gives ⌈size / stride⌉ positions; an odd zero goes to the end.

    upper: whether to the end (`SAME_UPPER`) or to the start (`SAME_LOWER`).
    """

    def __init__(
        self, extents: Sequence[int], strides: Sequence[int], *, upper: bool, value: float = 0.0
    ) -> None:
        super().__init__()
        self.extents, self.strides = tuple(extents), tuple(strides)
        self.upper, self.value = upper, value

    def forward(self, x: Tensor) -> Tensor:
        """Return x padded."""
        margins: list[int] = []
        sizes = x.shape[-len(self.extents) :]
        for size, extent, stride in reversed(list(zip(sizes, self.extents, self.strides, strict=True))):
            total = max(0, (-(-size // stride) - 1) * stride + extent - size)
            small = total // 2
            margins += [small, total - small] if self.upper else [total - small, small]
        return F.pad(x, margins, value=self.value)

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        return f"extents={self.extents}, strides={self.strides}, {'upper' if self.upper else 'lower'}"


class Crop(nn.Module):
    """Cuts so many positions off the starts and the ends of the last axes."""

    def __init__(self, starts: Sequence[int], ends: Sequence[int]) -> None:
        super().__init__()
        self.starts, self.ends = tuple(starts), tuple(ends)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is left."""
        first = x.dim() - len(self.starts)
        for axis, (start, end) in enumerate(zip(self.starts, self.ends, strict=True), first):
            x = x.narrow(axis, start, x.shape[axis] - start - end)
        return x

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        return f"starts={self.starts}, ends={self.ends}"


def spatial(kind: str, rank: int) -> type[nn.Module]:
    """PyTorch's module for so many spatial axes, such as `nn.Conv2d` for `Conv` and 2."""
    found: type[nn.Module] = getattr(nn, f"{kind}{rank}d")
    return found
