"""What killed processes leave beside their targets is cleared by the next that writes there, and nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from enxuto.files import atomic_write
from enxuto.machine import leftovers
from enxuto.machine.leftovers import clear, prefix_of, temporary

KILLED = """
import os, signal, sys
from enxuto.files import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """As another process, which has looked nowhere yet."""
    monkeypatch.setattr(leftovers, "_cleared", set())


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["model.enx", "m" * 200, "a b[1]*.onnx", ".hidden"])
def test_the_next_write_of_a_file_clears_what_a_kill_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    target = tmp_path / name
    killed = subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False)
    assert killed.returncode == -9
    (left,) = names(tmp_path)
    assert left.endswith(".part")
    anew(monkeypatch)
    with atomic_write(target) as file:
        file.write(b"whole")
    assert names(tmp_path) == {name}
    assert target.read_bytes() == b"whole"


def test_what_somebody_is_writing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with atomic_write(tmp_path / "m.enx") as first:
        anew(monkeypatch)
        with atomic_write(tmp_path / "m.enx") as second:
            second.write(b"second")
        assert len(names(tmp_path)) == 2
        first.write(b"first")
    assert names(tmp_path) == {"m.enx"}
    assert (tmp_path / "m.enx").read_bytes() == b"first"


@pytest.mark.parametrize(
    "other",
    [".m.enx.part", ".m.enx.abc.part", ".m.enx.abcdefgh", ".m.enx.abcdefghi.part", ".m.enx.abc-efgh.part",
     "m.enx.abcdefgh.part", ".x.enx.abcdefgh.part", ".m.enx.abcdefgh.part.txt", ".m.enx.a.bcdefgh.part"],
)  # fmt: skip
def test_files_of_other_names_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    (tmp_path / other).write_text("precious")
    anew(monkeypatch)
    with atomic_write(tmp_path / "m.enx"):
        pass
    assert names(tmp_path) == {"m.enx", other}


def test_links_and_what_they_lead_to_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "precious").write_text("precious")
    (tmp_path / ".x.abcdefgh").symlink_to(tmp_path / "there")
    anew(monkeypatch)
    clear(tmp_path / "x")
    assert names(tmp_path) == {"there", ".x.abcdefgh"}
    assert (tmp_path / "there" / "precious").read_text() == "precious"


def test_folders_are_cleared_too_but_those_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> str:
        path = tmp_path / ".cifar10.hold1234"
        path.mkdir()
        return str(path)

    (tmp_path / ".cifar10.left1234").mkdir()
    (tmp_path / ".cifar10.left1234" / "half.tar").write_text("half")
    anew(monkeypatch)
    with temporary(make, str):
        clear(tmp_path / "cifar10")
        assert names(tmp_path) == {".cifar10.hold1234"}


def test_one_who_clears_quicker_than_the_lock_costs_nothing(tmp_path: Path) -> None:
    made: list[str] = []

    def make() -> str:
        path = tmp_path / f"{prefix_of(tmp_path / 'x')}{len(made):08}"
        path.touch()
        made.append(str(path))
        if len(made) == 1:
            path.unlink()
        elif len(made) == 2:
            path.unlink()
            path.touch()  # another file of that name is locked as it is
        return str(path)

    with temporary(make, str) as path:
        assert os.path.exists(path)
    assert len(made) == 2
