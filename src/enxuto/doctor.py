"""What enxuto has to work with here: versions, devices, threads, caches, and problems that are known to bite.

A problem is an `error` where something will not work, else a `warning`. One check is a trial: the packaged network is
compressed, decoded and run. Nothing is sent anywhere; nothing is changed, but for Numba's cache that the trial fills.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Literal

from enxuto.calibration.cache import calibration_folder
from enxuto.data.published import cache_folder
from enxuto.errors import EnxutoError, error_reason
from enxuto.machine.facts import machine
from enxuto.machine.processors import quota

__all__ = ["Cache", "Package", "Problem", "Report", "examine"]

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_LEAST_SPACE = 1 << 30
_RIVALS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")


@dataclass(frozen=True)
class Package:
    """A package that enxuto can use: its version, None where it is missing; what it is for: `core` or an extra."""

    name: str
    version: str | None
    needed: str
    extra: str


@dataclass(frozen=True)
class Cache:
    """A folder that enxuto fills: it may not be there yet."""

    name: str
    path: str
    bytes: int
    files: int


@dataclass(frozen=True)
class Problem:
    """Something wrong, and what to do about it, in one line."""

    severity: Literal["error", "warning"]
    message: str


@dataclass(frozen=True)
class Report:
    """All that was found. threads: environment variables (None: not set) and what libraries take by themselves.

    decoder: what decodes `.enx` files here, and where it is or why.
    """

    python: str
    enxuto: str
    packages: tuple[Package, ...]
    machine: dict[str, Any]
    threads: dict[str, str | int | None]
    decoder: str
    caches: tuple[Cache, ...]
    problems: tuple[Problem, ...]

    @property
    def healthy(self) -> bool:
        """Whether no problem is an error."""
        return all(problem.severity != "error" for problem in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values."""
        return {**asdict(self), "healthy": self.healthy}


def examine(*, trial: bool = True) -> Report:
    """Look at everything; `trial`: compress, decode and run the packaged network too."""
    packages = tuple(_packages())
    torch = _torch()  # loaded, so that `machine.facts` sees its GPU
    facts = machine() | {"memory": _memory(), "providers": _providers(), "quota": quota()}
    caches = (
        _cache("data sets", cache_folder(), excluded=calibration_folder()),
        _cache("calibrations", calibration_folder()),
        _numba_cache(),
    )
    decoder, hindrances = _decoder()
    problems = [
        *_package_problems(packages),
        *_machine_problems(facts),
        *_place_problems(caches),
        *hindrances,
    ]
    if trial:
        problems += _trial()
    return Report(
        python=sys.version.split()[0],
        enxuto=version("enxuto"),
        packages=packages,
        machine=facts,
        threads={
            **{name: os.environ.get(name) for name in _THREADS},
            "ONNX Runtime by default": facts["cores"],
            "PyTorch by default": None if torch is None else int(torch.get_num_threads()),
        },
        decoder=decoder,
        caches=caches,
        problems=tuple(problems),
    )


def _packages() -> Iterator[Package]:
    """What the package itself declares, extras that only gather others left out."""
    for line in requires("enxuto") or []:
        match = re.match(r"([A-Za-z0-9_.-]+)\s*([^;]*?)\s*(?:;.*extra == ['\"](\w+)['\"])?$", line)
        if match is None or match[3] == "dev":
            continue
        yield Package(match[1], _version(match[1]), match[2], match[3] or "core")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _package_problems(packages: tuple[Package, ...]) -> Iterator[Problem]:
    for package in packages:
        least = re.match(r">=\s*([0-9.]+)", package.needed)
        if package.version is None:
            if package.extra == "core":
                yield Problem("error", f"{package.name} is missing: pip install {package.name}")
        elif least is not None and _numbers(package.version) < _numbers(least[1]):
            yield Problem(
                "error",
                f"{package.name} {package.version} is older than {least[1]}: pip install -U {package.name}",
            )
    rivals = [name for name in _RIVALS if _version(name) is not None]
    if len(rivals) > 1:
        yield Problem(
            "warning",
            f"{' and '.join(rivals)} overwrite each other's files: pip uninstall all of them, then install one",
        )


def _numbers(text: str) -> tuple[int, ...]:
    """2.13.0+cpu → (2, 13, 0)"""
    return tuple(int(part) for part in re.findall(r"\d+", text.split("+")[0])[:3])


def _machine_problems(facts: dict[str, Any]) -> Iterator[Problem]:
    for name in _THREADS:
        value = os.environ.get(name, "")
        if value.isdigit() and int(value) > facts["cores"]:
            yield Problem(
                "warning",
                f"{name} is {value}, but there are {facts['cores']} processors; unset it or lower it",
            )
    quota = facts["quota"]
    if quota is not None and quota < facts["cores"] - 0.5:
        yield Problem(
            "warning",
            f"{facts['cores']} processors are visible, but this container may use {quota:g}; "
            f"take {max(1, int(quota))} threads at most",
        )
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    if encoding != "utf8":
        yield Problem(
            "warning",
            f"the terminal's encoding is {sys.stdout.encoding}; set PYTHONUTF8=1 for readable tables",
        )


def _decoder() -> tuple[str, list[Problem]]:
    """What decodes here, and what stands in the way of the one that was asked for."""
    try:
        from enxuto.enx.native import decoder_name

        return decoder_name(), []
    except (EnxutoError, ImportError) as error:  # without Numba, which is a problem of its own
        return "none", [Problem("error", error_reason(error))]


def _place_problems(caches: tuple[Cache, ...]) -> Iterator[Problem]:
    for cache in caches:
        place = Path(cache.path)
        there = next((folder for folder in (place, *place.parents) if folder.exists()), Path("/"))
        if not os.access(there, os.W_OK):
            yield Problem(
                "warning", f"the cache of {cache.name} cannot be written: {there}; make it writable"
            )
        elif (free := shutil.disk_usage(there).free) < _LEAST_SPACE:
            yield Problem(
                "warning", f"{there} has {free / 1e6:.0f} MB left for the cache of {cache.name}; make room"
            )


def _trial() -> list[Problem]:
    """Compress, decode and run the packaged network; what goes wrong on the way is a problem."""
    try:
        worst = _trial_error()
    except (EnxutoError, ImportError, OSError, RuntimeError) as error:
        return [Problem("error", f"the packaged network does not pass through: {error_reason(error)}")]
    if worst > 0.2:
        return [
            Problem(
                "error",
                f"the packaged network scores otherwise after compression, by {worst:.0%}; reinstall enxuto",
            )
        ]
    return []


def _trial_error() -> float:
    """The largest error of a score after compression, over the largest score, on one random image."""
    from enxuto.compression.data_free import compress
    from enxuto.demo import MODEL
    from enxuto.onnx_model import Model
    from enxuto.runtime import Runner

    model = Model.read(MODEL)
    runners = [Runner(model), Runner(compress(model).to_model())]
    before, after = (runner.run(runner.random_feeds(1))[0] for runner in runners)
    return float(abs(after - before).max() / abs(before).max())


def _torch() -> Any:
    return import_module("torch") if _version("torch") is not None else None


def _providers() -> list[str]:
    """What ONNX Runtime could run on; enxuto uses the CPU."""
    if all(_version(name) is None for name in _RIVALS):
        return []
    return list(import_module("onnxruntime").get_available_providers())


def _memory() -> int | None:
    """Bytes of memory, where the system tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _cache(name: str, folder: Path, pattern: str = "*", *, excluded: Path | None = None) -> Cache:
    """Measure what lies in a folder, but for a folder in it that is counted by itself."""
    files = [path for path in folder.rglob(pattern) if path.is_file()] if folder.is_dir() else []
    files = [path for path in files if excluded is None or excluded not in path.parents]
    return Cache(name, str(folder), sum(path.stat().st_size for path in files), len(files))


def _numba_cache() -> Cache:
    """Compiled loops: in `$NUMBA_CACHE_DIR`, or where `machine.kernels` puts them: beside the source if it can."""
    source = Path(__file__).parent
    value = os.environ.get("NUMBA_CACHE_DIR")
    if value:
        return _cache("compiled loops", Path(value), "*.nb[ic]")
    try:
        from enxuto.machine.kernels import cache_place
    except ImportError:  # without Numba, which is a problem of its own
        return _cache("compiled loops", source, "*.nb[ic]")
    place = cache_place(source / "codec")
    inside = place is None or source in place.parents
    return _cache("compiled loops", source if place is None or inside else place.parent, "*.nb[ic]")
