"""All weights of a network rounded by the quantizers of the source, and the file that holds exactly this network.

A file stores a tensor exactly where coding its levels would not be shorter (short biases as a rule). Then it stores the
*rounded* values: the decoded network has all weights rounded, as the source means it. Which tensors these are is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from enxuto.codec import entropy
from enxuto.enx.assemble import Assembly
from enxuto.enx.learned import is_float_weight, parameters
from enxuto.enx.table import LevelsRow
from enxuto.errors import UsageError
from enxuto.onnx_model import Model, Role
from enxuto.quantize.scalar import MuLaw, Quantizer
from enxuto.quantize.schemes import is_representable, statistics
from enxuto.studies.tonin.a_law import ALaw
from enxuto.studies.tonin.quantizers import LevelQuantizer, make_quantizer

__all__ = ["RoundedNetwork", "round_network"]

_ROLES = (Role.KERNEL, Role.DEPTHWISE, Role.MATRIX, Role.BIAS, Role.NORM)
_FEWEST = 32  # elements; a smaller tensor costs more as a row of the table than it can save


@dataclass(frozen=True)
class RoundedNetwork:
    """A network whose weights are all rounded.

    model: decoded from the file (A-law, which files do not know: rounded in memory). values: those of the point: rates,
    and what is stored exactly (`exact`) or was not rounded at all (`left`), by name.
    """

    model: Model
    values: dict[str, Any]


def round_network(model: Model, settings: Mapping[str, Any], threads: int) -> RoundedNetwork:
    """Round all learned values with one quantizer, as settings of `quantizer_settings` say.

    What no level fits, and learned values whose use is not known, are left as they are and named.
    """
    names = [info.name for info in model.infos() if info.role in _ROLES and is_float_weight(info)]
    tensors, network = statistics(model, names)
    choose = make_quantizer(settings)
    levels: dict[str, tuple[LevelQuantizer, np.ndarray]] = {}
    rounded: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        if not is_representable(tensor.info.dtype, tensor.largest):
            continue
        try:
            quantizer = choose(tensor.largest, network.largest)
            found = quantizer.quantize(np.asarray(model.load(name), np.float32))
        except UsageError:  # beyond what levels can hold
            continue
        levels[name] = quantizer, found
        rounded[name] = quantizer.reconstruct(found).astype(tensor.info.dtype)
    assembly = Assembly(model, {}, threads, changed=rounded)
    large = [name for name, (_, found) in levels.items() if found.size >= _FEWEST]
    assembly.add_each(large, lambda name: (_in_file(levels[name][0]), levels[name][1]))
    made = assembly.finish()
    coded = {
        entry.name
        for payload in made.payloads
        if isinstance(payload.row, LevelsRow)
        for entry in payload.row.tensors
    }
    left = [info for info in model.infos() if info.role is not Role.OTHER and info.name not in levels]
    exact = [name for name in levels if name not in coded]
    file_knows = all(isinstance(quantizer, Quantizer) for quantizer, _ in levels.values())
    weights = parameters(model)
    return RoundedNetwork(
        made.to_model(threads=threads) if file_knows else model.replace_weights(rounded),
        {
            "weights": weights,
            "quantized": sum(found.size for _, found in levels.values()),
            "entropy_bits": _entropy(levels),
            "file_bytes": made.file_bytes,
            "file_bits": 8 * made.file_bytes / max(1, weights),
            "exact": {"weights": sum(levels[name][1].size for name in exact), "names": exact},
            "left": {"weights": sum(info.elements for info in left), "names": [info.name for info in left]},
        },
    )


def _entropy(levels: Mapping[str, tuple[LevelQuantizer, np.ndarray]]) -> float:
    """Entropy of all levels in bits each: of one histogram where all have the same quantizer, else of one a tensor."""
    found = [one for _, one in levels.values()]
    count = sum(one.size for one in found)
    if not count:
        return 0.0
    if len({quantizer for quantizer, _ in levels.values()}) == 1:
        return float(entropy(np.concatenate([one.reshape(-1) for one in found])))
    return sum(float(entropy(one)) * one.size for one in found) / count


def _in_file(quantizer: LevelQuantizer) -> Quantizer:
    """The quantizer that stands for this one in a file, of which only the length is used where it is another."""
    if isinstance(quantizer, ALaw):
        return MuLaw(quantizer.levels, 255.0, quantizer.x_max)
    assert isinstance(quantizer, Quantizer), "all others are of the file format"
    return quantizer
