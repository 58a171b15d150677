"""Names of modules and tensors: an initializer's name becomes a state key, where PyTorch allows it.

PyTorch takes a name apart at its dots, and a layer calls its tensors `weight`, `bias`, `running_mean`, `running_var`.

- `features.0.weight`, a convolution's weight, makes the layer `features.0`, whose key is the initializer's name.
- `onnx::Conv_911` or `conv2d.w` makes a layer of that whole name, with the key `onnx::Conv_911.weight`.
- Other tensors of a layer (its bias, the statistics of a norm) get its path: `conv1.weight_bias` becomes `conv1.bias`.
- A part of a name that is empty, or an attribute of every module (`type`, `half`), gets `_` behind it.

`OnnxNetwork.initializers` maps every key to the name that the graph had.
"""

from __future__ import annotations

from collections import Counter

from torch import nn

__all__ = ["Places", "layer_path"]

_TAKEN = frozenset(dir(nn.Module())) | {
    "weight",
    "bias",
    "running_mean",
    "running_var",
    "num_batches_tracked",
}


def layer_path(weight: str, attribute: str) -> str:
    """The path of the layer whose `attribute` is the initializer `weight`."""
    stem = weight.removesuffix(f".{attribute}")
    return ".".join(_usable(part) for part in stem.split("."))


def _usable(part: str) -> str:
    return f"{part}_" if not part or part in _TAKEN else part


class Places:
    """Puts modules and tensors into a network under paths, each used once."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._counts: Counter[str] = Counter()

    def put_layer(self, wanted: str, layer: nn.Module) -> str:
        """Put a layer at a path, or at the next free one like it, and return which."""
        *folders, last = wanted.split(".")
        parent = self._folder(folders)
        while last in parent._modules or hasattr(parent, last):
            last += "_"
        parent.add_module(last, layer)
        return ".".join([*folders, last])

    def put_operator(self, operator: str, module: nn.Module) -> str:
        """Put a module without tensors of its own: `Relu_0`, `Relu_1`, … ."""
        number = self._counts[operator]
        self._counts[operator] += 1
        return self.put_layer(f"{operator}_{number}", module)

    def owner(self, name: str) -> tuple[str, nn.Module, str]:
        """Where a tensor that belongs to no layer goes: the path of its module, the module, the attribute's name."""
        *folders, last = name.split(".")
        folders = [_usable(part) for part in folders]
        parent = self._folder(folders)
        last = last if last and last not in dir(nn.Module()) else f"{last}_"
        while hasattr(parent, last):
            last += "_"
        return ".".join(folders), parent, last

    def _folder(self, parts: list[str]) -> nn.Module:
        module: nn.Module = self._network
        for part in parts:
            inner = module._modules.get(part)
            if inner is None:
                inner = nn.Module()
                module.add_module(part, inner)
            module = inner
        return module
