"""`OnnxNetwork`: a PyTorch module that runs an ONNX graph, step by step.

    network = enxuto.load_module("model.onnx")
    print(network)                    # the layers, by the names of their weights
    for step in network.steps: …      # the nodes of the graph, in order

Every step names a module, the values that it reads and those that it writes. Layers are PyTorch's own (`nn.Conv2d`,
`nn.BatchNorm2d`, `nn.Linear` …), so hooks, optimizers and tools that look for layers find them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor, nn

__all__ = ["OnnxNetwork", "Step"]


@dataclass(frozen=True)
class Step:
    """One call: `module` is a path in the network; values go by the graph's names, "" where one is left out.

    done: values that no later step reads.
    """

    module: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    done: tuple[str, ...] = ()


@dataclass(frozen=True)
class Signature:
    """What goes in and out: names of the inputs and outputs, and the shape of each input without its batch.

    batch: the name of the first input's open batch size, "" where it has none.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    input_shapes: tuple[tuple[int, ...], ...]
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)
    batch: str = ""


class OnnxNetwork(nn.Module):
    """A graph as a module; `enxuto.load_module` makes one.

    Attributes:
        steps: what is run, in order.
        signature: names of inputs and outputs, and input shapes without batch.
        initializers: state key → the initializer's name in the graph.
        turned: keys of matrices that the state holds transposed.
        graph: the graph as ONNX bytes without the tensors of the state; with them it makes the network again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.steps: tuple[Step, ...] = ()
        self.signature = Signature((), (), ())
        self.initializers: dict[str, str] = {}
        self.turned: set[str] = set()
        self.operands: dict[str, str] = {}
        self.graph = b""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of the first input, without batch: (channels, height, width)."""
        return self.signature.input_shapes[0]

    def forward(self, images: Tensor, *more: Tensor) -> Any:
        """Run all steps on the graph's inputs; returns its output, or a tuple of several."""
        values: dict[str, Any] = dict(zip(self.signature.inputs, (images, *more), strict=True))
        for name, key in self.operands.items():
            path, _, attribute = key.rpartition(".")
            values[name] = getattr(self.get_submodule(path), attribute)
        for step in self.steps:
            given = [values[name] if name else None for name in step.inputs]
            found = self.get_submodule(step.module)(*given)
            if len(step.outputs) == 1:
                values[step.outputs[0]] = found
            else:
                values.update(zip(step.outputs, found, strict=True))
            for name in step.done:
                del values[name]
        outputs = tuple(values[name] for name in self.signature.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def is_turned(self, key: str, array: np.ndarray) -> bool | None:
        """Say whether the state holds an initializer's array transposed under a key; None where in yet another form.

        A matrix that is its own transpose tells nothing by its numbers, so what was written down when the network was
        made is asked first.
        """
        held = self.state_dict()[key].detach().cpu().numpy()
        for turned in (True, False) if key in self.turned else (False, True):
            form = array.T if turned and array.ndim == 2 else None if turned else array
            if form is not None and held.shape == form.shape and np.array_equal(held, form):
                return turned
        return None

    def extra_repr(self) -> str:
        """What `print(network)` shows first."""
        return f"{len(self.steps)} steps, input {'×'.join(map(str, self.input_shape))}"


def needed_steps(steps: Sequence[Step], outputs: Sequence[str], kept: Sequence[str]) -> tuple[Step, ...]:
    """The steps that an output depends on, each with the values that are done after it; `kept` never are."""
    wanted, seen = set(outputs), {*outputs, *kept}
    found: list[Step] = []
    for step in reversed(steps):
        if not wanted.intersection(step.outputs):
            continue
        used = {name for name in (*step.inputs, *step.outputs) if name}
        found.append(replace(step, done=tuple(sorted(used - seen))))
        seen |= used
        wanted.update(name for name in step.inputs if name)
    return tuple(reversed(found))
