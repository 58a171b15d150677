"""Files of tensors (`.pt`): torch's archives of plain values, checked before anything is believed.

All checkpoints, pruned networks and foreign state dicts are read here, by `read_archive`. Nothing in a file is executed
or imported: beside torch's `weights_only`, the names that a file asks for are compared with a short list first. A file
of zip form has a checksum for each of its records, which torch does not look at and this does; files that enxuto
writes (`write_archive`) have a SHA-256 over all their values as well. What a file claims to hold is bounded by its
bytes. Not here: what the values mean.
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

from enxuto.errors import EnxutoError, FormatError, UsageError
from enxuto.files import atomic_write, regular_file
from enxuto.machine.signals import hold_interrupts

__all__ = ["STATE_KEYS", "digest", "plain_int", "read_archive", "read_state", "same_kind", "write_archive"]

STATE_KEYS = ("model", "state_dict", "weights")
"""Where a file may keep its state dict, if the file is not one as a whole."""

_NAMES = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_parameter_with_state")
_KNOWN = frozenset({
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


def write_archive(path: str | Path, form: str, version: int, values: Mapping[str, object]) -> None:
    """Write plain values and tensors with their digest, whole or not at all. Raises `UsageError` if that is impossible.

    form: what kind of file it is, as `read_archive`'s result says under `format`.
    """
    held = {"format": form, "version": version, "digest": digest(values), **values}
    # An interrupt inside torch.save comes out of it as a RuntimeError about its archive.
    with hold_interrupts(), atomic_write(path) as file:
        torch.save(held, file)


def read_archive(path: str | Path, what: str = "checkpoint") -> object:
    """Return what a `.pt` file holds: mappings, lists, numbers, texts and tensors on the CPU, nothing else.

    what: the kind of file that the caller wants, for messages. Memory stays within a small multiple of the file's size.
    Raises `UsageError` where there is no such file, `FormatError` when it is damaged, holds anything but such values,
    or claims more than its bytes pay for.
    """
    place = Path(path)
    with _one_error(place, what), regular_file(place) as file:
        size = os.fstat(file.fileno()).st_size
        zipped = file.read(len(_ZIP)) == _ZIP  # as torch decides
        paid = _check_zip(file, place) if zipped else _check_legacy(file, place)
        file.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what torch thinks about old files; the reader gets one line
            held: object = torch.load(file, map_location="cpu", weights_only=True)
        _check_values(held, place, size, paid)
    return held


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Return the state dict of a checkpoint, alone or under one of `STATE_KEYS`; enxuto's own by their digest.

    Raises what `read_archive` does, and `FormatError` where there is no state dict.
    """
    held = read_archive(path)
    if isinstance(held, Mapping) and isinstance(held.get("format"), str) and "digest" in held:
        known = {key: value for key, value in held.items() if key not in ("format", "version", "digest")}
        if held["digest"] != digest(known):
            raise FormatError(f"{path} is damaged: its contents do not fit their digest; use an earlier one")
    state = held
    if isinstance(held, Mapping):
        state = next((held[key] for key in STATE_KEYS if isinstance(held.get(key), Mapping)), held)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise FormatError(f"{path} holds no state dict, alone or under {', '.join(STATE_KEYS)}")
    if not all(isinstance(name, str) for name in state):
        raise FormatError(f"{path} holds no state dict: the names of its tensors must be texts")
    return dict(state)


def same_kind(one: Tensor, other: Tensor) -> bool:
    """Whether both hold fractions, both whole numbers, or both complex ones: what a copy of values keeps."""
    return one.is_floating_point() == other.is_floating_point() and one.is_complex() == other.is_complex()


def plain_int(value: object) -> bool:
    """Whether a value is a whole number and no truth value."""
    return isinstance(value, int) and not isinstance(value, bool)


def digest(values: Mapping[str, object]) -> str:
    """SHA-256 over plain values and tensors and their places, in hex. Raises `FormatError` for other values."""
    total = hashlib.sha256()
    for piece in _pieces(values):
        total.update(piece)
    return total.hexdigest()


@contextmanager
def _one_error(path: Path, what: str) -> Iterator[None]:
    """Everything that damaged bytes can cause becomes one `FormatError`."""
    try:
        yield
    except EnxutoError:
        raise
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist; check the name of the {what}") from error
    except OSError as error:
        if error.filename is None:  # not of opening it: damaged bytes lead readers beyond its end
            raise FormatError(f"{path} is damaged, or is no {what} ({type(error).__name__})") from error
        raise UsageError(f"cannot read {path}: {error.strerror}; name a {what}") from error
    except MemoryError as error:
        raise FormatError(f"{path} is damaged, or needs more memory than there is") from error
    except Exception as error:  # damaged bytes make torch, zipfile and pickle fail in many ways
        raise FormatError(f"{path} is damaged, or is no {what} ({type(error).__name__})") from error


def _check_zip(file: BinaryIO, path: Path) -> int:
    """Compare every record with its checksum and the names that are asked for; the bytes of the description."""
    size = file.seek(0, 2)
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise FormatError(
                f"{path} is compressed, which torch's archives are not; save it again with torch.save"
            )
        if sum(record.file_size for record in records) > size:
            raise FormatError(f"{path} is damaged: its records overlap")
        wrong = archive.testzip()
        if wrong is not None:
            raise FormatError(
                f"{path} is damaged: {wrong[:80]!r} in it does not fit its checksum; use another copy of the file"
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
        if name is not None and str(name) not in _KNOWN and not _is_dtype(str(name)):
            raise FormatError(
                f"{path} holds more than tensors and plain values, or is damaged: it asks for {str(name)[:80]!r}"
            )


def _is_dtype(name: str) -> bool:
    module, _, attribute = name.partition(" ")
    return module == "torch" and isinstance(getattr(torch, attribute, None), torch.dtype)


def _check_values(held: object, path: Path, size: int, paid: int) -> None:
    """Refuse values that are not plain, and such that are larger, deeper or more than the file's bytes pay for."""
    left, tensors = 4 * paid + 1000, 0
    waiting: list[tuple[object, int]] = [(held, 0)]
    while waiting:
        value, depth = waiting.pop()
        left -= 1
        if left < 0 or depth > _DEEPEST:
            raise FormatError(f"{path} is damaged: its lists are nested more deeply than its size explains")
        if isinstance(value, Tensor):
            dense = value.numel() * value.element_size()
            tensors += dense
            if not _is_plain(value):
                raise FormatError(
                    f"{path} holds a tensor of another kind than dense numbers ({value.layout})"
                )
            if dense > size + _SMALL or tensors > _SHARED * size + _SMALL:
                raise FormatError(
                    f"{path} is damaged: it claims a tensor of {tuple(value.shape)}, more than the file pays for"
                )
        elif isinstance(value, Mapping):
            waiting += [(part, depth + 1) for item in value.items() for part in item]
        elif isinstance(value, (list, tuple)):
            waiting += [(part, depth + 1) for part in value]
        elif isinstance(value, int):
            if value.bit_length() > _LARGEST_INT:
                raise FormatError(f"{path} is damaged: it holds a whole number of {value.bit_length()} bits")
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


def _pieces(value: object) -> Iterator[bytes | memoryview]:
    """The value as bytes, each part announced by its kind and size."""
    if isinstance(value, Tensor):
        flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        yield f"tensor {value.dtype} {tuple(value.shape)}".encode()
        yield memoryview(flat.numpy())  # type: ignore[arg-type]
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
