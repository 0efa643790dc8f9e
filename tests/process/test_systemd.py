"""The service under a manager: notifications, and sockets that are open before it starts."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.ports import free_port
from tests.harness.service import WRITE_KEY, config_text
from tests.harness.waiting import wait_until
from tests.process.client import post, track

# What systemd does between fork and exec: the pid is known only there.
_LAUNCH = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


class Manager:
    """Plays systemd: a notify socket, listening sockets, and the process that gets both."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(directory / "notify"))
        self.notify.settimeout(30)
        self.api = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.api.getsockname()[1]}"
        self.process: subprocess.Popen[bytes] | None = None
        self.config = directory / "bulkhead.toml"
        self.config.write_text(
            config_text(
                {
                    "service": {"state_dir": str(directory / "state")},
                    "admin": {"listen": f"127.0.0.1:{free_port()}"},
                    "sources.test": {"write_key": WRITE_KEY},
                }
            )
        )

    def start(self) -> None:
        """As systemd does: the sockets are descriptors 3 and up, and LISTEN_PID names the child."""
        fd = self.api.fileno()
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(self.directory / "notify"),
            "WATCHDOG_USEC": "1000000",
            "LISTEN_FDS": "1",
            "LISTEN_FDNAMES": "api",
        }
        service = [sys.executable, "-m", "supervisor", "run", "--config", str(self.config)]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _LAUNCH, str(fd), *service],
                pass_fds=[fd],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def heard(self, wanted: str) -> list[str]:
        """Read notifications up to one that has this line; the lines of all of them."""
        lines: list[str] = []
        while wanted not in lines:
            lines += self.notify.recv(4096).decode().splitlines()
        return lines

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path)
    yield manager
    if manager.process is not None:
        manager.process.kill()
        manager.process.wait()
    manager.api.close()
    manager.notify.close()


def test_manager_hears_of_every_step(manager: Manager) -> None:
    """READY when events are taken, WATCHDOG while the loop turns, RELOADING and READY, STOPPING."""
    manager.start()
    assert manager.process is not None
    manager.heard("READY=1")
    post(manager.url, [track("m1")])
    manager.heard("WATCHDOG=1")
    manager.heard("WATCHDOG=1")
    manager.process.send_signal(signal.SIGHUP)
    lines = manager.heard("RELOADING=1")
    if not any(line.startswith("MONOTONIC_USEC=") for line in lines):
        lines += manager.notify.recv(4096).decode().splitlines()
    assert any(line.startswith("MONOTONIC_USEC=") for line in lines)
    manager.heard("READY=1")
    assert manager.stop() == 0
    manager.heard("STOPPING=1")


def test_restart_refuses_nobody(manager: Manager) -> None:
    """While the service is replaced, clients of a socket that the manager holds wait or retry."""
    manager.start()
    manager.heard("READY=1")
    refused: list[OSError] = []
    accepted: list[str] = []
    answers: list[tuple[int, int]] = []
    over = threading.Event()

    def send() -> None:
        n = 0
        while not over.is_set():
            n += 1
            try:
                post(manager.url, [track(f"m{n}")])
            except urllib.error.HTTPError as answer:
                # A draining service says so, with the time to come back: that is no refusal.
                answers.append((answer.code, int(answer.headers["Retry-After"] or 0)))
                json.load(answer)
            except (ConnectionRefusedError, urllib.error.URLError) as error:
                reason = error.reason if isinstance(error, urllib.error.URLError) else error
                if isinstance(reason, ConnectionRefusedError):
                    refused.append(reason)
            except ConnectionResetError:
                continue  # a connection that was being accepted when the process ended
            else:
                accepted.append(f"m{n}")

    sender = threading.Thread(target=send)
    sender.start()
    try:
        wait_until(lambda: len(accepted) > 20, 20, "events before the restart")
        assert manager.stop() == 0
        before = len(accepted)
        manager.start()
        wait_until(lambda: len(accepted) > before + 20, 30, "events after the restart")
    finally:
        over.set()
        sender.join()
    assert not refused
    assert all(code == 503 and retry_after >= 1 for code, retry_after in answers)
    assert manager.stop() == 0
    audit = subprocess.run(
        [sys.executable, "-m", "supervisor", "audit", "--config", str(manager.config)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert audit.returncode == 0, audit.stderr
