"""The C decoder, compiled with this machine's compiler, as a function of Python; `tests/decoder/driver.c` runs it.

`in_webassembly` is the same of the JavaScript package, which Node runs.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = (ROOT / "tests" / "decoder" / "driver.c", ROOT / "decoder" / "enx.c")
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
SANITIZED = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
CODES = (
    "OK", "NOT_ENX", "CUT_OFF", "TOO_LONG", "VERSION", "HEAD", "TABLE", "GRAPH", "PAYLOAD", "NO_MEMORY", "ARGUMENT"
)  # fmt: skip
"""Names of `enum enx_code` without their `ENX_`, by number."""


def compiler() -> str:
    """The C compiler of this machine; the test fails where there is none."""
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return found
    pytest.fail("no C compiler was found: install one (Debian, Ubuntu: apt-get install gcc libc6-dev)")


def compiled(target: Path, *arguments: str | Path) -> Path:
    """Compile to `target`; any warning fails the test."""
    subprocess.run([compiler(), *WARNINGS, *map(str, arguments), "-o", str(target)], check=True)
    return target


def compiled_once(target: Path, *arguments: str | Path) -> Path:
    """Compile to `target`, or take what is there; where processes want it at a time, one compiles and others wait."""
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            compiled(target.with_suffix(".made"), *arguments).rename(target)
    return target


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """A folder that processes that share the tests have in common."""
    folder = factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


def plain_object(folder: Path) -> Path:
    """The decoder as a program or a library takes it in, compiled once into a folder."""
    return compiled_once(folder / "enx.o", "-O2", "-fPIC", "-c", ROOT / "decoder" / "enx.c")


@dataclass(frozen=True)
class Verdict:
    """What the decoder says of a file: the code's name, the model (empty if refused), and the most memory it took."""

    code: str
    model: bytes
    memory: int


@dataclass(frozen=True)
class Decoder:
    """A compiled driver."""

    path: Path

    @classmethod
    def built(cls, folder: Path) -> Decoder:
        """Compile the driver with sanitizers, into a folder; as it is where that holds it already."""
        return cls(compiled_once(folder / "driver", "-I", ROOT / "decoder", *SANITIZED, *SOURCES))

    def decode(self, files: Iterable[bytes], *arguments: str) -> list[Verdict]:
        """Decode files in one process; it must come to its end."""
        return verdicts_of([self.path, *arguments], files)


def in_webassembly(files: Iterable[bytes]) -> list[Verdict]:
    """Decode files with `js/` in one process of Node."""
    node = shutil.which("node")
    if node is None:
        pytest.fail("Node was not found: install it (Debian, Ubuntu: apt-get install nodejs npm)")
    return verdicts_of([node, ROOT / "tests" / "web" / "verdicts.js"], files)


def verdicts_of(command: list[str | Path], files: Iterable[bytes]) -> list[Verdict]:
    """Hand files to a program that answers as `tests/decoder/driver.c` does."""
    sent = b"".join(struct.pack("<I", len(data)) + data for data in files)
    done = subprocess.run(command, input=sent, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]
    verdicts, at = [], 0
    while at < len(done.stdout):
        code, memory, size = struct.unpack_from("<IQQ", done.stdout, at)
        at += 20
        verdicts.append(Verdict(CODES[code], done.stdout[at : at + size], memory))
        at += size
    return verdicts
