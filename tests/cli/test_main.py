"""The entry point: light to import, and interrupted in one line while the command line is imported."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]

INTERRUPTED = """
import sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            raise KeyboardInterrupt

from enxuto.__main__ import main
assert not {"typer", "enxuto.cli", "numpy"} & set(sys.modules)
sys.meta_path.insert(0, Interrupt())
main()
"""


def test_an_interrupted_import_ends_in_one_line_with_130() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True)
    assert done.returncode == 130, done.stderr
    assert done.stderr == "error: interrupted before anything was begun\n"
    assert done.stdout == ""


def test_script_and_module_are_that_entry_point() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        assert tomllib.load(file)["project"]["scripts"] == {"enxuto": "enxuto.__main__:main"}
    done = subprocess.run([sys.executable, "-m", "enxuto", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("enxuto ")
