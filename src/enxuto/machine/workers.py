"""Threads that share work out; an interrupt or an error does not wait for work that has not begun."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

__all__ = ["workers"]


@contextmanager
def workers(count: int) -> Iterator[ThreadPoolExecutor]:
    """Give a pool of so many threads. At the end all its work is done; behind an error, what had begun."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()
