"""Check what `make dist` built: what lies in wheel and sdist, and that the wheel works where there is nothing else.

python .ci/check_dist.py dist
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

CONSTRAINTS = Path(__file__).parent.parent / "constraints.txt"
PACKAGED = (
    "enxuto/demo/digits.onnx",
    "enxuto/demo/digits.npz",
    "enxuto/enx/enx.c",
    "enxuto/enx/enx.h",
    "enxuto/py.typed",
)


def check(folder: Path) -> None:
    """Raise `SystemExit` that says what is wrong."""
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
    missing = [name for name in PACKAGED if name not in names]
    if missing or not any(name.endswith("/licenses/LICENSE") for name in names):
        raise SystemExit(f"{wheel.name} lacks {missing or 'LICENSE'}")
    relative = [part for part in text.split("](")[1:] if not part.startswith(("https://", "#"))]
    if relative:
        raise SystemExit(
            f"{wheel.name}: a link of the README leads nowhere on an index: {relative[0][:60]!r}"
        )
    with tarfile.open(sdist) as archive:
        parts = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("LICENSE", "README.md", "pyproject.toml", "src/enxuto/__init__.py", "tests/conftest.py"):
        if name not in parts:
            raise SystemExit(f"{sdist.name} lacks {name}")
    with tempfile.TemporaryDirectory(prefix="enxuto-dist-") as place:
        run_demo(wheel, Path(place))
    print(f"{wheel.name} and {sdist.name} are fine")


def run_demo(wheel: Path, place: Path) -> None:
    """Install the wheel into an empty environment and run the demo outside of the checkout."""
    venv.create(place / "venv", with_pip=True)
    binaries = place / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    command = [binaries / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, "--constraint", CONSTRAINTS, wheel.resolve()], check=True)
    subprocess.run([binaries / "enxuto", "demo"], check=True, cwd=place)


if __name__ == "__main__":
    check(Path(sys.argv[1]))
