"""The state directory of a real service: backed up, restored, harmed, and refused with a reason."""

from __future__ import annotations

import http.client
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import StartService
from tests.harness.disks import small_disk
from tests.harness.service import RunningService, ServiceFailed, webhook_sections
from tests.harness.sink import SinkProcess
from tests.harness.waiting import wait_until
from tests.process.client import post, track

#: `bulkhead backup`, killed by itself once so many pages are copied.
_DIES_IN_A_BACKUP = """
import os, signal, sys
from supervisor.queue.sqlite import backup
from supervisor.__main__ import main
backup.PAGES = 1
backup._declare = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main(sys.argv[1:])
"""


class Load:
    """Posts events, one request after the other, until it is told to stop."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._is_over = threading.Event()
        self.taken: list[str] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        for number in range(100_000):
            if self._is_over.is_set():
                return
            ids = [f"m{number}-{n}" for n in range(20)]
            post(self._url, [track(one) for one in ids])
            self.taken += ids


@pytest.fixture
def stopped_sink(sink: SinkProcess) -> SinkProcess:
    """A destination that takes nothing yet."""
    sink.answer_with(500)
    return sink


def test_backup_under_load_and_restore(
    running_service: StartService, stopped_sink: SinkProcess, tmp_path: Path
) -> None:
    """Backed up while events come in, lost, restored: the books balance, and nothing that had been
    taken before the backup began is lost."""
    sections = webhook_sections(stopped_sink.url)
    sections["retry"] = {"first_delay": "100ms", "max_delay": "300ms"}
    service = running_service(sections)
    file = tmp_path / "backup.db"
    with Load(service.url) as load:
        wait_until(lambda: len(load.taken) > 200, 30, "some events are taken")
        before = list(load.taken)
        done = service.command("backup", str(file), "--config", str(service.config_path))
    assert done.returncode == 0, done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.glob("backup*")] == ["backup.db"]
    service.stop()
    state_dir = service.directory / "state"
    shutil.rmtree(state_dir)
    state_dir.mkdir()
    shutil.copy(file, state_dir / "queue.db")
    offline = service.command("audit", "--state-dir", str(state_dir))
    assert offline.returncode == 0, offline.stderr
    service.start()
    assert "queue_backup_restored" in service.log_path.read_text()
    stopped_sink.answer_with(200)
    service.wait_for(lambda books: books["pending"] == 0, within_s=60)
    assert set(before) <= stopped_sink.received().keys()
    audited = service.command("audit", "--config", str(service.config_path))
    assert audited.returncode == 0, audited.stderr


def test_backup_never_writes_over_a_file_unasked(
    running_service: StartService, sink: SinkProcess, tmp_path: Path
) -> None:
    """FILE that exists is left alone without --force, and the way by the admin API is the same."""
    service = running_service(webhook_sections(sink.url))
    file = tmp_path / "backup.db"
    file.write_text("precious")
    admin = f"http://127.0.0.1:{service.admin_port}"
    refused = service.command("backup", str(file), "--admin", admin)
    assert refused.returncode == 1
    assert refused.stderr == f"{file}: exists; choose another name, or --force to replace it\n"
    assert file.read_text() == "precious"
    assert service.command("backup", str(file), "--admin", admin, "--force").returncode == 0
    assert file.read_bytes().startswith(b"SQLite format 3")
    assert file.stat().st_mode & 0o777 == 0o600


def test_backup_onto_a_full_disk(
    running_service: StartService, sink: SinkProcess, tmp_path: Path
) -> None:
    """The error names the file and says what to do; no half file is left behind."""
    service = running_service(webhook_sections(sink.url))
    with small_disk(tmp_path / "disk", 64 * 1024) as disk:
        done = service.command("backup", str(disk / "b"), "--config", str(service.config_path))
        assert done.returncode == 1
        assert "b.part: the disk is full" in done.stderr
        assert done.stderr.count("\n") == 1
        assert not list(disk.iterdir())


def test_backup_that_is_killed(
    running_service: StartService, sink: SinkProcess, tmp_path: Path
) -> None:
    """FILE is not there, the service goes on, and the next try does not mind what is left."""
    service = running_service(webhook_sections(sink.url))
    file = tmp_path / "backup.db"
    arguments = ["backup", str(file), "--config", str(service.config_path)]
    killed = subprocess.run([sys.executable, "-c", _DIES_IN_A_BACKUP, *arguments], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not file.exists()
    post(service.url, [track("m1")])
    assert service.command(*arguments).returncode == 0
    assert [path.name for path in tmp_path.glob("backup*")] == ["backup.db"]


def test_files_removed_under_the_running_service(
    running_service: StartService, stopped_sink: SinkProcess
) -> None:
    """Within a second senders get 503 and /ready is false; log and metric say why; what is pending
    is delivered; the next start says what is missing, and goes on when it is told to."""
    sections = webhook_sections(stopped_sink.url)
    sections["retry"] = {"first_delay": "100ms", "max_delay": "300ms"}
    service = running_service(sections)
    post(service.url, [track(f"m{n}") for n in range(5)])
    wait_until(lambda: (service.directory / "state/queue.mark").exists(), 10, "there is a mark")
    for name in ("queue.db", "queue.db-wal", "queue.db-shm"):
        (service.directory / "state" / name).unlink()
    removed = time.monotonic()
    wait_until(lambda: not is_ready(service), 10, "not ready")
    assert time.monotonic() - removed < 3.0  # a second, and what a busy machine adds
    with pytest.raises(urllib.error.HTTPError, match="503"):
        post(service.url, [track("m9")])
    assert service.log_path.read_text().count("queue_files_missing") == 1
    metrics = page(service, "/metrics")
    assert "bulkhead_queue_files_missing 1.0" in metrics
    assert "bulkhead_queue_intake_open 0.0" in metrics
    assert "removed or moved" in service.admin("/status")["store"]["files_missing"]
    stopped_sink.answer_with(200)
    wait_until(lambda: len(stopped_sink.received()) == 5, 30, "what is pending is delivered")
    service.stop()
    with pytest.raises(ServiceFailed, match="the database is gone") as refused:
        service.start()
    flag = str(refused.value).split("--accept-loss ")[1].split()[0]
    accepting = subprocess.Popen(
        [
            *(sys.executable, "-m", "supervisor", "run"),
            *("--config", str(service.config_path), "--accept-loss", flag),
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: is_ready(service), 60, "it takes events")
        post(service.url, [track("m10")])
    finally:
        accepting.terminate()
        assert accepting.wait(60) == 0
    service.start()


def test_a_directory_of_a_newer_version(running_service: StartService, sink: SinkProcess) -> None:
    """It is refused with both numbers, by one line."""
    service = running_service(webhook_sections(sink.url))
    service.stop()
    (service.directory / "state/format").write_text("7\n")
    told = service.command("run", "--config", str(service.config_path))
    assert told.returncode == 1
    assert "format 7; this version reads formats up to 1" in told.stderr.splitlines()[-1]
    (service.directory / "state/format").write_text("1\n")
    service.start()


def is_ready(service: RunningService) -> bool:
    """What `GET /ready` of the tracking API says."""
    try:
        with urllib.request.urlopen(f"{service.url}/ready", timeout=10) as answer:  # noqa: S310 - ours
            return bool(answer.status == 200)
    except (urllib.error.HTTPError, urllib.error.URLError, http.client.HTTPException, OSError):
        return False


def page(service: RunningService, path: str) -> str:
    """A page of the admin API."""
    url = f"http://127.0.0.1:{service.admin_port}{path}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())
