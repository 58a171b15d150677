"""Checkpoints: everything a run needs to go on, in one file of tensors and plain values.

The file is `torch.save`'s archive of a dictionary; the network's state dict is under `model`, so that whatever reads
checkpoints reads these. It is written whole or not at all, and read with `weights_only=True`: nothing in it is
executed. A digest over all contents tells damage that the archive itself does not notice.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from enxuto.errors import FormatError, UsageError
from enxuto.files import atomic_write
from enxuto.signals import interrupts_wait

__all__ = ["BEST", "LAST", "Checkpoint", "epoch_file"]

LAST, BEST = "last.pt", "best.pt"

_FORMAT = "enxuto checkpoint"
_VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """The state between two epochs.

    epoch: how many are done; 0 is the initialisation. model, optimizer, schedule, scaler: their state dicts.
    order: state of the generator of the training order. generators: the global generators' states, one mapping
    a process. history: records as mappings. stopped: as in `History`. config: `TrainConfig.to_dict()`.
    data: hash, samples, classes, mean and std of the training data, hash of the validation data. preprocess:
    `Preprocess.to_dict()`, None where the images are neither grey nor RGB. versions: of what made it, for people.
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

    def write(self, path: str | Path) -> None:
        """Write to `path`, whole or not at all. Raises `UsageError` when that is not possible."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        # An interrupt inside torch.save comes out of it as a RuntimeError about its archive.
        with interrupts_wait(), atomic_write(path) as file:
            torch.save({"format": _FORMAT, "version": _VERSION, "digest": _digest(held), **held}, file)

    @classmethod
    def read(cls, path: str | Path) -> Checkpoint:
        """Read and check; tensors are on the CPU.

        Raises `UsageError` where there is no file, `FormatError` when it is damaged or no checkpoint of enxuto.
        """
        held = _load(Path(path))
        if not isinstance(held, dict) or held.get("format") != _FORMAT:
            raise FormatError(f"{path} is no checkpoint that enxuto wrote")
        if held.get("version") != _VERSION:
            raise FormatError(
                f"{path} is a checkpoint of version {held.get('version')!r}, this enxuto reads {_VERSION}"
            )
        wanted = {field.name: field.type for field in fields(cls)}
        values = {name: held[name] for name in wanted if name in held}
        if values.keys() != wanted.keys() or held.get("digest") != _digest(values):
            raise FormatError(f"{path} is damaged: its contents do not fit their digest; use an earlier one")
        return cls(**values)

    def summary(self) -> dict[str, Any]:
        """What a person wants to know of it, JSON-safe: epoch, how it stopped, config, data, versions."""
        names = ("epoch", "stopped", "config", "data", "preprocess", "versions")
        return {name: value for name, value in asdict(self).items() if name in names}


def epoch_file(epoch: int) -> str:
    """The name under which the checkpoint after `epoch` epochs is kept: `epoch-004.pt`."""
    return f"epoch-{epoch:03d}.pt"


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist; name a checkpoint, such as {LAST}") from error
    except pickle.UnpicklingError as error:
        raise FormatError(f"{path} holds more than tensors and plain values, or is damaged") from error
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes make torch fail in many ways
        raise FormatError(f"{path} is damaged or no checkpoint ({type(error).__name__})") from error


def _digest(values: Mapping[str, Any]) -> str:
    """SHA-256 over all values and their places, in hex."""
    total = hashlib.sha256()
    for piece in _pieces(values):
        total.update(piece)
    return total.hexdigest()


def _pieces(value: Any) -> Iterator[bytes | memoryview]:
    """The value as bytes, each part announced by its kind and size."""
    if isinstance(value, Tensor):
        flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        yield f"tensor {value.dtype} {tuple(value.shape)}".encode()
        stored: Any = flat.numpy()
        yield memoryview(stored)
    elif isinstance(value, Mapping):
        yield f"mapping {len(value)}".encode()
        for key, item in value.items():
            yield f"key {key!r}".encode()
            yield from _pieces(item)
    elif isinstance(value, (list, tuple)):
        yield f"sequence {len(value)}".encode()
        for item in value:
            yield from _pieces(item)
    else:
        yield f"{type(value).__name__} {value!r}".encode()
