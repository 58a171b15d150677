"""Checkpoints: everything that a run needs to resume, in one file of tensors and plain values.

The file is `torch.save`'s archive of a dictionary; the network's state dict is under `model`, so that whatever reads
checkpoints reads these. It is written whole or not at all, and read with `weights_only=True`: nothing in it is
executed. A digest over all contents tells damage that the archive itself does not notice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any

from torch import Tensor

from enxuto.archive import digest, is_whole_number, read_archive, write_archive
from enxuto.errors import EnxutoError, FormatError

__all__ = ["BEST", "LAST", "Checkpoint", "epoch_file", "holds_epochs"]

LAST, BEST = "last.pt", "best.pt"

_FORMAT = "enxuto checkpoint"
_VERSION = 1


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _is_mapping_or_none(value: object) -> bool:
    return value is None or _is_mapping(value)


def _is_state(value: object) -> bool:
    return _is_mapping(value) and all(isinstance(item, Tensor) for item in value.values())  # type: ignore[attr-defined]


def _is_history(value: object) -> bool:
    return isinstance(value, list) and all(
        _is_mapping(record) and isinstance(record.get("lr"), (int, float)) for record in value
    )


def _is_data_summary(value: object) -> bool:
    """Whether these are the data's classes, means and deviations (above 0)."""
    if not isinstance(value, Mapping) or not is_whole_number(value.get("classes")):
        return False
    mean, std = value.get("mean"), value.get("std")
    if not isinstance(mean, list) or not isinstance(std, list):
        return False
    numbers = all(isinstance(part, float) and math.isfinite(part) for part in (*mean, *std))
    return numbers and min(std, default=1.0) > 0


def _is_network(value: object) -> bool:
    """Whether this says what a network of the zoo was built of, or nothing."""
    if value is None:
        return True
    if not isinstance(value, Mapping) or value.keys() != {"name", "classes", "channels", "options"}:
        return False
    plain = (bool, int, float, str, NoneType)
    return (
        isinstance(value["name"], str)
        and all(is_whole_number(value[key]) and value[key] > 0 for key in ("classes", "channels"))
        and _is_mapping(value["options"])
        and all(isinstance(item, plain) for item in value["options"].values())
    )


_KINDS = {
    "epoch": is_whole_number,
    "model": _is_state,
    "order": lambda value: isinstance(value, Tensor),
    "generators": lambda value: isinstance(value, list),
    "history": _is_history,
    "stopped": lambda value: isinstance(value, str),
    "config": lambda value: _is_mapping(value) and isinstance(value.get("lr"), (int, float)),
    "data": _is_data_summary,
    "preprocess": _is_mapping_or_none,
    "versions": _is_mapping,
    "network": _is_network,
    "began": _is_mapping_or_none,
}
_LATER = (
    "network",
    "began",
)  # fields that came after checkpoints were written; left out where there is nothing to say


@dataclass(frozen=True)
class Checkpoint:
    """The state between two epochs.

    epoch: how many are done; 0 is the initialisation. model, optimizer, schedule, scaler: their state dicts.
    order: state of the generator of the training order. generators: the global generators' states, one mapping
    a process. history: records as mappings. stopped: as in `History`. config: `TrainConfig.to_dict()`.
    data: hash, samples, classes, mean and std of the training data, hash of the validation data. preprocess:
    `Preprocess.to_dict()`, None where the images are neither grey nor RGB. versions: of what made it, for people.
    network: name, classes, channels and options of a network that the zoo built; None for others.
    began: `fit`'s `began`, None where nothing was said.
    """

    epoch: int
    model: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    scaler: dict[str, Any]
    order: Tensor
    generators: list[Any]
    history: list[Any]
    stopped: str
    config: dict[str, Any]
    data: dict[str, Any]
    preprocess: dict[str, Any] | None
    versions: dict[str, Any]
    network: dict[str, Any] | None = None
    began: dict[str, Any] | None = None

    def write(self, path: str | Path) -> None:
        """Write to `path`, whole or not at all. Raises `UsageError` when that is not possible."""
        contents = {field.name: getattr(self, field.name) for field in fields(self)}
        contents = {
            name: value for name, value in contents.items() if name not in _LATER or value is not None
        }
        write_archive(path, _FORMAT, _VERSION, contents)

    @classmethod
    def read(cls, path: str | Path) -> Checkpoint:
        """Read and check a checkpoint; its tensors are on the CPU.

        Raises `UsageError` where there is no file, `FormatError` where it is damaged or no checkpoint of enxuto.
        """
        contents = read_archive(path)
        if not isinstance(contents, Mapping) or contents.get("format") != _FORMAT:
            raise FormatError(f"{path} is no checkpoint that enxuto wrote")
        if contents.get("version") != _VERSION:
            raise FormatError(
                f"{path} is a checkpoint of version {contents.get('version')!r}, this enxuto reads {_VERSION}",
                code="E053",
            )
        wanted = [field.name for field in fields(cls)]
        values = {name: contents[name] for name in wanted if name in contents}
        lacking = set(wanted) - values.keys() - set(_LATER)
        if lacking or contents.get("digest") != digest(values):
            raise FormatError(
                f"{path} is damaged: its contents do not fit their digest; use an earlier one", code="E052"
            )
        for name, fits in _KINDS.items():
            if name in values and not fits(values[name]):
                raise FormatError(f"{path} is no checkpoint that enxuto wrote: its {name} is something else")
        return cls(**values)

    def summary(self) -> dict[str, Any]:
        """JSON-safe values for people: epoch, how it stopped, config, data, versions."""
        names = ("epoch", "stopped", "config", "data", "preprocess", "versions", "network")
        return {name: value for name, value in asdict(self).items() if name in names}


def holds_epochs(folder: Path) -> bool:
    """Whether a folder has a run with a finished epoch; one that ended before has nothing to lose.

    A file that cannot be read counts as a run: what it held is not known.
    """
    try:
        return Checkpoint.read(folder / LAST).epoch > 0
    except EnxutoError:
        return (folder / LAST).exists()


def epoch_file(epoch: int) -> str:
    """The name under which the checkpoint after `epoch` epochs is kept: `epoch-004.pt`."""
    return f"epoch-{epoch:03d}.pt"
