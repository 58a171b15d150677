"""What the tests of verbs share: a runner, and the packaged network as files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from enxuto.cli import app
from enxuto.demo import MODEL, TEST_IMAGES

Invoke = Callable[..., Result]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a verb keeps, the next test does not find: messages of calibrating are the same in every order of tests."""
    monkeypatch.setenv("ENXUTO_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def few_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search ends after five files, for tests of what is said of it; how it closes in is of `tests/compression`."""
    monkeypatch.setattr("enxuto.compression.search._TRIALS", 5)


@pytest.fixture
def invoke() -> Invoke:
    """Run a verb; the result has exit_code, stdout and stderr."""

    def run(*words: object) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    return run


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """The packaged network, in a folder of its own."""
    return Path(shutil.copy(MODEL, tmp_path / "digits.onnx"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """The packaged test images beside it."""
    return Path(shutil.copy(TEST_IMAGES, tmp_path / "digits.npz"))
