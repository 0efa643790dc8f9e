"""What surrounds a service may fail, too: neighbours that behave lose nothing, nobody is named.

| what is wrong | is tested by |
| --- | --- |
| nobody reads standard error, and a destination logs without end | `test_nobody_reads_what_is_logged` |
| idle clients have all connections of the tracking API, and workers are killed meanwhile | `test_idle_clients_while_workers_are_killed` |
"""  # noqa: E501 - a table

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.harness.service import WRITE_KEY, RunningService
from tests.harness.stuck import flooded, stuck
from tests.harness.waiting import wait_until
from tests.process.client import post, track
from tests.torture.rows import PLUGINS
from tests.torture.watching import PATIENCE_S, books_of, exits_of

#: Connections that behave.
GOOD = ("good-1", "good-2", "good-3")
#: Events that each of them gets while something is wrong.
EVENTS = 400
#: Few enough to be used up by clients.
FILES = 160


@contextmanager
def surrounded(
    tmp_path: Path, habit: str, *, output: int | None = None, prefix: tuple[str, ...] = ()
) -> Iterator[RunningService]:
    """A service with those that behave and one that has a habit, in one pool and of one source.

    At the end its books balance, and it stops in time.
    """
    sections: dict[str, dict[str, object]] = {
        "service": {"plugin_paths": [str(PLUGINS)], "drain_timeout": "2s"},
        "retry": {"first_delay": "100ms", "max_delay": "1s"},
        "destinations.bad": {"class": "torture:Torture"},
        "destinations.good": {"class": "torture:Neighbour"},
        "pools.default": {"destinations": ["*"], "workers": 2, "spares": 1},
        "sources.bad": {"write_key": "key-bad"},
        "connections.bad": {
            "source": "bad",
            "destination": "bad",
            "settings": {"habit": habit},
        },
    }
    for name in GOOD:
        sections[f"connections.{name}"] = {"source": "test", "destination": "good"}
    service = RunningService(tmp_path, sections, output=output, prefix=prefix)
    try:
        yield service.start()
        for of_one in service.admin("/books")["connections"].values():
            assert 2 * of_one["accepted"] == sum(of_one.values()), of_one
        service.stop()
        audit = service.command("audit", "--config", str(service.config_path))
        assert audit.returncode == 0, audit.stdout
    finally:
        service.kill()


def assert_delivered(service: RunningService, events: int) -> None:
    """All of theirs is delivered, on the first try, and none of them is blamed for anything."""

    def is_all() -> bool:
        return all(books_of(service, name)["pending"] == 0 for name in GOOD)

    wait_until(is_all, PATIENCE_S, "the neighbours have everything")
    for name in GOOD:
        books = books_of(service, name)
        assert books["delivered_first_try"] == books["accepted"] == events, (name, books)
        blame = service.queue_of(name)["blame"]
        assert (blame["worker_deaths"], blame["trips"], blame["quarantined"]) == (0, 0, 0), blame


@pytest.mark.parametrize("habit", ["logs_without_end", "prints", "prints_past_python"])
def test_nobody_reads_what_is_logged(tmp_path: Path, habit: str) -> None:
    """Lines that do not fit are dropped and counted; no worker ends, nobody is named."""
    with stuck("pipe") as (_, theirs), surrounded(tmp_path, habit, output=theirs) as service:
        flooded(service, PATIENCE_S)
        post(service.url, [track(f"bad-{n}", "Bad") for n in range(20)], write_key="key-bad")
        post(service.url, [track(f"full-{n}") for n in range(EVENTS)])
        assert_delivered(service, EVENTS)
        assert exits_of(service, "default") == []


def test_idle_clients_while_workers_are_killed(tmp_path: Path) -> None:
    """Their batches go to those that come instead, though clients have all that they may have.

    A sender that had a connection before keeps it; that workers are killed is nobody's fault.
    """
    limited = ("/bin/sh", "-c", f'ulimit -n {FILES}; exec "$@"', "sh")
    with surrounded(tmp_path, "raises", prefix=limited) as service, ExitStack() as clients:
        sender = http.client.HTTPConnection("127.0.0.1", service.api_port, timeout=30)
        clients.callback(sender.close)
        sender.connect()
        for _ in range(FILES):
            clients.enter_context(socket.create_connection(("127.0.0.1", service.api_port), 10))
        for turn in range(1, 4):
            send(sender, [track(f"m{turn}-{n}") for n in range(EVENTS)])
            before = service.worker_pids()
            for pid in before:
                os.kill(pid, signal.SIGKILL)

            def are_others(before: list[int] = before) -> bool:
                now = service.worker_pids()
                return len(now) == 2 and not set(now) & set(before)

            wait_until(are_others, PATIENCE_S, "others serve")
            assert_delivered(service, turn * EVENTS)
        assert {end["reason"] for end in exits_of(service, "default")} == {"signal"}
        assert "connections_not_taken" in service.log_path.read_text()
        clients.close()
        wait_until(lambda: is_taken(service), PATIENCE_S, "an event is taken")


def send(sender: http.client.HTTPConnection, events: list[dict[str, object]]) -> None:
    """Post a batch on a connection that is kept."""
    authorization = base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {authorization}"}
    sender.request("POST", "/v1/batch", json.dumps({"batch": events}), headers)
    answer = sender.getresponse()
    assert (answer.status, json.load(answer)["success"]) == (200, True)


def is_taken(service: RunningService) -> bool:
    """Whether there is room for an event now."""
    try:
        post(service.url, [track("after")])
    except OSError:
        return False
    return True
