"""Run the command line, or a script, in forks of a process that has it loaded: a fork takes no time, a start seconds.

A child is a process of its own, with its own streams, folder and signals, that can be killed at any moment. What
belongs to the start itself (interrupts while modules are imported, what is written when the interpreter ends) is
tested with processes that are started.
"""

from __future__ import annotations

import gc
import io
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any

CORE = ("enxuto.cli", "enxuto.enx.ledger", "enxuto.opening", "enxuto.runtime")
WITH_TORCH = (*CORE, "enxuto.summary", "torch")
_SECONDS = 600


class WarmProcess:
    """A child: its `pid`, and once it has ended its `returncode`, `stdout` and `stderr`."""

    def __init__(self, parent: Warm, pid: int, folder: Path) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._parent, self._folder = parent, folder

    @property
    def stdout(self) -> bytes:
        return (self._folder / "stdout").read_bytes()

    @property
    def stderr(self) -> bytes:
        return (self._folder / "stderr").read_bytes()

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, None while it runs."""
        if self.returncode is None:
            self.returncode = self._parent.ask({"poll": self.pid})["code"]
        return self.returncode

    def wait(self) -> int:
        """Return the exit code once it has ended; a process that hangs is ended by SIGALRM."""
        if self.returncode is None:
            self.returncode = int(self._parent.ask({"wait": self.pid})["code"])
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class Warm(AbstractContextManager["Warm"]):
    """A process that has modules loaded and forks."""

    def __init__(self, *modules: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="warm-")
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, __file__, *modules], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._read()["ready"]

    def start(
        self,
        *lines: list[str],
        cwd: Path,
        script: Path | None = None,
        before: str = "",
        encoding: str = "utf-8",
    ) -> WarmProcess:
        """Run lines of `enxuto`, each a list of words, one after the other until one fails.

        Args:
            lines: what follows `enxuto`, or the script's name.
            script: what is run in place of `enxuto`.
            cwd: the current folder.
            before: code that is run first.
            encoding: of what is printed, as PYTHONIOENCODING would have it.
        """
        folder = Path(self._folder.name) / str(self._count)
        folder.mkdir()
        for name in ("stdout", "stderr"):
            (folder / name).touch()
        self._count += 1
        job = {
            "lines": lines,
            "script": None if script is None else str(script),
            "cwd": str(cwd),
            "before": before,
            "encoding": encoding,
            "streams": str(folder),
        }
        return WarmProcess(self, self.ask(job)["pid"], folder)

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        """Send a line, and return what is answered."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        return dict(json.loads(self._process.stdout.readline()))

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._folder.cleanup()


def _run(job: dict[str, Any]) -> int:
    """In the child: run the lines, and return the exit code of the last."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(Path(job["streams"]) / name, os.O_WRONLY), number)
    for number, name, errors in ((1, "stdout", "strict"), (2, "stderr", "backslashreplace")):
        raw = io.FileIO(number, "w", closefd=False)
        stream = io.TextIOWrapper(io.BufferedWriter(raw), encoding=job["encoding"], errors=errors)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.alarm(_SECONDS)
    os.chdir(job["cwd"])
    from enxuto.__main__ import main

    exec(job["before"], {})  # noqa: S102 - of a test
    script = job["script"]
    if script is not None:
        sys.path[0] = str(Path(script).parent)
    for line in job["lines"]:
        sys.argv = [script or "enxuto", *line]
        try:
            if script is None:
                main()
            else:
                runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            if isinstance(end.code, str):
                sys.stderr.write(f"{end.code}\n")
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            if code:
                return code
    return 0


def _serve() -> None:
    for name in sys.argv[1:]:
        import_module(name)
    if "enxuto.cli" in sys.modules:
        import one_command_line  # noqa: F401 - for what it does
    from enxuto.compression.data_free import compress
    from enxuto.demo import MODEL

    compress(MODEL, threads=1).to_model(threads=1)  # loads compiled loops
    gc.collect()
    gc.freeze()  # or children that collect garbage look at all that is loaded, and so copy it
    answer: dict[str, Any] = {"ready": True}
    while True:
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        line = sys.stdin.readline()
        if not line:
            return
        job = json.loads(line)
        if "lines" in job:
            child = os.fork()
            if child == 0:
                code = 99
                try:
                    code = _run(job)
                    sys.stdout.flush()
                    sys.stderr.flush()
                except BaseException:  # noqa: BLE001 - whatever it is, it is shown
                    traceback.print_exc()
                    sys.stderr.flush()
                os._exit(code)
            answer = {"pid": child}
        else:
            pid = job.get("wait", job.get("poll"))
            ended, status = os.waitpid(pid, 0 if "wait" in job else os.WNOHANG)
            answer = {"code": os.waitstatus_to_exitcode(status) if ended else None}


if __name__ == "__main__":
    _serve()
