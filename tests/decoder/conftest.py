"""What the tests of the C decoder share: its driver, compiled once."""

from __future__ import annotations

import os

import pytest

from c_decoder import Decoder


@pytest.fixture(scope="session")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    """The driver with sanitizers; processes that share the tests have one."""
    folder = tmp_path_factory.getbasetemp()
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    return Decoder.built(shared)
