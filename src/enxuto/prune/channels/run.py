"""Run a network once and follow the names of its channels through every operator that really runs.

Operators are caught below the modules, so functional calls, Python loops and reused modules are all seen, frozen
parameters too, and nothing depends on gradients. The network is neither copied nor changed by the first pass. Where
parts of it run only in training (auxiliary heads), a second pass runs a copy in training mode.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.hooks import RemovableHandle

from enxuto.errors import ModelError, error_reason
from enxuto.prune.channels.call import Call, ParameterView, flatten
from enxuto.prune.channels.names import NameBook, spread
from enxuto.prune.channels.resizing import SHUFFLES, shuffle_order
from enxuto.prune.channels.rules import IGNORED, RULES
from enxuto.zoo.modes import evaluation_mode
from enxuto.zoo.resnet import OptionAShortcut

__all__ = ["follow"]

# Modules whose sizes follow the channels: by themselves, or because removal adapts them.
_FOLLOWING = (nn.Flatten, OptionAShortcut, *SHUFFLES)
_VIEWING = frozenset(
    {"t", "transpose", "permute", "view", "unsqueeze", "squeeze", "detach", "alias", "expand"}
)

_RESTRIDING = frozenset({"as_strided", "as_strided_"})


def follow(network: nn.Module, inputs: Sequence[Tensor]) -> NameBook:
    """The names of `network`'s channels, from one run on `inputs` without gradients.

    Raises `ModelError` where it does not run on them, or runs an operator that no rule is known for.
    """
    book = NameBook()
    with evaluation_mode(network):
        _run_once(network, inputs, book)
    idle = [
        name for name, _ in network.named_parameters() if not any(name == key for key, _ in book.bindings)
    ]
    if idle:
        twice = [torch.cat((item, item)) for item in inputs]  # batch norm of one value has no variance
        with torch.random.fork_rng(devices=[]):  # dropout must not move the caller's random numbers
            _run_once(copy.deepcopy(network).train(), twice, book)
    return book


def _run_once(network: nn.Module, inputs: Sequence[Tensor], book: NameBook) -> None:
    follower = _Follower(network, inputs, book)
    try:
        with torch.no_grad(), follower.track_modules(network), follower:
            outputs = network(*inputs)
    except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError) as error:
        shapes = " and ".join("×".join(map(str, item.shape)) for item in inputs)
        raise ModelError(
            f"the network does not run on an input of {shapes}: {error_reason(error)}", code="E034"
        ) from error
    for output in flatten([outputs]):
        names = follower.known.get(id(output))
        if names is not None:
            book.fix(names[1], "it is an output of the network")


class _Follower(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the names beside each tensor and applies the rules; tensors stay alive so that no id comes twice."""

    def __init__(self, network: nn.Module, inputs: Sequence[Tensor], book: NameBook) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known: dict[int, tuple[Tensor, Tensor]] = {}
        self._book = book
        self._views: dict[int, tuple[Tensor, ParameterView]] = {}
        self._computed: dict[int, tuple[Tensor, str]] = {}
        self._path: list[str] = []
        self._resizing: list[str] = []
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            self._views[id(tensor)] = tensor, ParameterView(name, tuple(range(tensor.dim())))
        for tensor in inputs:
            names = book.new_names(tensor.shape[1] if tensor.dim() > 1 else 1)
            book.fix(names, "it is an input of the network")
            self.known[id(tensor)] = tensor, spread(names, min(1, tensor.dim() - 1), tensor.shape)

    @contextmanager
    def track_modules(self, network: nn.Module) -> Iterator[None]:
        """Know inside which module each operator runs, until the block ends."""
        handles: list[RemovableHandle] = []
        for path, part in network.named_modules():
            handles.append(part.register_forward_pre_hook(self._on_enter(path)))
            handles.append(part.register_forward_hook(self._on_leave(path)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one operator, then name what it wrote."""
        name = str(func.overloadpacket.__name__)
        keywords = dict(kwargs or {})
        tensors = [item for item in flatten([args, keywords]) if isinstance(item, Tensor)]
        named = any(id(item) in self.known for item in tensors)
        if named and name in _RESTRIDING:
            return self._restride(func, name, args, keywords)
        if named and name not in IGNORED:
            self._check(func, name, args)
        out = func(*args, **keywords)
        if not named:
            self._follow_parameters(name, args, tensors, out)
        elif name not in IGNORED:
            self._name_outputs(func, name, args, keywords, out)
        return out

    def _check(self, func: Any, name: str, args: Sequence[Any]) -> None:
        """Refuse an operator without a rule, and one that writes into part of a tensor."""
        if func.namespace != "aten" or self._rule(name) is None:
            raise ModelError(
                f"channels cannot be followed through the operator {func.namespace}.{name} in "
                f"{self._current_module()}; replace it, or prune another network",
                code="E032",
            )
        if name.endswith("_") and args and id(args[0]) not in self.known:
            raise ModelError(
                f"channels cannot be followed through {func.namespace}.{name} in {self._current_module()}, which "
                "writes them into a tensor made before; join the parts with torch.cat instead",
                code="E032",
            )

    def _restride(self, func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """A pool to one element sets its memory format by strides: the same elements in the same order.

        Strides of axes of size 1 mean nothing. Any other view of the memory is refused.
        """
        tensor = args[0]
        before = _memory_layout(tensor)
        names = self.known[id(tensor)][1]
        out = func(*args, **kwargs)
        if _memory_layout(out) != before:
            raise ModelError(
                f"channels cannot be followed through {func.namespace}.{name} in {self._current_module()}, which "
                "takes elements by their positions in memory; write it with view, permute or slices",
                code="E032",
            )
        self.known[id(out)] = out, names
        return out

    def _rule(self, name: str) -> Callable[[Call], Any] | None:
        return RULES.get(name, RULES.get(name[:-1]) if name.endswith("_") else None)

    def _name_outputs(
        self, func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any
    ) -> None:
        resizing = self._resizing[-1] if self._resizing else None
        function = func if not name.endswith("_") else _no_function
        module_path = self._current_module()
        call = Call(
            self._book,
            module_path,
            resizing,
            function,
            name.rstrip("_"),
            args,
            kwargs,
            out,
            self.known,
            self._views,
            self._computed,
        )
        rule = self._rule(name)
        assert rule is not None
        try:
            found = rule(call)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise ModelError(
                f"channels cannot be followed through this use of {name} in {module_path}: {error_reason(error)}",
                code="E032",
            ) from error
        many = isinstance(out, (list, tuple))
        for tensor, names in zip(
            out if many else [out], found if isinstance(found, (list, tuple)) else [found], strict=True
        ):
            if isinstance(tensor, Tensor) and names is not None:
                assert names.shape == tensor.shape, (
                    f"{name} in {module_path}: {names.shape} for {tensor.shape}"
                )
                self.known[id(tensor)] = tensor, names

    def _follow_parameters(self, name: str, args: Sequence[Any], tensors: Sequence[Tensor], out: Any) -> None:
        """Follow parameters through views; remember what was computed from them otherwise."""
        sources = [self._views[id(item)][1].name for item in tensors if id(item) in self._views]
        sources += [self._computed[id(item)][1] for item in tensors if id(item) in self._computed]
        if not sources:
            return
        first = self._views.get(id(args[0])) if args else None
        axes = _view_axes(first[0], first[1].axes, name, args, out) if first is not None else None
        for tensor in flatten([out]):
            if not isinstance(tensor, Tensor) or id(tensor) in self._views:
                continue
            if axes is not None:
                self._views[id(tensor)] = tensor, ParameterView(sources[0], axes)
            else:
                self._computed[id(tensor)] = tensor, sources[0]

    def _current_module(self) -> str:
        return self._path[-1] if self._path and self._path[-1] else "the network's forward"

    def _on_enter(self, path: str) -> Callable[[nn.Module, Any], None]:
        def enter(module: nn.Module, inputs: Any) -> None:
            self._path.append(path)
            if isinstance(module, _FOLLOWING):
                self._resizing.append(path)

        return enter

    def _on_leave(self, path: str) -> Callable[[nn.Module, Any, Any], None]:
        def leave(module: nn.Module, inputs: Any, output: Tensor) -> None:
            self._path.pop()
            if isinstance(module, _FOLLOWING):
                self._resizing.pop()
            if isinstance(module, SHUFFLES):
                held = self.known.get(id(inputs[0]))
                if held is not None:
                    names = held[1].movedim(1, 0).flatten(1)[:, 0]
                    known, _ = self._book.shuffles.setdefault(
                        path, (names, shuffle_order(module, len(names)))
                    )
                    self._book.tie(known, names)  # used again: the same positions go

        return leave


def _memory_layout(tensor: Tensor) -> tuple[Any, ...]:
    """Shape, offset, and the strides that mean something."""
    strides = [stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if size > 1]
    return tuple(tensor.shape), tensor.storage_offset(), strides


def _no_function(*_: Any) -> Any:
    raise AssertionError("an operator in place moves no elements")


def _view_axes(
    tensor: Tensor, axes: tuple[int | None, ...], name: str, args: Sequence[Any], out: Any
) -> tuple[int | None, ...] | None:
    """The axes of a view of a parameter; None where it is not just transposed or given axes of size 1."""
    if name not in _VIEWING or not isinstance(out, Tensor):
        return None
    if name in {"t", "transpose"}:
        swapped = list(axes)
        one, other = (0, 1) if name == "t" else (args[1], args[2])
        if tensor.dim() > 1:
            swapped[one], swapped[other] = swapped[other], swapped[one]
        return tuple(swapped)
    if name == "permute":
        return tuple(axes[axis] for axis in args[1])
    kept = [axis for axis, size in zip(axes, tensor.shape, strict=True) if size > 1]
    if [size for size in tensor.shape if size > 1] != [size for size in out.shape if size > 1]:
        return None
    remaining = iter(kept)
    return tuple(next(remaining) if size > 1 else None for size in out.shape)
