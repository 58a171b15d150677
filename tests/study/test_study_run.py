"""Studies on this machine: each point once, in order, whatever dies meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from enxuto.errors import UsageError
from enxuto.study import Local, Point, Result, Serial, Store, Study, StudyProgress

FUNCTIONS = "study_functions"
EXECUTORS = pytest.mark.parametrize("executor", [Serial(), Local(workers=2)], ids=["serial", "local"])


def squares(count: int, log: Path | None = None) -> list[Point]:
    paths = {} if log is None else {"log": str(log)}
    return [Point(f"{FUNCTIONS}:square", {"x": x}, seed=x, paths=paths) for x in range(count)]


def calls(log: Path) -> Counter[str]:
    return Counter(line.split()[0] for line in log.read_text().splitlines())


@EXECUTORS
def test_each_point_is_computed_once_and_found_again(tmp_path: Path, executor: Serial | Local) -> None:
    log, seen = tmp_path / "log", list[StudyProgress]()
    points = squares(5, log)
    study = Study([*points, points[0]], tmp_path / "study")
    results = study.run(executor, seen.append)
    assert [results[point].values for point in points] == [{"square": x * x, "seed": x} for x in range(5)]
    assert [result.point for result in results] == [point.id for point in points]
    assert results.exit_code == 0
    assert [(p.total, p.settled, p.failed) for p in seen] == [(5, n, 0) for n in range(6)]
    assert seen[0].eta is None
    assert seen[-1].eta == 0
    first = results[points[0]]
    assert first.machine["cores"] >= 1
    assert first.versions["python"] == sys.version.split()[0]
    assert first.seconds >= 0

    again = study.run(executor, seen.append)
    assert [again[point] for point in points] == [results[point] for point in points]
    assert (seen[-1].known, seen[-1].settled) == (5, 5)
    grown = Study(squares(7, log), tmp_path / "study").run(executor)
    assert len(list(grown)) == 7
    assert calls(log) == Counter(point.id for point in squares(7))
    assert len((tmp_path / "study" / "records.jsonl").read_text().splitlines()) == 7


@EXECUTORS
def test_points_that_need_others_run_after_them(tmp_path: Path, executor: Serial | Local) -> None:
    parts = squares(3)
    sum_of = Point(f"{FUNCTIONS}:total", after=parts)
    twice = Point(f"{FUNCTIONS}:total", after=[sum_of, sum_of])
    reader = Point(f"{FUNCTIONS}:read_file", after=[twice])
    study = Study([reader, parts[0]], tmp_path)
    assert [point.id for point in study.ordered()] == [
        point.id for point in (*parts, sum_of, twice, reader)
    ]  # the parts without being listed
    results = study.run(executor)
    assert results[sum_of].values == {"square": 5}
    assert results[twice].values == {"square": 10}
    assert results[reader].values == {"text": "10"}
    assert results[reader].after == (twice.id,)


@EXECUTORS
def test_a_failure_is_one_line_and_stops_only_what_needs_it(tmp_path: Path, executor: Serial | Local) -> None:
    bad = Point(f"{FUNCTIONS}:fail", {"kind": "own"})
    needs = Point(f"{FUNCTIONS}:total", after=[squares(1)[0], bad])
    needs_that = Point(f"{FUNCTIONS}:total", {"deep": True}, after=[needs])
    good = squares(4)
    results = Study([needs_that, *good], tmp_path).run(executor)
    assert results.exit_code == 1
    assert [result.error for result in results.failed] == ["image 3 is damaged"]
    assert all(results[point].done for point in good)
    assert set(results.not_run) == {needs.id, needs_that.id}
    assert results.not_run[needs_that.id] == f"not run, as {bad.id} failed: image 3 is damaged"
    with pytest.raises(UsageError, match="image 3"):
        _ = results[needs_that]
    assert "DataError" in (Store(tmp_path).find(bad.id) or results[bad]).trace  # type: ignore[operator]
    with pytest.raises(UsageError, match="E021"):
        _ = results[Point("a:b")]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("other", "IndexError: list index out of range (study_functions.py:"),
        ("nan", "cannot be written as JSON"),
        ("object", "not JSON serializable"),
    ],
)
def test_other_failures_say_what_and_where(tmp_path: Path, kind: str, says: str) -> None:
    point = Point(f"{FUNCTIONS}:fail", {"kind": kind})
    error = Study([point], tmp_path).run(Serial())[point].error
    assert error is not None
    assert says in error


def test_a_function_that_is_not_there_fails(tmp_path: Path) -> None:
    points = [Point("study_functions:nothing"), Point("no_such_module:x"), Point("study_functions:__doc__")]
    results = Study(points, tmp_path).run(Serial())
    assert [("nothing" in str(results[point].error), results[point].done) for point in points] == [
        (True, False), (False, False), (False, False),
    ]  # fmt: skip
    assert "is no function" in str(results[points[2]].error)


def test_failed_points_are_tried_again(tmp_path: Path) -> None:
    point = Point(f"{FUNCTIONS}:kill_once")
    after = Point(f"{FUNCTIONS}:fail", {"kind": "exit"}, after=[point])
    study = Study([after], tmp_path)
    first = study.run(Local(workers=1))
    assert "SIGKILL" in str(first[point].error)
    second = study.run(Local(workers=1))
    assert second[point].values == {"tries": 2}
    assert "ended with code 3" in str(second[after].error)
    assert [result.done for result in Store(tmp_path).results()] == [True, False]


def test_a_process_that_dies_takes_only_its_point_along(tmp_path: Path) -> None:
    points = squares(8)
    killer = Point(f"{FUNCTIONS}:fail", {"kind": "kill"})
    results = Study([*points[:3], killer, *points[3:]], tmp_path).run(Local(workers=1))
    assert all(results[point].done for point in points)
    assert "SIGKILL" in str(results[killer].error)


def test_a_point_does_not_wait_behind_a_long_one_while_a_process_is_free(tmp_path: Path) -> None:
    log = tmp_path / "log"
    points = [
        Point(f"{FUNCTIONS}:slow_square", {"x": x, "seconds": seconds}, paths={"log": str(log)})
        for x, seconds in enumerate((2.5, 0.01, 0.01, 0.01, 0.01))
    ]
    Study(points, tmp_path / "study").run(Local(workers=2))
    process = dict(line.split() for line in log.read_text().splitlines())
    assert [process[point.id] == process[points[1].id] for point in points] == [False, True, True, True, True]


def test_processes_have_bounded_threads(tmp_path: Path) -> None:
    point = Point(f"{FUNCTIONS}:threads")
    values = Study([point], tmp_path).run(Local(workers=1, threads=3))[point].values
    assert values == {"environment": ["3"] * 4, "told": 3}


def test_results_larger_than_a_pipe_pass_both_ways(tmp_path: Path) -> None:
    large = [Point(f"{FUNCTIONS}:big", {"size": 1_000_000, "n": n}) for n in range(3)]
    after = [Point(f"{FUNCTIONS}:big", {"size": 400_000, "n": n}, after=large) for n in range(4)]
    results = Study(after, tmp_path).run(Local(workers=1))
    assert [len((results[point].values or {})["text"]) for point in after] == [400_000] * 4


def test_numbers_of_workers_that_make_no_sense_are_refused() -> None:
    for workers, threads in ((0, 1), (1, 0), (-1, 1)):
        with pytest.raises(UsageError, match="at least 1"):
            Local(workers=workers, threads=threads)


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="E013"):
        Study([], tmp_path / "file" / "x").run(Serial())
    with pytest.raises(UsageError, match="E010"):
        Store(tmp_path / "nowhere")


RUN = """
import sys
sys.path.insert(0, sys.argv[2])
from enxuto.machine.signals import end_on_sigterm
from enxuto.study import Local, Point, Study
if __name__ == "__main__":
    log = {"log": sys.argv[1] + "/log"}
    points = [Point("study_functions:slow_square", {"x": x, "seconds": 0.05}, paths=log) for x in range(20)]
    with end_on_sigterm():
        Study(points, sys.argv[1]).run(Local(workers=2), lambda p: print(p.settled, flush=True))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_study_goes_on(tmp_path: Path, how: signal.Signals) -> None:
    script, study, here = tmp_path / "run.py", tmp_path / "study", str(Path(__file__).parent)
    script.write_text(RUN)
    study.mkdir()
    command = [sys.executable, str(script), str(study), here]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 5:
                process.send_signal(how)
                break
    assert process.returncode == {signal.SIGTERM: 143}.get(how, -how)
    kept = {result.point for result in Store(study).results()}
    assert 5 <= len(kept) < 20
    time.sleep(0.3)  # its workers end with it: nobody writes into the log any more
    before = calls(study / "log")
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    store = Store(study)
    assert len(store.results()) == 20
    assert store.problems == []
    after = calls(study / "log") - before
    assert not kept & set(after)  # what was recorded was not computed again
    assert set(after.values()) == {1}


LEFT = """
import sys
sys.path.insert(0, sys.argv[2])
from enxuto.study import Local, Point, Study
if __name__ == "__main__":
    points = [Point("study_functions:hold_a_lock", {"seconds": float(text)}) for text in sys.argv[3:]]

    def stop(progress):
        if progress.last is not None:
            raise KeyboardInterrupt

    try:
        Study(points, sys.argv[1]).run(Local(workers=2), stop if len(points) > 1 else None)
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.parametrize("seconds", [["0"], ["0", "60"]], ids=["idle", "while one computes"])
def test_processes_end_without_leaving_semaphores(tmp_path: Path, seconds: list[str]) -> None:
    """Python's resource tracker complains on stderr of those that nobody took away."""
    script, here = tmp_path / "run.py", str(Path(__file__).parent)
    script.write_text(LEFT)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "study"), here, *seconds],
        capture_output=True, text=True, timeout=50, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout == ("interrupted\n" if len(seconds) > 1 else "")


def test_a_process_that_was_asked_to_end_is_said_so(tmp_path: Path) -> None:
    point = Point(f"{FUNCTIONS}:ask_to_end")
    assert "SIGTERM" in str(Study([point], tmp_path).run(Local(workers=1))[point].error)


def test_a_study_is_run_by_one_process_at_a_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.writing(), pytest.raises(UsageError, match="E082"):
        Study(squares(1), tmp_path).run(Serial())
    result = Study(squares(1), tmp_path).run(Serial())[squares(1)[0]]
    assert isinstance(result, Result)


def test_the_time_left_is_of_kinds_that_have_been_seen(tmp_path: Path) -> None:
    """A point that only loads a network says nothing of how long the trainings after it take."""
    seen = list[StudyProgress]()
    first = squares(1)[0]
    slow = [
        Point(f"{FUNCTIONS}:slow_square", {"x": x, "seconds": 0.3}, seed=x, after=[first]) for x in range(3)
    ]
    Study(slow, tmp_path / "study").run(Serial(), seen.append)
    left = [one.eta for one in seen]
    assert left[:2] == [None, None]
    assert left[2] is not None
    assert left[3] is not None
    assert 0.6 <= left[2] < 6
    assert left[3] < left[2]
    assert left[4] == 0
