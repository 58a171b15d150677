"""Run what users run on a file, each in a child of a process that has everything loaded, and say what it took.

A script: reads lines of JSON `{"way": …, "path": …}`, writes for each a line `{"code", "seconds", "memory", "said"}`;
memory is the child's peak in bytes beyond what the parent has, seconds are of the processor.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO

WAYS = ("load", "inspect", "verify", "decompress", "compress", "summary")
_SECONDS = 30
_MOST = 4 << 30  # of address space, beyond what the parent has


def run(way: str, path: str) -> int:
    """Do it, as the command line does; the exit code."""
    if way == "load":
        import enxuto
        from enxuto.errors import EnxutoError

        try:
            model = enxuto.load(path, threads=1)
            assert model.weight_names is not None
        except EnxutoError as error:
            sys.stderr.write(f"Error: {error}\n")
            return error.exit_code
        return 0
    from enxuto.__main__ import main

    out = f"{path}.out{'.onnx' if way == 'decompress' else '.enx'}"
    more = ["-o", out] if way in ("decompress", "compress") else []
    sys.argv = ["enxuto", way, path, *more]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def in_a_child(task: Callable[[], int]) -> dict[str, object]:
    with tempfile.TemporaryFile() as said:
        return _in_a_child(task, said)


def _in_a_child(task: Callable[[], int], said: IO[bytes]) -> dict[str, object]:
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + _MOST
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
            spent = int(time.process_time())
            resource.setrlimit(resource.RLIMIT_CPU, (spent + _SECONDS, spent + _SECONDS))
            code = task()
        except BaseException:  # noqa: BLE001 - whatever it is, the parent is told
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    _, status, usage = os.wait4(child, 0)
    said.seek(0)
    text = said.read().decode("utf-8", "replace")
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss * 1024,
        "said": text[:2000],
        "length": len(text),
    }


def _say(what: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Load all modules, then do as told."""
    import enxuto.cli
    import one_command_line  # noqa: F401 - for what it does
    from enxuto.demo import MODEL

    for module in ("opening", "compression.data_free", "enx.ledger", "enx.verify", "summary", "runtime"):
        __import__(f"enxuto.{module}")
    with tempfile.TemporaryDirectory() as folder:  # compiles, and loads what is loaded late
        file = Path(folder) / "demo.enx"
        enxuto.compress(MODEL, threads=1).save(file)
        for way in ("load", "inspect", "verify"):
            in_a_child(lambda way=way: run(way, str(file)))
        enxuto.load(file, threads=1)
        from enxuto.enx.ledger import ledger_of
        from enxuto.enx.verify import verify

        verify(enxuto.CompressedModel.read(file))
        ledger_of(enxuto.CompressedModel.read(file))
    gc.collect()
    gc.freeze()  # or children that collect garbage look at all that is loaded, and so copy it
    floor = in_a_child(lambda: 0)["memory"]
    assert isinstance(floor, int)
    _say({"ready": floor})
    for line in sys.stdin:
        job = json.loads(line)
        found = in_a_child(lambda job=job: run(job["way"], job["path"]))
        assert isinstance(found["memory"], int)
        _say({**found, "memory": found["memory"] - floor})


if __name__ == "__main__":
    main()
