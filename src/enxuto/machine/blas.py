"""One thread for BLAS, where layers are shared out among enxuto's own threads.

Two threads whose BLAS has two threads each take twice the processor time for the same work on two cores. And NumPy's
sums are then cut in the same places whatever the number of threads. Those of ONNX Runtime are, too, on two threads; on
four and more some of its matrix products differ in last bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

__all__ = ["one_blas_thread"]


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside (or in a function that this decorates), BLAS computes in the thread that calls it."""
    with threadpool_limits(1, user_api="blas"):
        yield
