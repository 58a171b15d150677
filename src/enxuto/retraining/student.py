"""The network in training: the original's graph, run with weights that come from levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from enxuto.importing.load import network_of
from enxuto.importing.network import OnnxNetwork
from enxuto.onnx_model import Model
from enxuto.quantize.tensor import QuantizedTensor
from enxuto.retraining.filters import FilterPenalty
from enxuto.retraining.levels import LearnedLevels, RoundedBias
from enxuto.retraining.rate import RateModel

__all__ = ["Student", "teacher_of"]


def teacher_of(model: Model, shape: Sequence[int] | None = None) -> OnnxNetwork:
    """Return a model as a network that does not learn; shape: of an image, where the model leaves sizes open."""
    network = network_of(model, shape)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network


class Student(nn.Module):
    """A network whose weights are levels and whose biases are rounded; all else is as in the file it starts from.

    weights, biases: what is learned, by the initializers' names. A tensor that the network holds in another form than
    the graph (cut, scaled) is not among them.
    """

    def __init__(
        self,
        start: Model,
        weights: Mapping[str, np.ndarray],
        levels: Mapping[str, QuantizedTensor],
        biases: Mapping[str, np.ndarray],
        bias_step: float,
        *,
        rounded: bool = True,
        shape: Sequence[int] | None = None,
    ) -> None:
        """Args:
        start: the model as the file it starts from gives it; its outputs are those that are measured.
        weights: of the original, by name.
        levels: of these weights, to begin with.
        biases: by name, to begin with.
        bias_step: of which they are multiples.
        rounded: False for a control, whose weights and biases are not rounded.
        shape: of an image, where the model leaves sizes open.
        """
        super().__init__()
        network = teacher_of(start, shape)
        self._network = [network]  # in a list: its own parameters are none of this module's
        self._keys: dict[str, tuple[str, bool]] = {}
        self.weights: dict[str, LearnedLevels] = {}
        self.biases: dict[str, RoundedBias] = {}
        state = dict(network.named_parameters())
        for key, name in network.initializers.items():
            if key not in state:
                continue
            transposed = network.is_turned(key, start.load(name))
            if transposed is None:
                continue
            if name in levels:
                self.weights[name] = LearnedLevels(weights[name], levels[name], rounded=rounded)
            elif name in biases:
                self.biases[name] = RoundedBias(biases[name], bias_step, rounded=rounded)
            else:
                continue
            self._keys[key] = (name, transposed)
        self.rates = {name: RateModel(weight.trellis) for name, weight in self.weights.items()}
        self.penalty: FilterPenalty | None = None
        self._parts = nn.ModuleList([*self.weights.values(), *self.biases.values()])
        self.refresh_rates()

    @property
    def network(self) -> OnnxNetwork:
        """The network that is run."""
        return self._network[0]

    def forward(self, images: Tensor) -> Any:
        """Return the measured outputs."""
        values: dict[str, Tensor] = {}
        alive = {} if self.penalty is None else self.penalty.alive(self.weights)
        on_trellis = any(weight.trellis and weight.rounded for weight in self.weights.values())
        levels = self.levels() if on_trellis else {}
        for key, (name, transposed) in self._keys.items():
            value = self.weights[name](levels.get(name)) if name in self.weights else self.biases[name]()
            value = value * alive[name] if name in alive else value
            values[key] = value.T if transposed else value
        return functional_call(self.network, values, (images,))

    def levels(self) -> dict[str, Tensor]:
        """Return the levels of all weights, int32, on the CPU; paths are found on as many threads as PyTorch has."""
        numbers = {name: weight.numbers().detach().cpu() for name, weight in self.weights.items()}
        if not any(weight.trellis for weight in self.weights.values()):
            return {name: self.weights[name].levels_of(one) for name, one in numbers.items()}
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            found = pool.map(lambda name: self.weights[name].levels_of(numbers[name]), numbers)
            return dict(zip(numbers, found, strict=True))

    def values(self) -> dict[str, np.ndarray]:
        """Return the values of all that is learned, by the initializers' names."""
        parts = {**self.weights, **self.biases}
        return {name: part().detach().cpu().numpy().copy() for name, part in parts.items()}

    def move_to(self, device: torch.device) -> None:
        """Move all that is run and learned to a device, in place."""
        self.network.to(device)
        self.to(device)
        if self.penalty is not None:
            self.penalty = self.penalty.on(device)
        self.refresh_rates()

    def price_filters(self) -> None:
        """From now on filters cost their multiplications too, and those of zeros have no bias."""
        self.penalty = FilterPenalty.of(self.network, self.weights, self.bits_of_levels())

    def file_biases(self) -> dict[str, np.ndarray]:
        """Return the biases as a file holds them."""
        alive = {} if self.penalty is None else self.penalty.alive(self.weights)
        return {
            name: bias.values() * alive[name].cpu().numpy() if name in alive else bias.values()
            for name, bias in self.biases.items()
        }

    def refresh_rates(self) -> float:
        """Fit the coder to the levels as they are now, and return their bits."""
        levels = self.levels()
        for name, found in levels.items():
            self.rates[name].refresh(found.numpy(), self.weights[name].latent.device)
        return self._bits_of(levels)

    def bits(self) -> Tensor:
        """Return the bits of all levels, with gradients."""
        total = torch.zeros(())
        for name, weight in self.weights.items():
            total = total + self.rates[name].bits(weight.numbers())
        return total if self.penalty is None else total + self.penalty.bits(self.weights)

    def bits_of_levels(self) -> float:
        """Return the bits of all levels as the rate model has them."""
        return self._bits_of(self.levels())

    def _bits_of(self, levels: Mapping[str, Tensor]) -> float:
        total = torch.zeros(())
        for name, found in levels.items():
            total = total + self.rates[name].bits_of_levels(found)
        return float(total)
