"""The layer table of a torch module: run it once without numbers and write down its operators.

The module is copied to torch's meta device, where tensors have shapes and no data, so VGG-19 costs as little as
LeNet-5. Operators are caught below the modules, so functional calls (add, cat, relu, …) are seen too. What runs
inside one leaf module becomes one row, unless it holds several convolutions or matrix products.

Left out: views (reshape, flatten, identity), which write nothing; modules whose path depends on the data.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from enxuto.errors import ModelError, error_reason
from enxuto.summary.cost import flops
from enxuto.summary.reach import Reach
from enxuto.summary.table import Layer, Summary, Volume
from enxuto.summary.torch_ops import (
    RECURRENT,
    VIEWS,
    Operation,
    is_uncounted,
    reach_behind,
    read_operation,
    recurrent_macs,
)

__all__ = ["summarize_module"]


def summarize_module(module: nn.Module, input_shape: Sequence[int], *, source: str = "module") -> Summary:
    """The layer table of `module` in inference for one image of `input_shape`, (channels, height, width).

    The module itself is neither changed nor run, and its weights are not copied. Raises `ModelError` where it
    cannot run on such an input or without data.
    """
    try:
        recorder = _record(module, input_shape, None)
    except Exception as error:  # noqa: BLE001 - whatever somebody's own `forward` raises
        try:  # a network of words or other numbers of things, which begins with an embedding
            recorder = _record(module, input_shape, torch.int64)
        except Exception:  # noqa: BLE001
            reason = error_reason(error)
            shape = "×".join(map(str, input_shape))
            raise ModelError(
                f"{source} does not run on an input of {shape}: {reason}", code="E034"
            ) from error
    return Summary(source, tuple(input_shape), tuple(recorder.rows), tuple(_remarks(module, recorder)))


def _record(module: nn.Module, input_shape: Sequence[int], dtype: torch.dtype | None) -> _Recorder:
    """Run a copy of the module on an image of this dtype, by default that of its weights."""
    ghost = _copy_to_meta(module)
    recorder = _Recorder(ghost, Reach.of_image(tuple(input_shape)[1:]))
    image = torch.empty(1, *input_shape, device="meta", dtype=dtype or _dtype(ghost))
    with torch.no_grad(), recorder.watching(image):
        ghost(image)
    return recorder


def _remarks(module: nn.Module, recorder: _Recorder) -> Iterator[str]:
    idle = sum(p.numel() for p in module.parameters()) - sum(layer.parameters for layer in recorder.rows)
    frozen = sum(p.numel() for p in module.parameters() if not p.requires_grad)
    if idle > 0:
        kind = "" if frozen else "trainable "
        yield f"{idle:,} {kind}parameters are in modules that do not run in inference"
    if frozen:
        yield f"{frozen:,} parameters are frozen: counted, but not trained"
    if recorder.uncounted:
        yield f"what {', '.join(sorted(recorder.uncounted))} multiply is not counted"


def _copy_to_meta(module: nn.Module) -> nn.Module:
    """A copy for inference without data: the memo of `deepcopy` hands out ghosts instead of the tensors."""
    memo: dict[int, Any] = {}
    for weight in module.parameters():
        memo[id(weight)] = nn.Parameter(weight.to("meta"), requires_grad=weight.requires_grad)
    for buffer in module.buffers():
        memo[id(buffer)] = buffer.to("meta")
    for value in (held for part in module.modules() for held in vars(part).values()):
        # What `weight_norm` and `torch.nn.utils.prune` compute of parameters is an attribute, which cannot be copied.
        if isinstance(value, Tensor) and id(value) not in memo:
            memo[id(value)] = value.detach().to("meta")
    ghost: nn.Module = copy.deepcopy(module, memo)
    return ghost.eval()


def _dtype(module: nn.Module) -> torch.dtype:
    floats = (p.dtype for p in module.parameters() if p.is_floating_point())
    return next(floats, torch.float32)


@dataclass
class _Frame:
    """A module that is running: its path, whether it has children, what was counted before, what ran in it directly."""

    path: str
    leaf: bool
    counted: frozenset[int]
    layers: list[Layer] = field(default_factory=list)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Turns operators into rows; keeps for each tensor its receptive field, and which parameter it views."""

    def __init__(self, module: nn.Module, image: Reach) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rows: list[Layer] = []
        self._image = image
        self._frames: list[_Frame] = []
        self._reaches: dict[int, Reach | None] = {}
        # Each tensor that is computed from parameters alone, by the parameters in it.
        self._parameters = {id(weight): frozenset({id(weight)}) for weight in module.parameters()}
        self._sizes = {id(weight): weight.numel() for weight in module.parameters()}
        self._counted: set[int] = set()
        self.uncounted: set[str] = set()
        self._alive: list[Tensor] = []  # so that no id is given to a second tensor
        for path, part in module.named_modules():
            part.register_forward_pre_hook(self._enter_hook(path, not list(part.children())))
            part.register_forward_hook(self._leave)

    @contextmanager
    def watching(self, image: Tensor) -> Iterator[None]:
        """Record what runs inside, with `image` as the only source of receptive fields."""
        self._reaches[id(image)] = self._image
        self._alive.append(image)
        with self:
            yield

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one operator and write it down."""
        out = func(*args, **(kwargs or {}))
        result = out[0] if isinstance(out, tuple | list) and out else out
        if isinstance(result, Tensor):
            name = str(func.overloadpacket.__name__)
            if func.namespace != "aten":
                self.uncounted.add(f"{func.namespace}.{name}")
            self._note(name, list(args) + list((kwargs or {}).values()), result, out)
        return out

    def _note(self, name: str, args: Sequence[Any], result: Tensor, out: Any) -> None:
        tensors = [item for item in _flat(args) if isinstance(item, Tensor)]
        moving = [tensor for tensor in tensors if id(tensor) in self._reaches]
        self._alive.extend(item for item in _flat([out]) if isinstance(item, Tensor))
        if not moving:  # computed from parameters alone
            held = frozenset[int]().union(*(self._parameters.get(id(tensor), ()) for tensor in tensors))
            for item in _flat([out]) if held else ():
                self._parameters[id(item)] = held
            return
        if is_uncounted(name):
            self.uncounted.add(name.strip("_"))
        known = [reach for reach in (self._reaches[id(tensor)] for tensor in moving) if reach is not None]
        before = known[0] if known else None
        for reach in known[1:]:
            before = before.merge(reach) if before is not None else reach
        operation = read_operation(name, args, moving, result)
        after = reach_behind(operation, before, result)
        for item in _flat([out]):
            self._reaches[id(item)] = after
        if name not in VIEWS:
            self._add(operation, tensors, moving, result, after)

    def _add(
        self,
        operation: Operation,
        tensors: Sequence[Tensor],
        moving: Sequence[Tensor],
        result: Tensor,
        reach: Reach | None,
    ) -> None:
        weights, biases = self._new_parameters(operation, tensors)
        layer = Layer(
            name=(self._frames[-1].path if self._frames else "") or operation.operator,
            operator=operation.operator,
            inputs=tuple(_volume(tensor) for tensor in moving),
            output=_volume(result),
            activations=result.numel(),
            kernel=operation.kernel,
            stride=operation.stride,
            padding=operation.padding,
            dilation=operation.dilation,
            groups=operation.groups,
            weights=weights,
            biases=biases,
            macs=operation.macs,
            flops=operation.flops,
            reach=reach,
        )
        (self._frames[-1].layers if self._frames else self.rows).append(layer)
        if self._frames and not self._frames[-1].leaf:
            self._flush(self._frames[-1])

    def _new_parameters(self, operation: Operation, tensors: Sequence[Tensor]) -> tuple[int, int]:
        """(weights, biases) among the operands that no earlier row has counted."""
        weights = biases = 0
        for tensor in tensors:
            new = self._parameters.get(id(tensor), frozenset()) - self._counted
            self._counted |= new
            size = sum(self._sizes[origin] for origin in new)
            if any(tensor is bias for bias in operation.biases):
                biases += size
            else:
                weights += size
        return weights, biases

    def _enter_hook(self, path: str, leaf: bool) -> Any:
        def enter(module: nn.Module, inputs: Any) -> None:
            self._frames.append(_Frame(path, leaf, frozenset(self._counted)))

        return enter

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        frame = self._frames.pop()
        if isinstance(module, RECURRENT) and frame.layers and inputs:
            frame.layers = [self._recurrent(module, inputs[0].data, output, frame)]
        elif frame.leaf and sum(bool(layer.macs) for layer in frame.layers) < 2:
            frame.layers = _merge_rows(frame.layers, type(module).__name__)
        self._flush(frame)

    def _recurrent(self, module: nn.Module, image: Tensor, output: Any, frame: _Frame) -> Layer:
        """All steps and directions of a recurrent module as one row; its first state counts as any other.

        Steps that start from zeros do not depend on the image, so that what was seen of them is not all there is.
        """
        new = [weight for weight in module.parameters() if id(weight) not in frame.counted]
        self._counted |= {id(weight) for weight in new}
        biases = sum(weight.numel() for weight in new if weight.dim() == 1)
        operator, macs = type(module).__name__, recurrent_macs(module, image)
        result = next(_flat([output]))
        with_bias = any(weight.dim() == 1 for weight in module.parameters())
        return replace(
            frame.layers[-1], operator=operator, inputs=(_volume(image),), output=_volume(result),
            activations=result.numel(), macs=macs, biases=biases, weights=sum(p.numel() for p in new) - biases,
            flops=flops("LSTM", macs=macs, inputs=image.numel(), outputs=result.numel(), bias=with_bias),
        )  # fmt: skip

    def _flush(self, frame: _Frame) -> None:
        """Move finished rows to the table."""
        self.rows.extend(frame.layers)
        frame.layers = []


def _merge_rows(layers: Sequence[Layer], kind: str) -> list[Layer]:
    """The rows of one leaf module as one row; a module of several operators goes by its own name."""
    if len(layers) < 2:
        return list(layers)
    last = layers[-1]
    main = next((layer for layer in layers if layer.macs), None)
    return [
        replace(
            main or last,
            operator=main.operator if main else kind,
            inputs=layers[0].inputs[:1],
            output=last.output,
            activations=last.activations,
            weights=sum(layer.weights for layer in layers),
            biases=sum(layer.biases for layer in layers),
            macs=sum(layer.macs for layer in layers),
            flops=sum(layer.flops for layer in layers),
            reach=last.reach,
        )
    ]


def _flat(values: Any) -> Iterator[Any]:
    """What is in nested lists and tuples."""
    for value in values:
        if isinstance(value, tuple | list):
            yield from _flat(value)
        else:
            yield value


def _volume(tensor: Tensor) -> Volume:
    """The shape without the batch axis."""
    return tuple(tensor.shape[1:])
