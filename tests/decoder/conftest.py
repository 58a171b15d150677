"""What the tests of the C decoder share: its driver, compiled once."""

from __future__ import annotations

import pytest

from c_decoder import Decoder, shared_folder


@pytest.fixture(scope="session")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    """The driver with sanitizers; processes that share the tests have one."""
    return Decoder.built(shared_folder(tmp_path_factory))
