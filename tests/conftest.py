"""What all tests share: markers that a test gets by what its file imports and where it lies, and how often it is tried.

- `torch`: the file needs PyTorch; it imports it, or a module of enxuto or of the tests that does.
- `browser`: it needs a browser.
- `extras`: it needs packages beside the core's and pytest.
- `recent`: oracles of it are newer than the oldest versions that are declared.
- `slow`: it lies in a folder whose tests start processes, calibrate or compress whole networks, or is named below.

With `-m "not torch"` files that need PyTorch are not even imported. Where a test needs it only when it runs (a verb
that trains, say), it is marked by hand.
"""

from __future__ import annotations

import ast
import os
import signal
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

# Before NumPy and PyTorch are loaded. Tests share processors, and threads that wait for each other in loops take them
# from all others: beside one other process, eigenvectors of a 64 × 64 matrix take 60 times as long on two threads as on
# one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
from hypothesis import HealthCheck, Phase, settings

import one_command_line  # noqa: F401 - for what it does
from enxuto import cli

# Shells start background jobs with interrupts ignored, and children inherit that; here they are heard, as at
# a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests start many processes: where nothing may be kept, each of them would compile the package's sources anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# What verbs write on stderr does not depend on whether loops were compiled before.
cli._is_announcing = True

TESTS = Path(__file__).parent
SOURCE = TESTS.parent / "src"

TORCH = frozenset({"torch", "torchvision", "captum", "torch_pruning"})
BROWSER = frozenset({"playwright"})
# These rooms import PyTorch when their names are first used, which their imports do not show.
LAZY_ROOMS = tuple(f"enxuto.{room}" for room in ("export", "importing", "measure", "prune", "train", "zoo"))
EXTRAS = frozenset({"constriction", "distributed", "matplotlib", "pyarrow", "scipy", "sklearn", "zstandard"})
SLOW_FOLDERS = frozenset(
    {"acceptance", "benchmarks", "calibration", "cli", "compare", "compression", "decoder", "machine", "report",
     "studies", "study", "web", "weights"}
)  # fmt: skip
SLOW_FILES = frozenset(
    {"test_carried", "test_damaged_data", "test_doctor", "test_documents", "test_encode_example", "test_exact_tensors",
     "test_files_killed", "test_golden", "test_hostile", "test_hostile_graphs", "test_hostile_memory",
     "test_hostile_mutations", "test_house", "test_image_formats", "test_one_verdict"}
)  # fmt: skip

MARKERS = ("torch", "browser", "extras", "slow", "recent")
"""What files are marked by."""
RECENT_FILES = frozenset(
    {"test_bfloat16", "test_native"}
)  # onnx 1.16 writes no bfloat16, which its helpers need

FUZZ_FACTOR = int(os.environ.get("ENXUTO_FUZZ_FACTOR", "1"))
"""How many times as many examples every property is tried on (`make fuzz`)."""
QUICK_SHARE = 0.2
"""Of a property's examples, where slow tests are left out (`make quick`)."""


@pytest.fixture(autouse=True, scope="session")
def no_older_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of the user's is read or written: a calibration kept by older code would be taken for this one's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENXUTO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@cache
def imported_names(path: Path, *, everywhere: bool) -> frozenset[str]:
    """Full names that a file imports: when it is imported, or `everywhere` in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(found)


@cache
def helpers() -> dict[str, Path]:
    """Modules that tests import by their bare names."""
    return {path.stem: path for path in TESTS.rglob("*.py") if path.name != "conftest.py"}


@cache
def own_files(name: str) -> list[Path]:
    """The files that importing a module of enxuto or of the tests runs."""
    parts = name.split(".")
    if parts[0] != "enxuto":
        return [helpers()[parts[0]]] if parts[0] in helpers() else []
    found = []
    for length in range(1, len(parts) + 1):
        place = SOURCE.joinpath(*parts[:length])
        found += [file for file in (place / "__init__.py", place.with_suffix(".py")) if file.is_file()]
    return found


@cache
def imports_of(file: str) -> tuple[frozenset[str], frozenset[str]]:
    """The packages that a file imports itself, and the files that its imports run."""
    path = Path(file)
    names = imported_names(path, everywhere=path.is_relative_to(TESTS))
    files = frozenset(str(one) for name in names for one in own_files(name))
    return frozenset(name.split(".")[0] for name in names), files


@cache
def packages_of(path: Path) -> frozenset[str]:
    """The packages that a test file, or what it imports, imports."""
    waiting, seen = [str(path)], {str(path)}
    found: set[str] = set()
    while waiting:
        packages, files = imports_of(waiting.pop())
        found |= packages
        waiting += files - seen
        seen |= files
    names = imported_names(path, everywhere=path.is_relative_to(TESTS))
    if any(name.startswith(LAZY_ROOMS) for name in names):
        found.add("torch")
    return frozenset(found)


@cache
def markers_of(path: Path) -> list[str]:
    """The markers that a test file gets by itself."""
    packages = {"torch": TORCH, "browser": BROWSER, "extras": EXTRAS}
    found = [marker for marker, wanted in packages.items() if packages_of(path) & wanted]
    parts = path.relative_to(TESTS).parts if path.is_relative_to(TESTS) else ("",)
    if parts[0] in SLOW_FOLDERS or path.stem in SLOW_FILES:
        found.append("slow")
    if path.stem in RECENT_FILES:
        found.append("recent")
    return found


@pytest.fixture(scope="module")
def remembered_exports() -> Iterator[None]:
    """Networks that this process has exported before are not traced again: see `remembered_exports.py`."""
    import remembered_exports

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("enxuto.export.network._to_onnx", remembered_exports.export)
        yield


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out, unread, files that the chosen markers exclude as a whole."""
    if collection_path.suffix != ".py" or not collection_path.is_relative_to(TESTS):
        return None
    if not collection_path.name.startswith("test_"):
        return None
    chosen = str(config.option.markexpr)
    excluded = [marker for marker in MARKERS if f"not {marker}" in chosen]
    return True if excluded and set(excluded) & set(markers_of(collection_path)) else None


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests by their files; give properties more examples where that is asked for, fewer where time is short."""
    is_quick = "not slow" in str(config.option.markexpr) and FUZZ_FACTOR == 1
    # Reading what all files import takes each process seconds, and only what -m or -k asks for is looked at.
    asked = f"{config.option.markexpr} {config.option.keyword}"
    is_marked = any(marker in asked for marker in MARKERS)
    for item in items:
        for marker in markers_of(item.path) if is_marked else ():
            item.add_marker(marker)
        function = getattr(item, "function", None)
        if FUZZ_FACTOR > 1 and hasattr(function, "_hypothesis_internal_use_settings"):
            given = function._hypothesis_internal_use_settings
            function._hypothesis_internal_use_settings = settings(
                given,
                max_examples=given.max_examples * FUZZ_FACTOR,
                derandomize=False,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.explicit, Phase.generate, Phase.target, Phase.shrink],
            )
            item.add_marker("fuzz")
        elif is_quick and hasattr(function, "_hypothesis_internal_use_settings"):
            given = function._hypothesis_internal_use_settings
            function._hypothesis_internal_use_settings = settings(
                given, max_examples=max(5, int(given.max_examples * QUICK_SHARE))
            )
