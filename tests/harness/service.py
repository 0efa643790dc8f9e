"""A real Bulkhead process, started and stopped for tests and benchmarks.

Owns the child process, its config file and its state directory. Must not
reach into the service: what it knows, it asks over HTTP or by the command line.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from tests.harness.ports import free_port
from tests.harness.waiting import wait_until

#: The write key of the only source that `config_text` makes.
WRITE_KEY = "test-write-key"
#: How long a start or a stop may take, in seconds; a busy machine included.
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
#: Reasons of exits that we bring about ourselves, of workers that say what they declare too.
PLANNED = ("recycle", "drain")


def writable(file: Path) -> str:
    """Let workers append to `file` and make others beside it, whatever uid each of them has.

    Its folder, for `write_paths`: one that holds nothing of the service's.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    file.parent.chmod(0o777)
    file.touch()
    file.chmod(0o666)
    return str(file.parent)


def toml(value: object) -> str:
    """One TOML value; mappings become inline tables. JSON strings are TOML strings."""
    match value:
        case Mapping():
            pairs = ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items())
            return f"{{ {pairs} }}"
        case list() | tuple():
            return f"[{', '.join(toml(item) for item in value)}]"
        case _:
            return json.dumps(value)


def config_text(sections: Mapping[str, Mapping[str, object]]) -> str:
    """A TOML file of `sections`, whose names may be dotted (`pools.default`)."""
    lines: list[str] = []
    for name, values in sections.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {toml(value)}" for key, value in values.items()]
        lines.append("")
    return "\n".join(lines)


class ServiceFailed(Exception):
    """The service did not start, answer or stop as it should; the text ends with its log."""


@dataclass
class RunningService:
    """One state directory and the service that runs on it; it may be killed and started again.

    `sections` are the config's sections beside `service.state_dir`, the
    addresses and the source `test`, which are made here. `cores` pins the
    whole process tree to these CPUs, and `environment` is added to ours.
    `module` is what is run in the place of `bulkhead`. `output` is a descriptor that
    standard output and error go to in the place of `log_path`, and `prefix` is put before
    the command.
    """

    directory: Path
    sections: Mapping[str, Mapping[str, object]]
    cores: frozenset[int] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    module: str = "supervisor"
    output: int | None = None
    prefix: Sequence[str] = ()
    api_port: int = field(default_factory=free_port)
    admin_port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def config_path(self) -> Path:
        """The config file, for commands that take `--config`."""
        return self.directory / "bulkhead.toml"

    @property
    def log_path(self) -> Path:
        """Where the service's standard output and error go."""
        return self.directory / "service.log"

    @property
    def url(self) -> str:
        """The tracking API, with no slash at its end."""
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def is_started(self) -> bool:
        """Whether `start` was called and neither `stop` nor `kill` since."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """The supervisor's process id. Raises ServiceFailed where it is not started."""
        if self._process is None:
            raise ServiceFailed("the service is not started")
        return self._process.pid

    def start(self) -> Self:
        """Start the service and wait until it takes events.

        Raises ServiceFailed when it exits first or is not ready within START_TIMEOUT_S.
        """
        self.begin()
        return self.await_ready()

    def await_ready(self) -> Self:
        """The rest of `start` after `begin`, with the same errors."""
        try:
            wait_until(self.is_ready, START_TIMEOUT_S, "the service answers /ready")
        except TimeoutError as error:
            self.kill()
            raise ServiceFailed(f"{error}\n{self.log_tail()}") from error
        except ServiceFailed:
            self.kill()
            raise
        return self

    def begin(self) -> subprocess.Popen[bytes]:
        """Write the config and start the process; nothing is waited for."""
        self.write_config()
        with self.log_path.open("ab") as log, pinned(self.cores):
            self._process = subprocess.Popen(
                [
                    *self.prefix,
                    *(sys.executable, "-m", self.module, "run", "--config", str(self.config_path)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log if self.output is None else self.output,
                stderr=subprocess.STDOUT,
                # A coverage or test setting of the caller is none of the service's business.
                env={
                    **{k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")},
                    **self.environment,
                },
                start_new_session=True,
            )
        return self._process

    def write_config(self) -> None:
        """Write `sections` as they are now; who has changed them asks for a reload."""
        self.directory.mkdir(parents=True, exist_ok=True)
        sections: dict[str, dict[str, object]] = {
            "service": {"state_dir": str(self.directory / "state")},
            "api": {"listen": f"127.0.0.1:{self.api_port}"},
            "admin": {"listen": f"127.0.0.1:{self.admin_port}"},
            "sources.test": {"write_key": WRITE_KEY},
        }
        for name, values in self.sections.items():
            sections[name] = {**sections.get(name, {}), **values}
        self.config_path.write_text(config_text(sections))

    def stop(self) -> None:
        """SIGTERM, then wait. Raises ServiceFailed where the exit status is not 0."""
        self._require_process().send_signal(signal.SIGTERM)
        self.await_end()

    def await_end(self) -> None:
        """The rest of `stop` after the signal, with the same errors."""
        process = self._require_process()
        try:
            status = process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise ServiceFailed(f"no exit after SIGTERM\n{self.log_tail()}") from error
        self._process = None
        if status != 0:
            raise ServiceFailed(f"exit status {status} after SIGTERM\n{self.log_tail()}")

    def kill(self) -> None:
        """SIGKILL of the supervisor alone, reaped; nothing where it is not running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def admin(self, path: str, method: str = "GET") -> Any:  # Any: whatever JSON is there
        """What the admin API answers, decoded. Raises ServiceFailed for any status but 2xx."""
        status, body = self._request(self.admin_port, path, method)
        if not 200 <= status < 300:
            raise ServiceFailed(f"{method} {path} answered {status}: {body[:500]!r}")
        return json.loads(body) if body else None

    def ask(self, path: str, timeout_s: float) -> tuple[int, bytes]:
        """Status and body of the admin API's answer, whatever it is."""
        return self._request(self.admin_port, path, "GET", timeout_s)

    def metric(self, name: str) -> float:
        """The value of a metric that has no labels."""
        _, page = self._request(self.admin_port, "/metrics", "GET")
        (value,) = [
            line.split()[1] for line in page.decode().splitlines() if line.startswith(f"{name} ")
        ]
        return float(value)

    def books(self) -> dict[str, int]:
        """The books of `/status`."""
        books: dict[str, int] = self.admin("/status")["books"]
        return books

    def worker_pids(self) -> list[int]:
        """Process ids of all workers and none of the spares."""
        pools = self.admin("/status")["pools"]
        return [w["pid"] for pool in pools for w in pool["workers"] if w["pid"] is not None]

    def queue_of(self, connection: str) -> dict[str, Any]:  # Any: JSON
        """A connection's line of `/status`."""
        (found,) = [q for q in self.admin("/status")["queues"] if q["connection"] == connection]
        return dict(found)

    def exits(self, **where: str) -> list[dict[str, Any]]:  # Any: JSON
        """Exits that nobody had planned, by the filters of `/debug/exits` (`pool`), newest first.

        A worker's `last_exit` is no longer the one in question once a further worker has ended.
        """
        found: list[dict[str, Any]] = self.admin(f"/debug/exits?{urlencode(where)}")["exits"]
        return [end for end in found if end["reason"] not in PLANNED]

    def first_exit(self, within_s: float = 20, **where: str) -> dict[str, Any]:  # Any: JSON
        """The first of them ever, whatever ends after it; waited for."""
        wait_until(lambda: bool(self.exits(**where)), within_s, f"an exit of {where}")
        return self.exits(**where)[-1]

    def wait_for(self, condition: Callable[[dict[str, int]], bool], within_s: float) -> None:
        """Wait until the books fulfil `condition`; what they were is in the TimeoutError."""
        last: dict[str, int] = {}

        def holds() -> bool:
            last.update(self.books())
            return condition(last)

        try:
            wait_until(holds, within_s, "the books are as expected")
        except TimeoutError as error:
            raise TimeoutError(f"{error}; last books: {last}") from error

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `bulkhead ARGUMENTS` to its end and return it, whatever its exit status."""
        return subprocess.run(
            [sys.executable, "-m", "supervisor", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def log_tail(self, lines: int = 40) -> str:
        """The last `lines` of the service's log."""
        try:
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return "(no log)"

    def _require_process(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServiceFailed("the service is not started")
        return self._process

    def is_ready(self) -> bool:
        """Whether it takes events now. Raises ServiceFailed where it has ended."""
        process = self._require_process()
        if process.poll() is not None:
            raise ServiceFailed(f"exit status {process.returncode} at start\n{self.log_tail()}")
        try:
            status, _ = self._request(self.api_port, "/ready", "GET")
        except OSError:
            return False  # it does not listen yet
        return status == 200

    @staticmethod
    def _request(port: int, path: str, method: str, timeout_s: float = 10.0) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@contextmanager
def pinned(cores: frozenset[int] | None) -> Iterator[None]:
    """Children that start inside run on `cores` only; None leaves everything as it is."""
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def webhook_sections(
    url: str, *, connection: Mapping[str, object] | None = None, **pool: object
) -> dict[str, dict[str, object]]:
    """Sections of a service whose only connection delivers to a webhook on this machine.

    `connection` adds to the connection `hook`, and keywords add to the pool `default`.
    """
    address = url.removeprefix("http://").rstrip("/")
    return {
        "pools.default": {"destinations": ["*"], "allow": [address], **pool},
        "connections.hook": {
            "source": "test",
            "destination": "webhooks",
            "settings": {"url": url},
            **(connection or {}),
        },
    }
