"""Files of tensors (`.pt`): torch's archives of plain values, checked before anything in them is used.

`read_archive` reads all checkpoints, pruned networks and foreign state dicts. Nothing in a file is executed or
imported: besides torch's `weights_only`, the names that a file asks for are first compared with a short list. In a zip
file every record has a checksum, which torch ignores and this module compares; files that enxuto writes
(`write_archive`) also have a SHA-256 over all their values. The file's size limits what it may claim to hold. Not here:
what the values mean.
"""

from __future__ import annotations

import hashlib
import math
import os
import pickletools
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor, nn

from enxuto.errors import EnxutoError, FormatError, UsageError, does_not_exist
from enxuto.files import atomic_write, open_regular_file
from enxuto.machine.signals import hold_interrupts

__all__ = [
    "STATE_KEYS",
    "digest",
    "is_whole_number",
    "read_archive",
    "read_state",
    "same_number_kind",
    "write_archive",
]

STATE_KEYS = ("model", "state_dict", "weights")
"""Where a file may keep its state dict, if the file is not one as a whole."""

_NAMES = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_parameter_with_state")
_ALLOWED_NAMES = frozenset({
    "collections OrderedDict", "torch Size", "torch device", "torch.nn.parameter Parameter", "_codecs encode",
    "torch.storage UntypedStorage", *(f"torch._utils {name}" for name in _NAMES),
    *(f"torch {kind}Storage" for kind in (
        "Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool", "ComplexDouble",
        "ComplexFloat",
    )),
})  # fmt: skip
_ZIP = b"PK\x03\x04"
_LEGACY_STREAMS = 5  # magic number, protocol, machine, contents, keys of the storages
_DEEPEST = 60  # lists in lists: torch's optimizers have five levels
_LARGEST_INT = 1024  # bits; numpy's generators have 128
_SMALL = 1 << 26
_SHARED = 64  # tensors may share their memory: tied weights, views of a flat buffer


def write_archive(path: str | Path, format_name: str, version: int, values: Mapping[str, object]) -> None:
    """Write plain values and tensors with their digest, whole or not at all.

    Args:
        path: of the file.
        format_name: the kind of file, such as `enxuto checkpoint`; `read_archive` returns it under `format`.
        version: of that format.
        values: mappings, lists, numbers, texts and tensors by name.

    Raises:
        UsageError: the file cannot be written.
    """
    contents = {"format": format_name, "version": version, "digest": digest(values), **values}
    # An interrupt inside torch.save comes out of it as a RuntimeError about its archive.
    with hold_interrupts(), atomic_write(path) as file:
        torch.save(contents, file)


def read_archive(path: str | Path, kind: str = "checkpoint") -> object:
    """Read a `.pt` file of mappings, lists, numbers, texts and tensors; memory stays within a few times its size.

    kind: the kind of file, for messages. Tensors are on the CPU. Raises `UsageError` where there is no such file,
    `FormatError` where it is damaged, holds anything but such values, or claims more than its size allows.
    """
    place = Path(path)
    with _translate_errors(place, kind), open_regular_file(place) as file:
        size = os.fstat(file.fileno()).st_size
        zipped = file.read(len(_ZIP)) == _ZIP  # as torch decides
        paid = _check_zip(file, place) if zipped else _check_legacy(file, place)
        file.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of old files
            contents: object = torch.load(file, map_location="cpu", weights_only=True)
        _check_values(contents, place, size, paid)
    return contents


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Return the state dict of a checkpoint, alone or under one of `STATE_KEYS`; enxuto's own by their digest.

    Raises what `read_archive` does, and `FormatError` where there is no state dict.
    """
    contents = read_archive(path)
    if isinstance(contents, Mapping) and isinstance(contents.get("format"), str) and "digest" in contents:
        known = {key: value for key, value in contents.items() if key not in ("format", "version", "digest")}
        if contents["digest"] != digest(known):
            raise FormatError(
                f"{path} is damaged: its contents do not fit their digest; use an earlier one", code="E052"
            )
    state = contents
    if isinstance(contents, Mapping):
        state = next(
            (contents[key] for key in STATE_KEYS if isinstance(contents.get(key), Mapping)), contents
        )
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise FormatError(f"{path} holds no state dict, alone or under {', '.join(STATE_KEYS)}")
    if not all(isinstance(name, str) for name in state):
        raise FormatError(f"{path} holds no state dict: the names of its tensors must be texts")
    return dict(state)


def same_number_kind(one: Tensor, other: Tensor) -> bool:
    """Whether both hold fractions, both whole numbers, or both complex numbers: what a copy of values keeps."""
    return one.is_floating_point() == other.is_floating_point() and one.is_complex() == other.is_complex()


def is_whole_number(value: object) -> bool:
    """Whether a value is a whole number and no truth value."""
    return isinstance(value, int) and not isinstance(value, bool)


def digest(values: Mapping[str, object]) -> str:
    """SHA-256 in hex over plain values and tensors, their names and their order."""
    total = hashlib.sha256()
    for piece in _digest_pieces(values):
        total.update(piece)
    return total.hexdigest()


@contextmanager
def _translate_errors(path: Path, kind: str) -> Iterator[None]:
    """Everything that damaged bytes can cause becomes one `FormatError`."""
    try:
        yield
    except EnxutoError:
        raise
    except FileNotFoundError as error:
        raise UsageError(does_not_exist(path, kind), code="E010") from error
    except OSError as error:
        if error.filename is None:  # not of opening it: damaged bytes lead readers beyond its end
            raise FormatError(
                f"{path} is damaged, or is no {kind} ({type(error).__name__})", code="E052"
            ) from error
        raise UsageError(f"cannot read {path}: {error.strerror}; name a {kind}", code="E011") from error
    except MemoryError as error:
        raise FormatError(f"{path} is damaged, or needs more memory than there is", code="E052") from error
    except Exception as error:  # damaged bytes make torch, zipfile and pickle fail in many ways
        raise FormatError(
            f"{path} is damaged, or is no {kind} ({type(error).__name__})", code="E052"
        ) from error


def _check_zip(file: BinaryIO, path: Path) -> int:
    """Compare every record with its checksum and check the names asked for; returns the size of the description."""
    size = file.seek(0, 2)
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise FormatError(
                f"{path} is compressed, which torch's archives are not; save it again with torch.save"
            )
        if sum(record.file_size for record in records) > size:
            raise FormatError(f"{path} is damaged: its records overlap", code="E052")
        wrong = archive.testzip()
        if wrong is not None:
            raise FormatError(
                f"{path} is damaged: {wrong[:80]!r} in it does not fit its checksum; use another copy of the file",
                code="E052",
            )
        described = [record for record in records if record.filename.endswith("data.pkl")]
        for record in described:
            with archive.open(record) as stream:
                _check_names(stream, path)
        return sum(record.file_size for record in described)


def _check_legacy(file: BinaryIO, path: Path) -> int:
    """The same for files from before torch 1.6, which have no checksums: pickles one after the other, then numbers."""
    file.seek(0)
    for _ in range(_LEGACY_STREAMS):
        _check_names(file, path)
    return file.tell()


def _check_names(stream: object, path: Path) -> None:
    """Refuse a pickle that asks for anything but what rebuilds tensors, before it is run."""
    texts: list[str] = []
    for code, argument, _ in pickletools.genops(stream):  # type: ignore[arg-type]
        name = argument if code.name in ("GLOBAL", "INST") else None
        if code.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
            name = " ".join(texts[-2:])
        if isinstance(argument, str):
            texts = [*texts[-1:], argument]
        if name is not None and str(name) not in _ALLOWED_NAMES and not _is_dtype(str(name)):
            raise FormatError(
                f"{path} holds more than tensors and plain values, or is damaged: it asks for {str(name)[:80]!r}"
            )


def _is_dtype(name: str) -> bool:
    module, _, attribute = name.partition(" ")
    return module == "torch" and isinstance(getattr(torch, attribute, None), torch.dtype)


def _check_values(contents: object, path: Path, size: int, paid: int) -> None:
    """Refuse values that are not plain, and those that are larger, deeper or more than the file's size allows."""
    left, tensors = 4 * paid + 1000, 0
    waiting: list[tuple[object, int]] = [(contents, 0)]
    while waiting:
        value, depth = waiting.pop()
        left -= 1
        if left < 0 or depth > _DEEPEST:
            raise FormatError(
                f"{path} is damaged: its lists are nested more deeply than its size explains", code="E052"
            )
        if isinstance(value, Tensor):
            dense = value.numel() * value.element_size()
            tensors += dense
            if not _is_plain(value):
                raise FormatError(
                    f"{path} holds a tensor of another kind than dense numbers ({value.layout})"
                )
            if dense > size + _SMALL or tensors > _SHARED * size + _SMALL:
                raise FormatError(
                    f"{path} is damaged: it claims a tensor of {tuple(value.shape)}, more than the file pays for",
                    code="E052",
                )
        elif isinstance(value, Mapping):
            waiting += [(part, depth + 1) for item in value.items() for part in item]
        elif isinstance(value, (list, tuple)):
            waiting += [(part, depth + 1) for part in value]
        elif isinstance(value, int):
            if value.bit_length() > _LARGEST_INT:
                raise FormatError(
                    f"{path} is damaged: it holds a whole number of {value.bit_length()} bits", code="E052"
                )
        elif value is not None and not isinstance(
            value, (float, complex, str, bytes, torch.dtype, torch.device)
        ):
            raise FormatError(f"{path} holds more than tensors and plain values: a {type(value).__name__}")


def _is_plain(value: Tensor) -> bool:
    return (
        type(value) in (Tensor, nn.Parameter)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and not value.is_nested
        and all(0 <= part < math.inf for part in value.shape)
    )


def _digest_pieces(value: object) -> Iterator[bytes | memoryview]:
    """The value as bytes, each part announced by its kind and size."""
    if isinstance(value, Tensor):
        flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        yield f"tensor {value.dtype} {tuple(value.shape)}".encode()
        yield memoryview(flat.numpy())  # type: ignore[arg-type]
    elif isinstance(value, Mapping):
        yield f"mapping {len(value)}".encode()
        for key, item in value.items():
            yield f"key {key!r}".encode()
            yield from _digest_pieces(item)
    elif isinstance(value, (list, tuple)):
        yield f"sequence {len(value)}".encode()
        for item in value:
            yield from _digest_pieces(item)
    else:
        yield f"{type(value).__name__} {value!r}".encode()
