"""External data: tensors whose bytes are in files beside the model.

The place of a tensor comes from the model file and is not trusted: it must be a relative path that stays in
the model's folder after all symbolic links are followed, and the bytes must be inside the file. Where the model file
is a link itself, the folder of the file that it leads to will do as well: in a cache of the Hugging Face hub, a model
and its data are links to files side by side. That is the rule of ONNX Runtime (as of 1.31).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from onnx import TensorProto

from enxuto.errors import ModelError
from enxuto.onnx_model.dtypes import byte_count
from enxuto.onnx_model.tensors import FileSlice, check_dims

__all__ = ["Folders", "is_external", "locate", "slice_of"]


@dataclass(frozen=True)
class Folders:
    """Where a model's data may lie: the folder that names are relative to, and the folder of the true model file."""

    named: Path
    real: Path

    @classmethod
    def of(cls, model: Path) -> Folders:
        """Those of a model file, which may be a link."""
        try:
            real = model.resolve().parent
        except (OSError, RuntimeError):  # a loop of links, which reading the model names
            real = model.parent
        return cls(model.parent, real)


def is_external(tensor: TensorProto) -> bool:
    """Whether the tensor's data is said to be in another file."""
    return bool(tensor.data_location == TensorProto.EXTERNAL)


def slice_of(name: str, tensor: TensorProto, folders: Folders | None) -> FileSlice:
    """Where the tensor's bytes are, checked against the file; `ModelError` names the tensor and the file."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if "location" not in entries:
        raise ModelError(
            f"tensor {name!r} has its data elsewhere but does not say where; the model is incomplete",
            code="E031",
        )
    location = entries["location"]
    if folders is None:
        raise ModelError(
            f"tensor {name!r} has its data in {location!r}; read this model from its file, not from bytes",
            code="E031",
        )
    path = locate(name, location, folders)
    needed = byte_count(check_dims(name, tensor), tensor.data_type)
    offset = _parse_number(name, "offset", entries.get("offset", "0"))
    length = _parse_number(name, "length", entries["length"]) if "length" in entries else needed
    if length != needed:
        raise ModelError(
            f"tensor {name!r} needs {needed} bytes but {location!r} is said to hold {length} of it",
            code="E031",
        )
    size = path.stat().st_size
    if offset + length > size:
        where = f"bytes {offset} to {offset + length} of {location!r}"
        raise ModelError(
            f"tensor {name!r} is at {where}, which has only {size}; the file is cut short", code="E031"
        )
    return FileSlice(path, offset, length)


def locate(name: str, location: str, folders: Folders) -> Path:
    """The data file of tensor `name`, after all checks on its place."""
    folder = folders.named
    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    if not location or "\0" in location or posix.is_absolute() or windows.drive or windows.root:
        raise ModelError(
            f"tensor {name!r} has its data in {location!r}; only files beside the model are read", code="E031"
        )
    if ".." in posix.parts or ".." in windows.parts:
        raise ModelError(
            f"tensor {name!r} has its data in {location!r}, outside the model's folder; not read", code="E031"
        )
    try:
        path = (folder / location).resolve(strict=True)
        inside = any(path.is_relative_to(root.resolve()) for root in (folders.named, folders.real))
    except FileNotFoundError as error:
        raise ModelError(
            f"tensor {name!r} has its data in {folder / location}, which does not exist", code="E010"
        ) from error
    except (OSError, RuntimeError) as error:
        raise ModelError(
            f"tensor {name!r} has its data in {folder / location}, which cannot be read", code="E011"
        ) from error
    if not inside:
        raise ModelError(
            f"tensor {name!r} has its data in {location!r}, a link out of the model's folder; not read",
            code="E031",
        )
    if not path.is_file():
        raise ModelError(f"tensor {name!r} has its data in {location!r}, which is not a file", code="E011")
    return path


def _parse_number(name: str, key: str, text: str) -> int:
    """A non-negative decimal number."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ModelError(
            f"tensor {name!r} has the external-data {key} {text!r}, which is not a number", code="E031"
        )
    return int(text)
