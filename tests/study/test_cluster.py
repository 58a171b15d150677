"""The same study on a real Dask scheduler and workers on loopback, one of them killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from enxuto.cli import app
from enxuto.errors import UsageError
from enxuto.study import Cluster, Point, Store, Study, StudyProgress

pytest.importorskip("distributed")

HERE = str(Path(__file__).parent)
SMALL = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(filter(None, (HERE, os.environ.get("PYTHONPATH")))),
    "OMP_NUM_THREADS": "1",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0",
}


def started(*arguments: str, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]],
            env=SMALL, stdout=file, stderr=file,
        )  # fmt: skip


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes], list[subprocess.Popen[bytes]]]]:
    """Address, scheduler and two workers of one thread each."""
    file = tmp_path / "scheduler.json"
    scheduler = started(
        "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file),
        log=tmp_path / "scheduler.log",
    )  # fmt: skip
    workers = []
    try:
        end = time.monotonic() + 60
        while not file.exists() and time.monotonic() < end:
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        workers = [
            started(
                "dask_worker", address, "--nthreads", "1", "--nworkers", "1", "--no-nanny", "--no-dashboard",
                "--local-directory", str(tmp_path / f"worker-{number}"), log=tmp_path / f"worker-{number}.log",
            )
            for number in range(2)
        ]  # fmt: skip
        yield address, scheduler, workers
    finally:
        for process in [*workers, scheduler]:
            process.kill()
            process.wait()


def test_a_killed_worker_loses_no_point_and_none_is_there_twice(
    tmp_path: Path, cluster: tuple[str, subprocess.Popen[bytes], list[subprocess.Popen[bytes]]]
) -> None:
    address, scheduler, workers = cluster
    log, folder = tmp_path / "log", tmp_path / "study"
    slow = [
        Point("study_functions:slow_square", {"x": x, "seconds": 0.1}, paths={"log": str(log)})
        for x in range(30)
    ]
    last = Point("study_functions:total", after=slow)
    failing = Point("study_functions:fail", {"kind": "own"})

    def kill_one(progress: StudyProgress) -> None:
        used = {line.split()[1] for line in log.read_text().splitlines()} if log.exists() else set()
        if progress.settled >= 8 and len(used) == 2 and workers[0].poll() is None:
            workers[0].send_signal(signal.SIGKILL)

    results = Study([last, failing, *slow], folder).run(Cluster(address), kill_one)
    assert workers[0].poll() == -signal.SIGKILL
    assert [(results[point].values or {})["square"] for point in slow] == [x * x for x in range(30)]
    assert results[last].values == {"square": sum(x * x for x in range(30))}
    assert (folder / "points" / last.id / "total.txt").is_file()
    assert results[failing].error == "image 3 is damaged"
    recorded = Counter(result.point for result in Store(folder).results())
    assert recorded == Counter({point.id: 1 for point in (*slow, last, failing)})
    assert len((folder / "records.jsonl").read_text().splitlines()) == 32

    def stop(progress: StudyProgress) -> None:
        if progress.last is not None:
            scheduler.kill()

    more = [Point("study_functions:slow_square", {"x": x, "seconds": 0.2}) for x in range(100, 106)]
    with pytest.raises(UsageError, match="E093"):
        Study(more, folder).run(Cluster(address), stop)
    assert len(Store(folder).results()) >= 33


@pytest.mark.acceptance
def test_a_lottery_on_a_cluster(
    tmp_path: Path, cluster: tuple[str, subprocess.Popen[bytes], list[subprocess.Popen[bytes]]]
) -> None:
    """The verb, with real trainings on the workers; the records are those of one process."""
    pytest.importorskip("torch")
    random = np.random.default_rng(0)
    for part, count in (("train", 24), ("test", 16)):
        images = random.integers(0, 256, (count, 8, 8), dtype=np.uint8)
        np.savez(tmp_path / f"{part}.npz", images=images, labels=np.arange(count) % 4)
    asked = ["lottery", "lenet5", "--data", tmp_path / "train.npz", "--test", tmp_path / "test.npz", "--seeds", 1,
             "--rounds", 1, "--criteria", "l1", "--retrain", "rewind", "--score-images", 8, "--set", "batch=8",
             "--json"]  # fmt: skip
    found = []
    for name, where in (("there", ["--scheduler", cluster[0]]), ("here", ["--workers", 0])):
        words = [str(word) for word in [*asked, "--output", tmp_path / name, *where]]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        found.append({one.point: (one.values or {})["top1"] for one in Store(tmp_path / name).results()})
        assert sorted(json.loads(result.stdout)["unpruned"]["seeds"]) == ["0"]
    assert len(found[0]) == 3
    assert found[0] == found[1]


def test_a_scheduler_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enxuto.study.cluster._PATIENCE", 1)
    with pytest.raises(UsageError, match=r"no scheduler answers at tcp://127.0.0.1:1"):
        Study([Point("a.b:c")], tmp_path).run(Cluster("tcp://127.0.0.1:1"))
    with pytest.raises(UsageError, match="no scheduler answers at nonsense"):
        Study([Point("a.b:c")], tmp_path).run(Cluster("nonsense://x"))
