"""Downloads from a server in this process and from files: whole and checked, or nothing at all."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from enxuto.cli import app
from enxuto.data import PUBLISHED, cache_folder, download, locate, open_dataset
from enxuto.data.downloads import fetch
from enxuto.data.published import PublishedDataset, RemoteFile
from enxuto.errors import DataError, UsageError

CONTENT: dict[str, bytes] = {}
ASKED: list[str] = []


class Handler(BaseHTTPRequestHandler):
    """Answers with CONTENT; `/cut/` ends early, `/long/` never mentions its length and adds to it."""

    def do_GET(self) -> None:
        ASKED.append(self.path)
        how, name = self.path.strip("/").split("/")
        if name not in CONTENT:
            self.send_error(404)
            return
        body = CONTENT[name] + (b"more" if how == "long" else b"")
        self.send_response(200)
        if how == "cut":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if how == "cut" else body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    CONTENT.clear()
    ASKED.clear()
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join()
    running.server_close()


def remote(name: str, content: bytes, *urls: str) -> RemoteFile:
    return RemoteFile(name, urls, hashlib.sha256(content).hexdigest(), len(content))


def archive(files: dict[str, bytes], *, prefix: str = "inside/") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as packed:
        for name, content in files.items():
            info = tarfile.TarInfo(prefix + name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def left_behind(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_files_are_fetched_once_and_progress_is_told(server: str, tmp_path: Path) -> None:
    CONTENT["a.gz"] = b"a" * 5000
    wanted = PublishedDataset("set", (remote("a.gz", CONTENT["a.gz"], f"{server}/whole/a.gz"),))
    told: list[tuple[str, int, int]] = []
    for _ in range(2):
        place = fetch(wanted, tmp_path, progress=lambda *news: told.append(news))
    assert (place / "a.gz").read_bytes() == CONTENT["a.gz"]
    assert ASKED == ["/whole/a.gz"]
    assert told[-1] == ("a.gz", 5000, 5000)
    assert left_behind(tmp_path) == ["set/a.gz"]


def test_a_damaged_file_is_fetched_again(server: str, tmp_path: Path) -> None:
    CONTENT["a.gz"] = b"good"
    wanted = PublishedDataset("set", (remote("a.gz", b"good", f"{server}/whole/a.gz"),))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.gz").write_bytes(b"bad!")
    fetch(wanted, tmp_path)
    assert (tmp_path / "set" / "a.gz").read_bytes() == b"good"


@pytest.mark.parametrize(
    ("how", "content", "message"),
    [
        ("whole", b"evil" * 1000, "SHA-256 is"),
        ("whole", b"short", "ended after 5 of 4000 bytes"),
        ("long", b"good" * 1000, "more than the 4000 bytes"),
        ("cut", b"good" * 1000, "2000"),
        ("whole", None, "404|Not Found"),
    ],
)
def test_wrong_bytes_leave_nothing(
    server: str, tmp_path: Path, how: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        CONTENT["a.gz"] = content
    for unpacked in ((), ("x.bin",)):
        wanted = PublishedDataset("set", (remote("a.gz", b"good" * 1000, f"{server}/{how}/a.gz"),), unpacked)
        with pytest.raises(DataError, match=message):
            fetch(wanted, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_next_mirror_is_asked_when_one_fails(server: str, tmp_path: Path) -> None:
    CONTENT["a.gz"] = b"good" * 1000
    urls = (f"{server}/whole/missing", f"{server}/cut/a.gz", f"{server}/whole/a.gz")
    place = fetch(PublishedDataset("set", (remote("a.gz", CONTENT["a.gz"], *urls),)), tmp_path)
    assert (place / "a.gz").read_bytes() == CONTENT["a.gz"]
    assert len(ASKED) == 3


def test_no_server_is_a_data_error(tmp_path: Path) -> None:
    wanted = PublishedDataset(
        "set", (remote("a.gz", b"x", "http://127.0.0.1:9/a.gz", (tmp_path / "no").as_uri()),)
    )
    with pytest.raises(DataError, match=r"a\.gz could not be fetched: .*; .*"):
        fetch(wanted, tmp_path / "to")
    assert left_behind(tmp_path) == []


def test_an_archive_becomes_a_folder_that_opens(tmp_path: Path) -> None:
    records = np.zeros((3, 3073), np.uint8)
    records[:, 0] = [1, 2, 3]
    files = {f"data_batch_{n}.bin": records.tobytes() for n in range(1, 6)}
    files |= {
        "test_batch.bin": records[:1].tobytes(),
        "batches.meta.txt": b"\n".join(b"abcdefghij"[i : i + 1] for i in range(10)),
    }
    packed = archive(files | {"../../evil.txt": b"x", "readme.html": b"x"})
    (tmp_path / "c.tar.gz").write_bytes(packed)
    known = PUBLISHED["cifar10"]
    wanted = PublishedDataset(
        known.folder, (remote("c.tar.gz", packed, (tmp_path / "c.tar.gz").as_uri()),), known.unpacked_names
    )
    place = fetch(wanted, tmp_path / "to")
    assert left_behind(tmp_path / "to") == sorted(f"{known.folder}/{name}" for name in files)
    assert not (tmp_path / "evil.txt").exists()
    data = open_dataset(place, split="train")
    assert (len(data), data.classes) == (15, tuple("abcdefghij"))
    assert locate("cifar10", tmp_path / "to") == place
    before = place.stat().st_mtime_ns
    assert fetch(wanted, tmp_path / "to") == place
    assert place.stat().st_mtime_ns == before


def test_an_incomplete_folder_is_replaced(tmp_path: Path) -> None:
    packed = archive({"x.bin": b"new"})
    (tmp_path / "c.tar.gz").write_bytes(packed)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "other").write_bytes(b"old")
    wanted = PublishedDataset(
        "set", (remote("c.tar.gz", packed, (tmp_path / "c.tar.gz").as_uri()),), ("x.bin",)
    )
    fetch(wanted, tmp_path)
    assert left_behind(tmp_path) == ["c.tar.gz", "set/x.bin"]


@pytest.mark.parametrize(
    "packed",
    [archive({"other.bin": b"x"}), b"no archive", archive({"x.bin": b"x" * 9000})[:60]],
    ids=[
        "another file",
        "no archive",
        "cut off",
    ],  # an archive holds the time, which must not be a test's name
)
def test_an_archive_that_is_not_the_one_leaves_nothing(tmp_path: Path, packed: bytes) -> None:
    (tmp_path / "c.tar.gz").write_bytes(packed)
    wanted = PublishedDataset(
        "set", (remote("c.tar.gz", packed, (tmp_path / "c.tar.gz").as_uri()),), ("x.bin",)
    )
    with pytest.raises(DataError, match="E047"):
        fetch(wanted, tmp_path / "to")
    assert left_behind(tmp_path / "to") == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="E013"):
        download("mnist", tmp_path / "file")


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ENXUTO_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("ENXUTO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "enxuto" or sys.platform != "linux"


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_a_missing_set_says_the_command_and_fetches_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ENXUTO_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=rf"(?m)enxuto fetch {name}$"):
        open_dataset(name)
    with pytest.raises(DataError, match=rf"(?m)enxuto fetch {name} -o there$"):
        locate(name, "there")
    assert os.listdir(tmp_path) == []


def test_what_is_on_record_is_complete() -> None:
    for item in PUBLISHED.values():
        for file in item.files:
            assert len(bytes.fromhex(file.sha256)) == 32
            assert file.bytes > 4000
            assert all(url.endswith(file.name) for url in file.urls)
    with pytest.raises(UsageError, match="cifar10, cifar100, mnist, fashion-mnist"):
        download("svhn")


def test_importing_the_data_room_brings_no_network_modules() -> None:
    code = (
        "import sys, enxuto.data; assert not {'urllib.request', 'tarfile', 'http.client'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_verb_fetches_and_says_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(b"good")
    known = {"tiny": PublishedDataset("tiny", (remote("a.gz", b"good", (tmp_path / "a.gz").as_uri()),))}
    monkeypatch.setattr("enxuto.data.published.PUBLISHED", known)
    monkeypatch.setenv("ENXUTO_CACHE", str(tmp_path / "cache"))
    result = CliRunner().invoke(app, ["fetch", "tiny"])
    assert (result.exit_code, result.stdout.strip()) == (0, str(tmp_path / "cache" / "tiny"))
    result = CliRunner().invoke(app, ["fetch", "tiny", "-o", str(tmp_path / "to"), "--json"])
    said = json.loads(result.stdout)
    assert said["schema"] == "enxuto.fetch/1"
    assert (said["name"], said["path"]) == ("tiny", str(tmp_path / "to" / "tiny"))
    assert CliRunner().invoke(app, ["fetch", "mnist"]).exit_code == 2
