"""What tests of `enxuto train` share: verbs run in a folder of their own, and a file of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from train_nets import stripes
from typer.testing import CliRunner, Result

from enxuto.cli import app


def write_stripes(path: Path) -> Path:
    """Write the stripes as an archive with names of their classes."""
    data = stripes()
    names = np.array(["none", "first", "second", "third"])
    np.savez(path, images=data.images[:, 0].numpy(), labels=data.labels.numpy(), classes=names)
    return path


def verbs_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return what runs a verb in a folder, where the small networks can be imported."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])
