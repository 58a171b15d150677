"""Compiled loops: kept where they can be, read only if unharmed and of this source, never in the way of a result.

A folder that nobody can write, root included, is one whose `__pycache__` is a file. Files longer than a limit stand
for a full disk.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest

import enxuto
from enxuto.machine.folders import cache_folder, is_private, temporary_folder
from enxuto.machine.kernels import cache_place

SOURCE = Path(enxuto.__file__).parent
LOOPS = """
from enxuto.machine.kernels import compiled

@compiled
def total(n):
    found = 0
    for i in range(n):
        found += {}
    return found
"""
MAIN = 'if __name__ == "__main__":\n    print(total(10), sum(total.stats.cache_hits.values()))\n'


def loops(folder: Path, each: str = "i") -> Path:
    """A module with one kernel that sums `each` for i below n."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "loops.py"
    path.write_text(LOOPS.format(each) + MAIN)
    return path


def loaded(path: Path) -> ModuleType:
    """The module anew, as another process would see it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ran(path: Path, **env: str) -> tuple[str, str]:
    """What a process of its own says, on stdout and stderr."""
    clean = {
        k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "ENXUTO_CACHE", "XDG_CACHE_HOME")
    }
    done = subprocess.run(
        [sys.executable, "-B", str(path)], env=clean | {"PYTHONPATH": str(SOURCE.parent)} | env,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip(), done.stderr.strip()


def read_only(folder: Path) -> Path:
    path = loops(folder)
    (folder / "__pycache__").write_text("")
    return path


def test_beside_the_source_where_that_can_be_written(tmp_path: Path) -> None:
    path = loops(tmp_path)
    assert loaded(path).total(10) == 45
    assert sorted(file.suffix for file in (tmp_path / "__pycache__").glob("*.nb?")) == [".nbc", ".nbi"]
    again = loaded(path)
    assert again.total(10) == 45
    assert sum(again.total.stats.cache_hits.values()) == 1
    assert again.total.stats.cache_path == str(tmp_path / "__pycache__")


def test_a_read_only_package_goes_to_the_users_cache(tmp_path: Path) -> None:
    path, home = read_only(tmp_path / "package"), tmp_path / "home"
    home.mkdir()
    assert ran(path, HOME=str(home)) == ("45 0", "")
    assert ran(path, HOME=str(home)) == ("45 1", "")
    (kept,) = home.rglob("*.nbi")
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700


def test_without_a_home_it_goes_to_a_private_temporary_folder_and_says_so_once(tmp_path: Path) -> None:
    path = read_only(tmp_path / "package")
    (tmp_path / "tmp").mkdir()
    place = {"HOME": os.devnull, "TMPDIR": str(tmp_path / "tmp")}
    result, said = ran(path, **place)
    assert result == "45 0"
    mine = tmp_path / "tmp" / f"enxuto-{os.geteuid()}"
    assert said.count(str(mine)) == 1
    assert len(said.splitlines()) == 1
    assert stat.S_IMODE(mine.stat().st_mode) == 0o700
    assert ran(path, **place) == ("45 1", "")


@pytest.mark.parametrize("planted", ["file", "link", "writable by all"])
def test_a_temporary_folder_that_others_may_write_is_not_used(planted: str, tmp_path: Path) -> None:
    path = read_only(tmp_path / "package")
    mine = tmp_path / "tmp" / f"enxuto-{os.geteuid()}"
    mine.parent.mkdir()
    (tmp_path / "other").mkdir()
    if planted == "file":
        mine.write_text("")
    elif planted == "link":
        mine.symlink_to(tmp_path / "other")
    else:
        mine.mkdir()
        mine.chmod(0o777)
    result, said = ran(path, HOME=os.devnull, TMPDIR=str(mine.parent))
    assert result == "45 0"
    assert "can be kept nowhere" in said
    assert len(said.splitlines()) == 1
    assert not list(tmp_path.rglob("*.nb?"))


def test_where_numba_is_told(tmp_path: Path) -> None:
    path = read_only(tmp_path / "package")
    assert ran(path, HOME=os.devnull, NUMBA_CACHE_DIR=str(tmp_path / "there")) == ("45 0", "")
    assert len(list((tmp_path / "there").rglob("*.nbi"))) == 1


def test_code_compiled_with_the_package_is_read_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = loops(tmp_path)
    assert loaded(path).total(10) == 45
    monkeypatch.setattr("enxuto.machine.kernels.cache_place", lambda folder: None)
    again = loaded(path)
    assert again.total(10) == 45
    assert sum(again.total.stats.cache_hits.values()) == 1


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", ["empty", "half", "a bit", "other bytes", "gone"])
def test_damaged_code_is_made_anew(suffix: str, damage: str, tmp_path: Path) -> None:
    path = loops(tmp_path)
    assert loaded(path).total(10) == 45
    (file,) = (tmp_path / "__pycache__").glob(f"*{suffix}")
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) * 2 // 3] ^= 1
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(
            {"empty": b"", "half": whole[: len(whole) // 2], "a bit": flipped}.get(damage, b"x" * 99)
        )
    mended = loaded(path)
    assert mended.total(10) == 45
    assert not mended.total.stats.cache_hits
    again = loaded(path)
    assert again.total(10) == 45
    assert sum(again.total.stats.cache_hits.values()) == 1


def test_a_full_disk_is_no_failure(tmp_path: Path) -> None:
    path = loops(tmp_path)
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    path.write_text(limit + path.read_text())
    result, said = ran(path)
    assert result == "45 0"
    assert len(said.splitlines()) == 1
    assert "cannot be kept" in said
    assert not list(tmp_path.rglob("*.nb?"))


def test_what_a_kernel_calls_or_takes_as_constant_is_part_of_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numba looks at the kernel's own file only: an upgrade of another left old code behind."""
    monkeypatch.syspath_prepend(str(tmp_path))
    path = loops(tmp_path, "step(i) + OFFSET")
    path.write_text("from other_loops import OFFSET, step\n" + path.read_text())
    for factor, offset, wanted in ((1, 0, 45), (2, 0, 90), (2, 7, 160)):
        head = f"from enxuto.machine.kernels import compiled\n\nOFFSET = {offset}\n\n"
        other = f"{head}@compiled\ndef step(i):\n    return {factor} * i\n"
        (tmp_path / "other_loops.py").write_text(other)
        for pyc in (tmp_path / "__pycache__").glob("*.pyc"):
            pyc.unlink()
        sys.modules.pop("other_loops", None)
        importlib.invalidate_caches()
        assert loaded(path).total(10) == wanted
    sys.modules.pop("other_loops", None)


def test_numba_is_used_in_no_other_way() -> None:
    """Every verb and `enxuto.load` compile through `compiled`, so that what holds here holds for all."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            if path.name != "kernels.py":
                assert not any(name.split(".")[0] == "numba" for name in names), path


def test_a_user_without_a_home_has_a_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("ENXUTO_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    assert cache_folder() == temporary_folder()
    assert cache_place(SOURCE / "codec") is not None
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert cache_folder() == tmp_path / f"enxuto-{os.geteuid()}"
    assert is_private(cache_folder())
    cache_folder().chmod(0o777)  # as someone else might have made it, to put things into it
    assert tmp_path not in cache_folder().parents


def test_load_without_a_home_from_a_read_only_package(tmp_path: Path) -> None:
    package = tmp_path / "site" / "enxuto"
    shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("__pycache__", "*.onnx"))
    for folder in (package, *filter(Path.is_dir, package.iterdir())):
        (folder / "__pycache__").write_text("")
    model = Path(enxuto.__file__).parent / "demo" / "digits.onnx"
    enxuto.compress(model, keep_exact=["*"]).save(tmp_path / "m.enx")
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path[0] = {str(package.parent)!r}\n"
        "import enxuto\n"
        f"assert enxuto.__file__.startswith({str(package)!r})\n"
        f"print(len(enxuto.load({str(tmp_path / 'm.enx')!r}).weight_names))\n"
    )
    result, said = ran(script, HOME=os.devnull, TMPDIR=str(tmp_path), PYTHONPATH=str(package.parent))
    assert result == str(len(enxuto.load(model).weight_names))
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("home", ["rel", "./rel", "..", "~"])
@pytest.mark.parametrize("variable", ["HOME", "XDG_CACHE_HOME"])
def test_relative_places_of_the_platform_are_none(
    variable: str, home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the XDG base directory specification says; else every folder that one works in would get a cache."""
    monkeypatch.delenv("ENXUTO_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(variable, home)
    expected = temporary_folder() if variable == "HOME" else tmp_path / ".cache" / "enxuto"
    assert cache_folder() == expected


def test_loops_are_compiled_where_the_current_folder_is_gone(tmp_path: Path) -> None:
    path, gone = read_only(tmp_path / "package"), tmp_path / "gone"
    gone.mkdir()
    clean = {key: value for key, value in os.environ.items() if key not in ("NUMBA_CACHE_DIR", "TMPDIR")}
    script = f"import os, runpy; os.rmdir({str(gone)!r}); runpy.run_path({str(path)!r}, run_name='__main__')"
    places = {"HOME": os.devnull, "XDG_CACHE_HOME": "", "ENXUTO_CACHE": ""}
    done = subprocess.run(
        [sys.executable, "-B", "-c", script], env=clean | {"PYTHONPATH": str(SOURCE.parent)} | places,
        cwd=gone, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "45 0\n"), done.stderr
    kept = Path(tempfile.gettempdir()) / f"enxuto-{os.geteuid()}" / "kernels"
    for folder in kept.glob(f"package-{hashlib.sha256(str(path.parent).encode()).hexdigest()[:16]}"):
        shutil.rmtree(folder)


def test_the_first_compile_is_announced_once(tmp_path: Path) -> None:
    """Loops of a new file: the first one compiled calls, the second one does not, and what is kept calls nobody."""
    (tmp_path / "loops_told.py").write_text(
        "from enxuto.machine.kernels import clamp, compiled, on_first_compile\n"
        "@compiled\ndef first(i):\n    return clamp(i, 0, 3)\n@compiled\ndef second(i):\n    return i + 2\n"
        "calls = []\non_first_compile(lambda: calls.append(0))\nfirst(7)\nsecond(1)\nprint(len(calls), first(9))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE.parent)}
    found = [
        subprocess.run(
            [sys.executable, "loops_told.py"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(2)
    ]
    assert found == ["1 3\n", "0 3\n"]
