"""How many processors this process may use: the one answer for all of enxuto.

The least of what the machine has, of those that the process may run on (affinity), and of what its control groups leave
it (a container with `--cpus 2`, say). Not here: libraries that count by themselves (BLAS, PyTorch).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from numbers import Integral
from pathlib import Path

from enxuto.errors import UsageError

__all__ = ["check_threads", "processors", "quota"]


def processors() -> int:
    """How many processors this process may use at a time, 1 or more. A quota's fraction is left to others."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    bound = _own_quota()
    return max(1, there if bound is None else min(there, int(bound)))


def check_threads(threads: object) -> None:
    """Raise `UsageError` where a caller's `threads` is no whole number from 0 (one per processor) up."""
    if isinstance(threads, bool) or not isinstance(threads, Integral) or threads < 0:
        raise UsageError(f"threads= takes a whole number, 0 for one per processor, not {threads!r}")


def quota(root: Path = Path("/")) -> float | None:
    """Processors that control groups leave this process at a time, None without such a bound (Linux, cgroup 1 and 2).

    root: where `proc` and `sys` are. A group is bound by those it is in, too.
    """
    bounds = [bound for group in _groups(root) if (bound := _bound_of(group)) is not None]
    return min(bounds, default=None)


@cache
def _own_quota() -> float | None:
    """Read once a process: it is asked for every tensor."""
    return quota()


def _groups(root: Path) -> Iterator[Path]:
    """The folders of the groups that bound processors, each with those it is in."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    bases = [(root / "sys/fs/cgroup", "")]  # what a container sees of its own group
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            bases.append((root / "sys/fs/cgroup", path))
        elif "cpu" in controllers.split(","):
            bases += [(root / "sys/fs/cgroup" / name, path) for name in {controllers, "cpu"}]
    for base, path in bases:
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        for count in range(len(parts), -1, -1):
            yield base.joinpath(*parts[:count])


def _bound_of(group: Path) -> float | None:
    """Processors of one group; None where it has no bound or says none that makes sense."""
    try:
        if (group / "cpu.max").is_file():
            most, period = (group / "cpu.max").read_text(encoding="utf-8").split()
        else:
            most = (group / "cpu.cfs_quota_us").read_text(encoding="utf-8").strip()
            period = (group / "cpu.cfs_period_us").read_text(encoding="utf-8").strip()
        share = int(most) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max" is no number
        return None
    return share if share > 0 else None
