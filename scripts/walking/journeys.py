"""The journeys: a service under the recorder, and what each journey does to it.

Owns the configs, what begins a journey and the sign that it is over. Must not
ask the service anything in between: an answer of the admin API would be part of
the walk. So the signs come from the sink and from the log.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from scripts.walking import recorder
from scripts.walking.walks import Function, Step, busy_steps, until_quiet
from tests.harness.service import WRITE_KEY, RunningService
from tests.harness.sink import SinkProcess
from tests.harness.waiting import wait_until

#: Seconds for what takes one on a quiet machine.
PATIENCE_S = 60.0
#: Seconds that are recorded after the sign; what comes later is none of the journey.
AFTERWARDS_S = 1.0
#: Write key of the source whose events kill.
_KILLER_KEY = "walk-killer-key"

Sections = dict[str, dict[str, object]]


class Journey(StrEnum):
    """What is walked."""

    EVENT = "event"
    """One webhook event, from its POST until its delivery is on disk."""
    DEATH = "death"
    """One event that kills each worker it is given, from its POST until it is in quarantine."""
    RELOAD = "reload"
    """SIGHUP with other settings of one connection and another limit of the other."""


#: A journey is over at the first pause of this length after its sign, in seconds.
_QUIET_S = {
    Journey.EVENT: 0.2,
    Journey.DEATH: 0.2,
    # All garbage is collected after the line in the log, and nothing is called meanwhile.
    Journey.RELOAD: 0.45,
}


@dataclass(frozen=True, slots=True)
class _Service:
    """A service that runs under the recorder."""

    running: RunningService
    sink: SinkProcess
    record: _Record

    def post(self, event: str, write_key: str) -> None:
        """One `track` event. Raises OSError unless the answer is 200."""
        request = urllib.request.Request(  # noqa: S310 - http, to a service of ours
            f"{self.running.url}/v1/track",
            data=json.dumps({"messageId": event, "userId": "ann", "event": event}).encode(),
            headers={
                "Content-Type": "application/json",
                "Authorization": "Basic " + base64.b64encode(f"{write_key}:".encode()).decode(),
            },
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - see above
            answer.read()

    def wait_for_log(self, message: str) -> None:
        """Wait until the log has a line with this message."""
        wanted = f'"message": "{message}"'
        wait_until(
            lambda: wanted in self.running.log_path.read_text(errors="replace"), PATIENCE_S, message
        )


class _Record:
    """What the recorder has told so far."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("rb")
        self._functions: list[Function] = []

    @property
    def known(self) -> int:
        """How many functions have run at all."""
        return len(self._functions)

    def take(self) -> list[Step]:
        """The steps since the last call of this."""
        self._connection.sendall(b"take\n")
        told = json.loads(self._lines.readline())
        self._functions += [Function(module, name) for module, name in told["functions"]]
        return [
            Step(at_s, thread, self._functions[number], is_call)
            for at_s, thread, number, is_call in told["calls"]
        ]


def record(journey: Journey, root: Path, *, idle_s: float) -> list[Step]:
    """Walk a journey through the checkout at `root`, with a service of its own.

    Functions that run within `idle_s` seconds in which nothing is asked of the service are left
    out. Raises TimeoutError where the journey does not end, ServiceFailed where the service does
    not start or stop, and RuntimeError where it ran the code of another checkout.
    """
    with _running(root) as service:
        # What a start leaves behind (a spare that is forked, files that are read) is no idling.
        wait_until(lambda: _is_settled(service.record), PATIENCE_S, "the service has nothing to do")
        time.sleep(idle_s)
        idle = {step.function for step in service.record.take()}
        _JOURNEYS[journey](service)
        sign_s = time.monotonic()
        time.sleep(AFTERWARDS_S)
        steps = until_quiet(busy_steps(service.record.take(), idle), sign_s, _QUIET_S[journey])
    if not steps:
        raise RuntimeError(f"nothing of {root} has run: is it a checkout of this project?")
    return steps


def _is_settled(record: _Record) -> bool:
    """Whether a second passes in which nothing runs for the first time."""
    record.take()
    known = record.known
    time.sleep(1.0)
    record.take()
    return record.known == known


def _event(service: _Service) -> None:
    service.post("Fine", WRITE_KEY)
    wait_until(lambda: bool(service.sink.received()), PATIENCE_S, "the sink has the event")


def _death(service: _Service) -> None:
    service.post("Fatal", _KILLER_KEY)
    service.wait_for_log("delivery_quarantined")


def _reload(service: _Service) -> None:
    config = service.running.config_path
    text = config.read_text()
    text = text.replace(service.sink.url, f"{service.sink.url}reloaded")
    text = text.replace("[connections.killer]\n", "[connections.killer]\nmax_concurrency = 3\n")
    config.write_text(text)
    os.kill(service.running.pid, signal.SIGHUP)
    service.wait_for_log("config_reloaded")


_JOURNEYS: dict[Journey, Callable[[_Service], None]] = {
    Journey.EVENT: _event,
    Journey.DEATH: _death,
    Journey.RELOAD: _reload,
}


@contextlib.contextmanager
def _running(root: Path) -> Iterator[_Service]:
    with (
        tempfile.TemporaryDirectory(prefix="bulkhead-walk-") as made,
        SinkProcess() as sink,
        contextlib.ExitStack() as stack,
    ):
        folder = Path(made)
        address = folder / "recorder"
        running = RunningService(
            folder / "service",
            _sections(sink),
            module="recorder",
            environment={
                # The folder and not the repository, whose `supervisor` may be another.
                "PYTHONPATH": str(Path(recorder.__file__).parent),
                "PYTHONDONTWRITEBYTECODE": "1",
                recorder.ROOT: str(root),
                recorder.SOCKET: str(address),
            },
        )
        stack.callback(running.kill)
        # `python -m` looks for modules where it is started first.
        with contextlib.chdir(root):
            running.start()
        connection = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        connection.connect(str(address))
        wait_until(lambda: len(running.worker_pids()) == 1, PATIENCE_S, "the worker serves")
        yield _Service(running, sink, _Record(connection))
        running.stop()


def _sections(sink: SinkProcess) -> Sections:
    """One worker, two connections."""
    return {
        "service": {"plugin_paths": [str(Path(__file__).parent / "plugins")]},
        "pools.default": {
            "destinations": ["*"],
            "workers": 1,
            "allow": [sink.url.removeprefix("http://").strip("/")],
        },
        "destinations.killer": {"class": "killers:Killer"},
        "sources.killing": {"write_key": _KILLER_KEY},
        "connections.hook": {
            "source": "test",
            "destination": "webhooks",
            "settings": {"url": sink.url},
        },
        "connections.killer": {"source": "killing", "destination": "killer"},
    }
