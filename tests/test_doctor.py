"""`enxuto doctor`: what is there is told as it is; each known problem is planted and found."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from enxuto import doctor
from enxuto.cli import app
from enxuto.doctor import examine
from enxuto.errors import ModelError


def messages(severity: str = "warning") -> list[str]:
    return [problem.message for problem in examine(trial=False).problems if problem.severity == severity]


def pretend(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    """Let some packages have other versions, or none."""

    def said(name: str) -> str:
        found = versions.get(
            name.replace("-", "_"), version(name) if name.replace("-", "_") not in versions else None
        )
        if found is None:
            raise PackageNotFoundError(name)
        return found

    monkeypatch.setattr(doctor, "version", said)


def test_what_is_there_is_told() -> None:
    report = examine()
    found = {package.name: package for package in report.packages}
    assert found["numpy"].version == version("numpy")
    assert found["numpy"].extra == "core"
    assert found["torch"].extra == "train"
    assert report.machine["cores"] >= 1
    assert "CPUExecutionProvider" in report.machine["providers"]
    assert report.threads["PyTorch by default"]
    assert report.healthy
    assert json.loads(json.dumps(report.to_dict()))["healthy"] is True


def test_caches_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "train.bin").write_bytes(b"x" * 1234)
    (tmp_path / "calibrations").mkdir()
    (tmp_path / "calibrations" / "0.npz").write_bytes(b"x" * 77)
    monkeypatch.setenv("ENXUTO_CACHE", str(tmp_path))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "nowhere"))
    data, calibrations, loops = examine(trial=False).caches
    assert (data.path, data.bytes, data.files) == (str(tmp_path), 1234, 1)
    assert (calibrations.bytes, calibrations.files) == (77, 1)
    assert (loops.bytes, loops.files) == (0, 0)


def test_missing_and_old_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, numba=None, onnx="1.2.0", scipy=None)
    errors = messages("error")
    assert any("numba is missing" in error for error in errors)
    assert any("onnx 1.2.0 is older than" in error for error in errors)
    assert not any("scipy" in error for error in errors)  # an extra may be missing
    assert not examine(trial=False).healthy


def test_versions_are_compared_as_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, numpy="10.0.0+local.1", onnx="1.100")
    assert not messages("error")


def test_two_builds_of_onnx_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, onnxruntime_gpu="1.20.0")
    assert any("onnxruntime and onnxruntime-gpu overwrite" in message for message in messages())


def test_more_threads_than_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    assert any("OMP_NUM_THREADS is 4096" in message for message in messages())


def test_a_container_with_fewer_processors_than_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "machine", lambda: {"cpu": "x", "cores": 8, "system": "x", "gpu": None})
    monkeypatch.setattr(doctor, "quota", lambda: 2.0)
    assert any(
        "8 processors are visible" in message and "take 2 threads" in message for message in messages()
    )


def test_a_cache_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENXUTO_CACHE", str(tmp_path / "not" / "yet"))
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=5_000_000))
    assert any(f"{tmp_path} has 5 MB left" in message for message in messages())
    monkeypatch.setattr("os.access", lambda place, mode: False)
    assert any("cannot be written" in message for message in messages())


def test_a_trial_that_fails_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> float:
        raise ModelError("ONNX Runtime\ncannot run this model")

    monkeypatch.setattr(doctor, "_trial_error", broken)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "does not pass through: ONNX Runtime cannot run" in " ".join(result.stderr.split())
    monkeypatch.setattr(doctor, "_trial_error", lambda: 0.9)
    assert "scores otherwise after compression, by 90%" in " ".join(
        CliRunner().invoke(app, ["doctor"]).stderr.split()
    )


def test_the_verb_shows_and_prints() -> None:
    shown = CliRunner().invoke(app, ["doctor", "--no-trial"])
    assert shown.exit_code == 0, shown.output
    for words in ("versions", "machine", "threads", "caches", "data sets", "compiled loops"):
        assert words in shown.stdout
    printed = json.loads(CliRunner().invoke(app, ["doctor", "--no-trial", "--json"]).stdout)
    assert {"packages", "machine", "threads", "caches", "problems", "healthy"} <= set(printed)
