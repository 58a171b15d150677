"""Processes killed and interrupted at random moments leave the old file or the new one, never a broken one."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from enx_samples import DEMO
from enxuto.compression.data_free import compress
from enxuto.enx.file import CompressedModel
from enxuto.onnx_model import Model
from warm import CORE, Warm, WarmProcess

KILLS = 20


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm(*CORE) as process:
        yield process


def began_to_write(folder: Path, output: Path, process: WarmProcess, limit: float = 60) -> bool:
    """Wait until a temporary file is there; False if the process ended first."""
    end = time.monotonic() + limit
    while time.monotonic() < end and process.poll() is None:
        if any(path != output for path in folder.iterdir()):
            return True
        time.sleep(0.0005)
    return False


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[str], Path]]:
    """verb → (arguments but the output, a sample of the output)"""
    folder = tmp_path_factory.mktemp("sources")
    packed = folder / "digits.enx"
    compress(DEMO).save(packed)
    found = {
        "compress": ["compress", str(DEMO), "--no-xz"],
        "decompress": ["decompress", str(packed)],
    }
    commands = {}
    for verb, arguments in found.items():
        sample = folder / f"sample.{verb}"
        subprocess.run(
            [sys.executable, "-m", "enxuto", *arguments, "-o", str(sample)],
            check=True,
            capture_output=True,
            timeout=120,
        )
        commands[verb] = (arguments, sample)
    return commands


@pytest.mark.parametrize("verb", ["compress", "decompress"])
def test_killed_at_random_moments(
    verb: str, commands: dict[str, tuple[list[str], Path]], warm: Warm, tmp_path: Path
) -> None:
    """Half of the kills anywhere in the process's life, half within a millisecond or so of the writing."""
    arguments, sample = commands[verb]
    old, new = b"the old file", sample.read_bytes()
    output = tmp_path / "output"
    rng = random.Random(verb)
    begun = time.monotonic()
    line = [*arguments, "-o", str(output)]
    assert warm.start(line, cwd=tmp_path).wait() == 0
    life = time.monotonic() - begun
    killed = 0
    for number in range(KILLS // 2):
        for leftover in tmp_path.iterdir():
            leftover.unlink()
        output.write_bytes(old)
        process = warm.start(line, cwd=tmp_path)
        if number % 2:
            time.sleep(rng.uniform(0.1, 1.0) * life)
        elif began_to_write(tmp_path, output, process):
            time.sleep(rng.choice([0.0, 0.0003, 0.001, 0.003]))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        assert output.read_bytes() in (old, new)
        for leftover in tmp_path.iterdir():
            assert leftover == output or leftover.name.endswith(".part")
    assert killed > KILLS // 5
    if verb == "compress":
        output.write_bytes(new)
        assert CompressedModel.read(output).to_model().weight_names == Model.read(DEMO).weight_names


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("verb", ["compress", "decompress"])
def test_interrupted(
    verb: str,
    how: signal.Signals,
    code: int,
    commands: dict[str, tuple[list[str], Path]],
    warm: Warm,
    tmp_path: Path,
) -> None:
    """Ctrl-C or SIGTERM while it works: its exit code, one line, the old file, and nothing beside it."""
    arguments, sample = commands[verb]
    output = tmp_path / "output"
    slow = (
        "import os, time\n"
        "def fsync(handle):\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(30)\n"
        "os.fsync = fsync\n"
    )
    output.write_bytes(b"the old file")
    process = warm.start([*arguments, "-o", str(output)], cwd=tmp_path, before=slow)
    while process.stdout != b"writing\n":
        assert process.poll() is None, process.stderr
        time.sleep(0.001)
    process.send_signal(how)
    assert process.wait() == code
    assert process.stdout == b"writing\n"
    assert process.stderr.strip().count(b"\n") == 0
    assert b"interrupted" in process.stderr
    assert output.read_bytes() == b"the old file"
    assert list(tmp_path.iterdir()) == [output]
    assert sample.exists()
