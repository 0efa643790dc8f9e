"""The installed systemd unit, driven as an operator drives it.

Owns `systemctl`, the config and credentials below /etc/bulkhead, and HTTP to
both APIs. The standard library alone: it runs under Debian's own Python.
"""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.harness.service import config_text
from tests.harness.waiting import wait_until

SERVICE = "bulkhead.service"
API_PORT, ADMIN_PORT, SINK_PORT = 8190, 9190, 9000
WRITE_KEY, TOKEN = "vm-write-key", "vm-admin-token"
#: Without hardware virtualisation everything takes ten times as long.
WITHIN_S = 120.0

_CONFIG = Path("/etc/bulkhead/bulkhead.toml")
_CREDENTIALS = Path("/etc/bulkhead/credentials")
_DROP_INS = Path("/etc/systemd/system/bulkhead.service.d")
_STATE = Path("/var/lib/private/bulkhead")
#: Names that the unit's LoadCredential= lines ask for.
_SECRETS = {
    "admin-token": TOKEN,
    "website-write-key": WRITE_KEY,
    "apps-write-key": "unused",
    "apps-write-key-next": "unused-too",
    "mixpanel-token": "unused",
    "hook-secret": "unused",
}


def run(*command: str, check: bool = True) -> str:
    """Run a command and return what it printed. Raises AssertionError where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    text = done.stdout + done.stderr
    assert done.returncode == 0 or not check, f"{' '.join(command)}: {done.returncode}\n{text}"
    return text


def secret(name: str) -> dict[str, str]:
    """A credential, as a config points to it."""
    return {"file": f"/run/credentials/{SERVICE}/{name}"}


class Unit:
    """The one service of this machine."""

    def install(self, sections: Mapping[str, Mapping[str, object]]) -> None:
        """Write config and credentials, with no state of an earlier run."""
        self.stop()
        shutil.rmtree(_STATE, ignore_errors=True)
        shutil.rmtree(_DROP_INS, ignore_errors=True)
        for name, value in _SECRETS.items():
            (_CREDENTIALS / name).write_text(value)
        self.configure(sections)
        run("systemctl", "daemon-reload")
        run("systemctl", "reset-failed")

    def configure(self, sections: Mapping[str, Mapping[str, object]]) -> None:
        """Write the config; state directory, credentials and the source `website` are given."""
        given: dict[str, Mapping[str, object]] = {
            "service": {"state_dir": "/var/lib/bulkhead"},
            "admin": {"token": secret("admin-token")},
            "sources.website": {"write_key": secret("website-write-key")},
        }
        _CONFIG.write_text(
            config_text(
                {name: {**given.get(name, {}), **values} for name, values in sections.items()}
                | {name: values for name, values in given.items() if name not in sections}
            )
        )

    def drop_in(self, text: str) -> None:
        """Change the unit, as `systemctl edit` does."""
        _DROP_INS.mkdir(exist_ok=True)
        (_DROP_INS / "test.conf").write_text(text)
        run("systemctl", "daemon-reload")

    def state(self, path: str) -> Path:
        """Where a file below /var/lib/bulkhead is, for root: of a user that comes and goes."""
        return _STATE / Path(path).relative_to("/var/lib/bulkhead")

    def start(self) -> None:
        """Returns when systemd was told READY=1."""
        run("systemctl", "start", SERVICE)

    def stop(self) -> None:
        """Service and socket."""
        run("systemctl", "stop", SERVICE, "bulkhead.socket")

    def show(self, key: str) -> str:
        """One property of the unit."""
        return run("systemctl", "show", "--value", "-p", key, SERVICE).strip()

    @property
    def pid(self) -> int:
        """The supervisor."""
        return int(self.show("MainPID"))

    @property
    def cgroup(self) -> Path:
        """The delegated node."""
        return Path("/sys/fs/cgroup") / self.show("ControlGroup").lstrip("/")

    # --- HTTP ---

    def admin(self, path: str) -> Any:  # Any: whatever JSON is there
        """What the admin API answers. Raises AssertionError unless it is 200."""
        status, body = _request(
            ADMIN_PORT, "GET", path, headers={"Authorization": f"Bearer {TOKEN}"}
        )
        assert status == 200, body
        return json.loads(body)

    def books(self) -> dict[str, int]:
        """The books, from a service that answers."""
        books: dict[str, int] = self.admin("/status")["books"]
        return books

    def send(self, ids: list[str], event: str = "Tested") -> None:
        """Post one batch of tracks; returns once they are accepted."""
        batch = [
            {"type": "track", "messageId": name, "userId": "ann", "event": event} for name in ids
        ]
        key = base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
        status, body = _request(
            API_PORT,
            "POST",
            "/v1/batch",
            json.dumps({"batch": batch}).encode(),
            {"Authorization": f"Basic {key}", "Content-Type": "application/json"},
        )
        assert status == 200, body

    def wait_for_delivery(self, n: int) -> None:
        """Wait until `n` deliveries are delivered and none is pending."""

        def is_delivered() -> bool:
            books = self.books()
            done = books["delivered_first_try"] + books["delivered_on_retry"]
            return done == n and books["pending"] == 0

        wait_until(is_delivered, WITHIN_S, f"{n} deliveries are delivered")


def _request(
    port: int, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body or None, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
