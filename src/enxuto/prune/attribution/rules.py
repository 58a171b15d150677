"""What kind of function each torch function is to an attribution method: affine, product, element by element, pool.

Rules hang on the functions that a network calls, not on its modules, so it is all the same whether an activation is
a module, a function, a method, in place, or used twice. The table goes by the functions' own names; a name in it
stands for `torch.relu`, `Tensor.relu`, `Tensor.relu_` and `torch.nn.functional.relu` alike.

A function that is not listed and gives something that depends on the images is refused by name (`refusal`): a plain
gradient in its place would look like an attribution and be none. So is one that goes on with what depends on the
images and has no gradient, a mask say (`cuts`). Normalisation over the data itself (layer norm, group
norm), softmax and maxima other than pools are not listed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Any

from torch import Tensor
from torch.overrides import resolve_name

from enxuto.errors import ModelError

__all__ = ["Kind", "activations", "base_name", "is_in_place", "kind_of", "refusal"]


class Kind(Enum):
    """How the value of a function depends on the activations among its arguments."""

    AFFINE = auto()
    """Affine in all activations together: sums, averages, moves of data."""
    PRODUCT = auto()
    """Affine in each of its first two tensors for itself: products and, with fixed weights, layers."""
    QUOTIENT = auto()
    """First tensor by second."""
    ELEMENTWISE = auto()
    """Each element of the result depends on the element of the first tensor in its place."""
    MAX_POOL = auto()
    """The largest element of each window."""
    BATCH_NORM = auto()
    """Affine with fixed statistics, refused with those of the batch."""
    RESPONSE_NORM = auto()
    """Local response normalisation over neighbouring channels."""
    DROPOUT = auto()
    """The identity where it is off, refused where it is not."""


_NAMES: Mapping[Kind, str] = {
    Kind.AFFINE: """
        add sub subtract rsub neg negative __radd__ __rsub__ cat concat concatenate stack hstack vstack dstack
        view view_as reshape flatten unflatten ravel squeeze unsqueeze permute transpose swapaxes swapdims t movedim
        moveaxis expand expand_as repeat tile chunk split split_with_sizes tensor_split unbind getitem narrow select
        index_select take_along_dim gather unfold fold as_strided contiguous clone to type float double cpu cuda
        alias positive pad constant_pad_nd roll flip rot90 diagonal pixel_shuffle pixel_unshuffle channel_shuffle
        native_channel_shuffle sum mean nansum cumsum avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d
        adaptive_avg_pool2d adaptive_avg_pool3d interpolate upsample masked_fill get requires_grad_ identity
        """,
    Kind.PRODUCT: """
        mul multiply __rmul__ matmul __rmatmul__ bmm mm mv dot linear conv1d conv2d conv3d conv_transpose1d
        conv_transpose2d conv_transpose3d
        """,
    Kind.QUOTIENT: "div divide true_divide truediv",
    Kind.ELEMENTWISE: """
        relu relu6 threshold hardtanh clamp clip clamp_min clamp_max leaky_relu prelu rrelu elu celu selu gelu silu mish
        softplus softsign hardswish hardsigmoid hardshrink softshrink tanhshrink sigmoid logsigmoid tanh exp expm1 log
        log1p sqrt rsqrt square pow abs absolute reciprocal __rdiv__ __rtruediv__ sin cos atan arctan erf
        """,
    Kind.MAX_POOL: """
        max_pool1d max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
        """,
    Kind.BATCH_NORM: "batch_norm",
    Kind.RESPONSE_NORM: "local_response_norm",
    Kind.DROPOUT: "dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout",
}
_KINDS: Mapping[str, Kind] = MappingProxyType(
    {name: kind for kind, names in _NAMES.items() for name in names.split()}
)


def base_name(func: Callable[..., Any]) -> str:
    """Return a function's name without what marks it as in place or as an operator: `relu` for `Tensor.relu_`."""
    name = str(getattr(func, "__name__", ""))
    if name in _KINDS:
        return name
    if name.startswith("__i") and name.endswith("__") and name[3:-2] in _KINDS:
        return name[3:-2]
    return name.strip("_")


def is_in_place(func: Callable[..., Any]) -> bool:
    """Whether the name says that the first argument is overwritten (`mul_`, `__imul__`)."""
    name = str(getattr(func, "__name__", ""))
    return name.startswith("__i") if name.endswith("__") else name.endswith("_")


def kind_of(func: Callable[..., Any]) -> Kind | None:
    """Return what kind of function it is; None where the table does not have it."""
    return _KINDS.get(base_name(func))


def activations(values: Iterable[object]) -> list[Tensor]:
    """Return the tensors among arguments or results, lists included, that depend on the images.

    Parameters are detached while attributions are made, so a tensor requires a gradient only if images are in it.
    """
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found += [value] if value.requires_grad else []
        elif isinstance(value, (list, tuple)):
            found += activations(value)
    return found


def refusal(func: Callable[..., Any], reason: str = "") -> ModelError:
    """Return the error for a function that no rule fits."""
    reason = (
        reason or "no rule is known for it; attribute the scores before it, or write it with functions listed"
    )
    where = "" if reason else " in enxuto.prune.attribution.rules"
    return ModelError(
        f"attribution cannot pass {resolve_name(func) or base_name(func)}: {reason}{where}", code="E032"
    )
