"""Which files a model needs beside its own: external data, how it is named, and who else may use it."""

from __future__ import annotations

import itertools
import mmap
import re
from pathlib import Path

from onnx import TensorProto

from enxuto.errors import ModelError
from enxuto.onnx_model.external import Folders, is_external, locate
from enxuto.onnx_model.messages import file_bytes, inner_messages, parse

__all__ = ["files", "free_data_path", "is_named_elsewhere", "own_data_files", "total_bytes"]


def files(path: str | Path) -> list[Path]:
    """All files a model needs: the file itself, then its data files in order of first use."""
    target = Path(path)
    content = file_bytes(target)
    try:
        proto = parse(content)
    except ModelError as error:
        raise ModelError(f"{target}: {error}", code=error.code) from error
    found, folders = [target], Folders.of(target)
    for message in inner_messages(proto):
        if isinstance(message, TensorProto) and is_external(message):
            places = [entry.value for entry in message.external_data if entry.key == "location"]
            found.extend(locate(message.name, place, folders) for place in places)
    return list(dict.fromkeys(found))


def total_bytes(path: str | Path) -> int:
    """Size of all files a model needs."""
    return sum(file.stat().st_size for file in files(path))


def own_data_files(target: Path) -> list[Path]:
    """Data files named as above of the model now at `target`, if there is one."""
    try:
        found = files(target)[1:]
    except ModelError:
        return []
    ours = re.compile(re.escape(target.name) + r"(\.\d+)?\.data")
    return [path for path in found if ours.fullmatch(path.name)]


def free_data_path(target: Path) -> Path:
    """`<name>.data`, or `<name>.1.data` and so on where that exists."""
    names = itertools.chain([f"{target.name}.data"], (f"{target.name}.{n}.data" for n in itertools.count(1)))
    return next(path for path in map(target.with_name, names) if not path.exists())


def is_named_elsewhere(data: Path, target: Path) -> bool:
    """Whether another model in the folder, such as a copy of the old one, may have its data there too."""
    wanted = data.name.encode()
    for other in data.parent.glob("*.onnx"):
        if other.name == target.name or not other.is_file() or not other.stat().st_size:
            continue
        try:
            with other.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                if content.find(wanted) >= 0:
                    return True
        except OSError:
            return True  # who knows
    return False
