"""Whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enx_samples import small_model
from enxuto.compression.data_free import compress
from enxuto.errors import UsageError
from enxuto.files import atomic_write
from enxuto.machine.signals import hold_interrupts


def test_a_new_file_and_a_replaced_one(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    for content in (b"old", b"new and longer"):
        with atomic_write(target) as file:
            file.write(content)
            assert not target.exists() or target.read_bytes() == b"old"
        assert target.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3), MemoryError()])
def test_an_error_inside_leaves_everything_as_it_was(error: BaseException, tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    def interrupted() -> None:
        with atomic_write(target) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)):
        interrupted()
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_a_full_disk_is_a_usage_error_and_leaves_nothing(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = compress(small_model())
    target = tmp_path / "m"
    target.write_bytes(b"old")

    def full(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match=os.strerror(number)):
        made.save(target)
    with pytest.raises(UsageError, match="nothing was changed"):
        made.to_model().write(target)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """Every write to /dev/full fails as on a full disk; here it stands in for the temporary file."""
    if not Path("/dev/full").exists():
        with pytest.raises(UsageError):
            compress(small_model()).save(tmp_path / "missing" / "m.enx")
        return
    real = os.fdopen

    def fdopen(handle: int, *arguments: Any, **options: Any) -> Any:
        os.close(handle)
        return real(os.open("/dev/full", os.O_WRONLY), *arguments, **options)

    target = tmp_path / "m.enx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fdopen", fdopen)
        with pytest.raises(UsageError, match="No space left"):
            compress(small_model()).save(target)
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for target in (folder, tmp_path / "missing" / "a", Path("/dev/null"), tmp_path / ("x" * 300)):
        with pytest.raises(UsageError, match="cannot write"), atomic_write(target):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_long_names_are_possible(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 250)
    with atomic_write(target) as file:
        file.write(b"1")
    assert target.read_bytes() == b"1"


def test_permissions(tmp_path: Path) -> None:
    target = tmp_path / "a"
    before = os.umask(0o027)
    try:
        with atomic_write(target) as file:
            file.write(b"1")
        assert stat.S_IMODE(target.stat().st_mode) == 0o640
        target.chmod(0o600)
        with atomic_write(target) as file:
            file.write(b"2")
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
    finally:
        assert os.umask(before) == 0o027


def test_the_temporary_file_has_another_name(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "m.enx") as file:
        names = [path.name for path in tmp_path.iterdir()]
        assert len(names) == 1
        assert names[0].endswith(".part")
        assert names[0].startswith(".m.enx.")
        assert file.writable()


def interrupted_block(then: Callable[[], None]) -> None:
    """A block in which a Ctrl-C comes, and something after it."""
    with hold_interrupts():
        signal.raise_signal(signal.SIGINT)
        then()


def test_an_interrupt_waits_for_the_block() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted_block(lambda: done.append("the rest of the block"))
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_in_the_block_is_not_hidden_by_an_interrupt() -> None:
    def fail() -> None:
        raise ValueError("own")

    with pytest.raises(ValueError, match="own"):
        interrupted_block(fail)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
