"""`Cluster`: points on the workers of a Dask cluster, `tcp://…` or the name of a scheduler file.

Workers need the same version of enxuto and the packages of the points' functions. Where points leave files, or read
those of others, the study's folder must be the same path on all machines. A worker that is lost hands its points to
the others (Dask's own doing); a point that has brought down several has failed.

Needs the extra `[cluster]`.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from enxuto.errors import UsageError, error_reason, import_optional
from enxuto.study.executor import Outcome, Session, compute, failed_outcome
from enxuto.study.point import Task

if TYPE_CHECKING:
    import distributed

__all__ = ["Cluster"]

_PATIENCE = 30  # seconds until a scheduler must have answered, and until there must be a worker
_RECOUNT = 2.0  # seconds after which workers are counted again


@dataclass(frozen=True)
class Cluster:
    """The cluster of the scheduler at `address`; `threads`: how many each point may use.

    Give Dask's workers one thread each (`dask worker --nthreads 1`), as with more they compute several points at once.
    """

    address: str
    threads: int = 1

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Yield the session. Raises `UsageError` where nobody answers or `distributed` is missing."""
        import_optional("distributed", "a cluster", "Dask", "cluster")
        address = _resolve_address(self.address)
        try:
            client = _client_class()(address, timeout=_PATIENCE, set_as_default=False)
        except (OSError, ValueError, TypeError, RuntimeError, ImportError) as error:
            raise UsageError(
                f"no scheduler answers at {self.address}: {error_reason(error)}", code="E091"
            ) from error
        with client:
            try:
                client.wait_for_workers(1, timeout=_PATIENCE)
            except TimeoutError as error:
                raise UsageError(
                    f"the scheduler at {self.address} has no workers; start some", code="E091"
                ) from error
            yield _Client(client, self.address)


def _resolve_address(address: str) -> str:
    """The address itself, or the one in a scheduler file. Raises `UsageError` for what can be neither, at once.

    Dask would try for half a minute, and for another one to take leave.
    """
    from distributed.comm.addressing import get_address_host_port, parse_address
    from distributed.comm.registry import backends

    address = address
    if Path(address).is_file():
        try:
            address = str(json.loads(Path(address).read_text(encoding="utf-8"))["address"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UsageError(f"{address} is no scheduler file: it has no address", code="E091") from error
    try:
        scheme, _ = parse_address(address)
        host, port = get_address_host_port(address, strict=True) if scheme in backends else ("", 0)
    except (ValueError, TypeError, KeyError, NotImplementedError):
        host, port = "", 0
    if not host or not 0 < int(port or 0) < 65536:
        raise UsageError(
            f"no scheduler answers at {address}: it is neither an address such as tcp://HOST:8786 nor a scheduler file",
            code="E091",
        )
    return address


@functools.cache
def _client_class() -> type[distributed.Client]:
    """Dask's client, but that one which never reached its scheduler does not wait a minute for its farewell.

    The others are closed where their session ends.
    """
    import distributed

    class Client(distributed.Client):  # type: ignore[misc]  # it has no types
        def __del__(self) -> None:
            pass

    return Client


class _Client:
    """Futures of the cluster, as they complete."""

    def __init__(self, client: distributed.Client, address: str) -> None:
        import distributed

        self._client, self._address = client, address
        self._completed = distributed.as_completed(loop=client.loop)
        self._points: dict[str, str] = {}
        self._slots, self._counted = 0, float("-inf")

    def slots(self) -> int:
        """Two for each thread there is: workers may come and go while a study runs."""
        if time.monotonic() > self._counted + _RECOUNT:
            workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
            self._slots = max(2, 2 * sum(worker["nthreads"] for worker in workers))
            self._counted = time.monotonic()
        return self._slots

    def submit(self, task: Task) -> None:
        # The key lets a run find the computation that an interrupted one left on the cluster.
        future = self._client.submit(compute, task, key=f"enxuto-{task.point}")
        self._points[future.key] = task.point
        self._completed.add(future)

    def take(self) -> Outcome:
        future = next(self._completed)
        point = self._points.pop(future.key)
        if future.cancelled():
            raise UsageError(
                f"the scheduler at {self._address} is gone; run the study again to resume it",
                code="E093",
            )
        try:
            outcome: Outcome = future.result()
        except Exception as error:  # noqa: BLE001 - Dask passes on whatever went wrong on the way
            return failed_outcome(point, f"the cluster could not compute it: {type(error).__name__}: {error}")
        return outcome
