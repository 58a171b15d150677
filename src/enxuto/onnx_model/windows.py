"""How the kernel of a convolution or pool moves over its input, with ONNX's defaults filled in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import NodeProto

from enxuto.errors import ModelError
from enxuto.onnx_model.attributes import has_attribute, ints_attribute, text_attribute

__all__ = ["Window", "window_of"]


@dataclass(frozen=True)
class Window:
    """A kernel's sizes, strides and dilations by spatial axis.

    pads: the explicit ones, at the starts of all axes, then at the ends. auto_pad: `SAME_UPPER` and `SAME_LOWER` take
    the place of `pads`, and depend on the input's size (`padding`); `NOTSET` and `VALID` do not.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    auto_pad: str = "NOTSET"

    @property
    def extents(self) -> tuple[int, ...]:
        """How many positions of the input the dilated kernel spans, by axis."""
        return tuple((size - 1) * step + 1 for size, step in zip(self.kernel, self.dilations, strict=True))

    @property
    def is_same(self) -> bool:
        """Whether the padding makes an output of ⌈input / stride⌉."""
        return self.auto_pad in ("SAME_UPPER", "SAME_LOWER")

    def padding(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Return the zeros at the starts of all axes, then at the ends, for an input with these spatial sizes.

        An odd zero of SAME goes to the end (`SAME_UPPER`) or to the start (`SAME_LOWER`). For a transposed
        convolution `sizes` are those of its output.
        """
        if not self.is_same:
            return self.pads
        totals = [
            max(0, (-(-size // stride) - 1) * stride + extent - size)
            for size, stride, extent in zip(sizes, self.strides, self.extents, strict=True)
        ]
        small = [total // 2 for total in totals]
        large = [total - part for total, part in zip(totals, small, strict=True)]
        return (*small, *large) if self.auto_pad == "SAME_UPPER" else (*large, *small)


def window_of(node: NodeProto, kernel: Sequence[int] | None = None) -> Window:
    """Return the window of a convolution whose weight has these spatial sizes, or of a pool, which names its own.

    Raises `ModelError` for a pool that does not.
    """
    if kernel is None and not has_attribute(node, "kernel_shape"):
        raise ModelError(f"{node.op_type} {', '.join(node.output)!r} has no kernel_shape", code="E031")
    sides = ints_attribute(node, "kernel_shape") if kernel is None else tuple(kernel)
    ones = (1,) * len(sides)
    return Window(
        kernel=sides,
        strides=ints_attribute(node, "strides") or ones,
        dilations=ints_attribute(node, "dilations") or ones,
        pads=ints_attribute(node, "pads") or (0,) * (2 * len(sides)),
        auto_pad=text_attribute(node, "auto_pad", "NOTSET"),
    )
