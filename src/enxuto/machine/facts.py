"""On what a measurement was made: processor, GPU, system, versions. A latency without it says nothing."""

from __future__ import annotations

import functools
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from enxuto.machine.processors import processors

__all__ = ["describe_machine", "machine", "versions"]

_PACKAGES = ("enxuto", "torch", "onnxruntime", "onnx", "numpy", "pillow")


def machine() -> dict[str, Any]:
    """Processor, cores this process may use, system, and GPU; nothing that names a person.

    The GPU is None without one, and where this process has not imported PyTorch, which alone would have used it.
    """
    torch = sys.modules.get("torch")
    return {
        "cpu": _processor(),
        "cores": processors(),
        "system": f"{platform.system()} {platform.machine()}",
        "gpu": torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else None,
    }


def describe_machine(facts: Mapping[str, Any], threads: int | None = None) -> str:
    """Return what `machine` found in one line: processor, cores, GPU if any, and how many CPU threads were used."""
    parts = [f"{facts['cpu']}", _count(facts["cores"], "core"), *([facts["gpu"]] if facts["gpu"] else [])]
    return ", ".join([*parts, *([] if threads is None else [_count(threads, "thread")])])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    return dict(_versions())


@functools.cache
def _versions() -> dict[str, str]:
    """Looked up once a process: a look-up takes longer than many a point."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@functools.cache
def _processor() -> str:
    """The processor's own name; Linux tells it in /proc only."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
