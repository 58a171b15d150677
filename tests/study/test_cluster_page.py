"""What is not a scheduler's address is refused at once; the commands of the how-to let nobody else in."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from enxuto.errors import UsageError
from enxuto.study import Cluster

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "run-on-a-cluster.md"
ADDRESSES = [
    "x",
    "",
    "nonsense://x",
    "nonsense://x:8786",
    "tcp://",
    "tcp://:",
    "tcp://host",
    "x:99999",
    "x:-1",
    "x:y",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_what_is_no_address_is_refused_at_once(address: str) -> None:
    pytest.importorskip("distributed")
    began = time.monotonic()
    with pytest.raises(UsageError, match=f"no scheduler answers at {re.escape(address)}: it is neither"):
        Cluster(address).session().__enter__()
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense", '{"address": 3}', '{"address": "x"}'])
def test_a_file_that_is_no_scheduler_file_is_refused(tmp_path: Path, text: str) -> None:
    pytest.importorskip("distributed")
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(UsageError, match="E091"):
        Cluster(str(tmp_path / "s.json")).session().__enter__()


def test_a_process_ends_soon_after_it_said_so(tmp_path: Path) -> None:
    """Dask's half-made clients waited for a minute at the end of the process, after the right error."""
    pytest.importorskip("distributed")
    (tmp_path / "s.json").write_text(json.dumps({"address": "tcp://127.0.0.1:1"}))
    code = (
        "import sys, enxuto.study.cluster as c\nc._PATIENCE = 1\n"
        "for given in sys.argv[1:]:\n"
        "    try: c.Cluster(given).session().__enter__()\n"
        "    except c.UsageError as error: print(error)\n"
    )
    given = ["x", "tls://127.0.0.1:1", str(tmp_path / "s.json")]
    began = time.monotonic()
    result = subprocess.run([sys.executable, "-c", code, *given], capture_output=True, text=True, timeout=60)
    assert result.stdout.count("no scheduler answers at ") == 3
    assert result.stderr == ""
    assert time.monotonic() - began < 40


def test_the_commands_of_the_page_listen_on_loopback_alone() -> None:
    text = PAGE.read_text(encoding="utf-8")
    commands = [shlex.split(line, comments=True) for line in text.splitlines() if line.startswith("dask ")]
    assert {command[1] for command in commands} == {"scheduler", "worker"}
    for command in commands:
        said = dict(pairwise(command))
        assert said["--host"] == "127.0.0.1"
        assert said["--dashboard-address"].startswith("127.0.0.1:")
    assert set(re.findall(r"tcp://([^:\s`\")]+)", text)) == {"127.0.0.1"}
    assert "run any code" in text
