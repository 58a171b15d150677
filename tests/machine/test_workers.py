"""Threads that share work out."""

from __future__ import annotations

import threading

import pytest

from enxuto.machine.workers import workers


def test_all_work_is_done_at_the_end() -> None:
    done: list[int] = []
    with workers(2) as pool:
        for number in range(20):
            pool.submit(done.append, number)
    assert sorted(done) == list(range(20))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_does_not_wait_for_work_that_has_not_begun(error: type[BaseException]) -> None:
    began, go_on, done = threading.Event(), threading.Event(), list[int]()

    def wait() -> None:
        began.set()
        go_on.wait(10)

    with pytest.raises(error), workers(1) as pool:  # noqa: PT012
        pool.submit(wait)
        pool.submit(done.append, 1)
        began.wait(10)
        threading.Timer(0.05, go_on.set).start()
        raise error
    assert not done
