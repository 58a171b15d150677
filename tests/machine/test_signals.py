"""SIGTERM ends a process in the same order as a Ctrl-C, with exit code 143; processors are counted in one place."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import enxuto
from enxuto.cli.shared.terminal import handle_errors
from enxuto.machine import processors as counted
from enxuto.machine.processors import processors, quota
from enxuto.machine.signals import Terminated, end_on_sigterm, exit_code, hold_interrupts

SOURCE = Path(enxuto.__file__).parent


def ended(body: str) -> subprocess.CompletedProcess[str]:
    """A process that runs `body` after importing what it needs."""
    start = "import os, signal, sys, time\nfrom enxuto.machine.signals import *\n"
    command = [sys.executable, "-c", start + body]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        # What has to be done on the way out is done, also where another SIGTERM comes meanwhile.
        ("with end_on_sigterm():\n  try:\n    os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)\n"
         "  finally:\n    os.kill(os.getpid(), signal.SIGTERM); print('tidy')", 143, "tidy"),
        # A verb that makes an exit of its own of it.
        ("with end_on_sigterm():\n  try:\n    os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)\n"
         "  except KeyboardInterrupt as e:\n    print(exit_code(e)); sys.exit(1)", 143, "143"),
        # What was finished before stays finished.
        ("with end_on_sigterm():\n  try:\n    os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)\n"
         "  except KeyboardInterrupt:\n    sys.exit(0)", 0, ""),
        ("with end_on_sigterm():\n  sys.exit(2)", 2, ""),
        ("with end_on_sigterm():\n  try:\n    os.kill(os.getpid(), signal.SIGINT); time.sleep(9)\n"
         "  except KeyboardInterrupt as e:\n    sys.exit(exit_code(e))", 130, ""),
        # Told to ignore it (nohup-like), it goes on.
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwith end_on_sigterm():\n"
         "  os.kill(os.getpid(), signal.SIGTERM); print('on')", 0, "on"),
        # A library that must not be disturbed is not, and what came meanwhile is not forgotten.
        ("with end_on_sigterm():\n  with hold_interrupts():\n"
         "    os.kill(os.getpid(), signal.SIGTERM); print('whole', flush=True)\n  time.sleep(9)", 143, "whole"),
    ],
)  # fmt: skip
def test_an_end_in_order(body: str, code: int, said: str) -> None:
    result = ended(body)
    assert (result.returncode, result.stdout.strip()) == (code, said)
    assert result.stderr == ""


def test_handlers_are_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with end_on_sigterm(), hold_interrupts():
        assert signal.getsignal(signal.SIGTERM) is not before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    thread = threading.Thread(target=lambda: end_on_sigterm().__enter__())
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == before[0]


@pytest.mark.parametrize(("interrupt", "code"), [(KeyboardInterrupt(), 130), (Terminated(), 143)])
def test_a_verb_ends_in_one_line(interrupt: KeyboardInterrupt, code: int) -> None:
    app = typer.Typer()

    @app.command()
    @handle_errors
    def verb() -> None:
        raise interrupt

    result = CliRunner().invoke(app, [])
    assert (result.exit_code, result.stderr.count("\n")) == (code, 1)
    assert exit_code(interrupt) == code


def test_no_verb_has_a_code_of_its_own_for_interrupts() -> None:
    """Whoever catches an interrupt asks `exit_code`, which knows SIGTERM."""
    for path in (SOURCE / "cli").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        numbers = {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}
        assert not numbers & {130, 143}, path
        assert text.count("except KeyboardInterrupt") == text.count("exit_code(interrupt)"), path


def test_sigterm_while_the_command_line_is_imported() -> None:
    body = (
        "import builtins, enxuto.__main__ as m\nreal = builtins.__import__\n"
        "def slow(name, *rest, **more):\n"
        "  if name == 'enxuto.cli':\n    os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)\n"
        "  return real(name, *rest, **more)\nbuiltins.__import__ = slow\nm.main()"
    )
    result = ended(body)
    assert result.returncode == 143
    assert result.stderr == "error: interrupted before anything was begun\n"


# --- processors


def group(root: Path, place: str, **files: str) -> None:
    folder = root / "sys/fs/cgroup" / place
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(text + "\n")


def in_group(root: Path, *lines: str) -> Path:
    (root / "proc/self").mkdir(parents=True, exist_ok=True)
    (root / "proc/self/cgroup").write_text("".join(line + "\n" for line in lines))
    return root


def test_a_quota_of_control_groups_2(tmp_path: Path) -> None:
    root = in_group(tmp_path, "0::/a/b")
    assert quota(root) is None
    group(root, "a/b", cpu_max="max 100000")
    assert quota(root) is None
    group(root, "", cpu_max="800000 100000")
    assert quota(root) == 8
    group(root, "a", cpu_max="250000 100000")  # a group is bound by those it is in
    assert quota(root) == 2.5
    group(root, "a/b", cpu_max="50000 100000")
    assert quota(root) == 0.5


def test_a_quota_in_a_container_that_sees_its_own_group_alone(tmp_path: Path) -> None:
    group(tmp_path, "", cpu_max="300000 100000")
    assert quota(tmp_path) == 3
    assert quota(in_group(tmp_path, "0::/docker/not/there")) == 3


def test_a_quota_of_control_groups_1(tmp_path: Path) -> None:
    root = in_group(tmp_path, "4:memory:/x", "3:cpu,cpuacct:/x/y", "0::/")
    group(root, "cpu,cpuacct/x/y", cpu_cfs_quota_us="150000", cpu_cfs_period_us="100000")
    assert quota(root) == 1.5
    group(root, "cpu,cpuacct/x/y", cpu_cfs_quota_us="-1")
    assert quota(root) is None


@pytest.mark.parametrize("text", ["", "nonsense", "1 2 3", "100000 0", "-5 100000", "max max", "\xff"])
def test_a_quota_that_makes_no_sense_is_none(tmp_path: Path, text: str) -> None:
    group(tmp_path, "", cpu_max=text)
    assert quota(tmp_path) is None


@pytest.mark.parametrize(
    ("bound", "there", "found"), [(None, 8, 8), (2.5, 8, 2), (0.5, 8, 1), (16.0, 8, 8), (3.0, 1, 1)]
)
def test_processors_are_the_least_of_all_bounds(
    monkeypatch: pytest.MonkeyPatch, bound: float | None, there: int, found: int
) -> None:
    monkeypatch.setattr(counted, "_own_quota", lambda: bound)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(there)), raising=False)
    assert processors() == found


def test_processors_are_counted_in_one_place() -> None:
    for path in SOURCE.rglob("*.py"):
        if path.name != "processors.py":
            assert not re.search(r"cpu_count|sched_getaffinity", path.read_text(encoding="utf-8")), path
