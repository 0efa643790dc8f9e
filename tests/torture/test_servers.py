"""Servers that misbehave in every way of the torture list, and what becomes of their events.

The destinations are what most are: `plugins/partners.py`, through the kit. All of them share
the workers with healthy ones, and no worker ends for any of this.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.harness.ports import free_port
from tests.harness.service import RunningService
from tests.harness.waiting import wait_until
from tests.process.client import post, track
from tests.torture.rows import PLUGINS
from tests.torture.servers import ServersProcess
from tests.torture.watching import (
    PATIENCE_S,
    books_of,
    exits_of,
    metric,
    one_service,
    wait_for_delivered,
)

HEALTHY = ("healthy-1", "healthy-2", "healthy-3")
#: Their successes are successes, whatever else they say.
CARELESS = ("says-too-much", "lies-about-its-packing", "breaks-its-chunks", "cuts-its-body")
#: Events of each connection.
EVENTS = 16
#: Bytes of an endless answer that are read, with what the sockets' buffers hold.
READ_MOST = 64 * 1024 * 1024
#: Resident memory of a worker that has read no more than it should.
MEMORY_MOST = 192 * 1024 * 1024


#: A connection that is held for no fault of its events.
HELD = r"^backing_off: credentials: .*"


@dataclass(frozen=True, slots=True)
class Row:
    """One way to misbehave, which is the server's path and the connection's name.

    `error` and `state` are regular expressions that are searched for: what is said of an
    event, and state and reason of the queue at some time. `books` is where its events stand
    once the server is well; `destination` and `base` are the class and the place that it
    sends to.
    """

    kind: str
    error: str
    state: str = "^tripped: tripped since .*nothing delivered in"
    books: str = "delivered"
    destination: str = "Impatient"
    base: str = "http://{address}"


ROWS = (
    Row("throttles", r"429 Too Many Requests", state=r"^backing_off: .*\(Retry-After\)"),
    Row("fails", r"500 Internal Server Error"),
    Row("is-silent", r"no answer within 1 s"),
    Row("trickles", r"no answer within 1 s"),
    Row("trickles-its-body", r"200, but the answer is not finished within 1 s"),
    Row("sends-a-gigabyte", r"200, but the answer is larger than 1048576 bytes"),
    Row("sends-a-bomb", r"200, but the answer is larger than 1048576 bytes"),
    Row("speaks-no-http", r"its answer is not HTTP"),
    Row("hangs-up", r"closed the connection before it answered"),
    Row("resets", r"reset"),
    Row("refuses", r"no connection: Connection refused", base="http://{refusing}"),
    Row("redirects", r"302", state="^open", books="failed"),
    Row("leads-outside", r"egress refused: 169\.254\.169\.254:80", destination="Follower"),
    Row("leads-inside", r"egress refused: 127\.0\.0\.1:\d+ is a loop", destination="Follower"),
    Row("refuses-its-key", r"401 Unauthorized", state=HELD + "401"),
    Row(
        "refuses-its-grant",
        r"400 Bad Request.*invalid_grant",
        state=HELD + "400",
        destination="Granted",
    ),
    Row(
        "has-an-expired-certificate",
        r"certificate has expired",
        state=HELD,
        books="pending",
        base="https://{expired}",
    ),
    Row(
        "has-no-trusted-certificate",
        r"its TLS certificate is not trusted",
        state=HELD,
        books="pending",
        base="https://{tls}",
    ),
    Row("speaks-no-tls", r"TLS failed", books="pending", base="https://{address}"),
)


@dataclass(frozen=True, slots=True)
class World:
    """The service, its servers, and the workers that there were at first."""

    service: RunningService
    servers: ServersProcess
    refusing: int
    workers: list[int]


def sections(servers: ServersProcess, refusing: int, ca_file: Path) -> dict[str, dict[str, object]]:
    """A pool for all of them, and a connection for each row and each healthy server."""
    places = {
        "address": servers.address,
        "refusing": f"127.0.0.1:{refusing}",
        "tls": f"127.0.0.1:{servers.ports.tls}",
        "expired": f"127.0.0.1:{servers.ports.expired}",
    }
    made: dict[str, dict[str, object]] = {
        "service": {"plugin_paths": [str(PLUGINS)]},
        "sandbox": {"ca_file": str(ca_file)},
        "retry": {"first_delay": "100ms", "max_delay": "1s"},
        "pools.default": {
            "destinations": ["*"],
            "workers": 2,
            "network": "public",
            "allow": list(places.values()),
        },
    }
    for destination in ("Caller", "Trusting", "Impatient", "Granted", "Follower"):
        made[f"destinations.{destination.lower()}"] = {"class": f"partners:{destination}"}
    healthy = tuple(Row(name, "", destination="Caller") for name in HEALTHY)
    careless = tuple(Row(name, "", destination="Trusting") for name in CARELESS)
    for row in (*ROWS, *healthy, *careless):
        made[f"connections.{row.kind}"] = {
            "source": "test",
            "destination": row.destination.lower(),
            "settings": {"url": f"{row.base.format_map(places)}/{row.kind}"},
        }
    return made


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One service for all rows, which have all shown in `/status` what they do."""
    refusing = free_port()
    directory = tmp_path_factory.mktemp("servers")
    with ExitStack() as stack:
        servers = stack.enter_context(ServersProcess())
        ca_file = directory / "ca.pem"
        ca_file.write_text(servers.ports.ca)
        service = stack.enter_context(
            one_service(directory / "service", sections(servers, refusing, ca_file))
        )
        waiting = {row.kind: row.state for row in ROWS}

        def have_shown_all() -> bool:
            for queue in service.admin("/status")["queues"]:
                told, wanted = f"{queue['state']}: {queue['state_reason']}", queue["connection"]
                if wanted in waiting and re.search(waiting[wanted], told):
                    del waiting[wanted]
            return not waiting

        workers = service.worker_pids()
        post(service.url, [track(f"m{n}") for n in range(EVENTS)])
        wait_until(have_shown_all, PATIENCE_S, f"what each queue says: {waiting}")
        yield World(service, servers, refusing, workers)


def said(service: RunningService, row: Row) -> list[str]:
    """Of one of its events, or of those that have failed for good."""
    if row.books == "failed":
        letters = service.admin(f"/deadletters?connection={row.kind}")["deadletters"]
        return [letter["reason"] for letter in letters]
    deliveries = service.admin("/events/m0")["deliveries"]
    return [
        f"{one['last_error']} {one['waiting_for']}"
        for one in deliveries
        if one["connection"] == row.kind
    ]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.kind)
def test_row(world: World, row: Row) -> None:
    """The connection is named with the reason, and nothing of it is lost or given up too soon."""
    service = world.service

    def is_told() -> bool:
        return any(re.search(row.error, text) for text in said(service, row))

    wait_until(is_told, PATIENCE_S, f"{row.error!r} is said of it")
    if row.books == "failed":
        result = "failed"
        wait_until(
            lambda: books_of(service, row.kind)["failed"] == EVENTS, PATIENCE_S, "all has failed"
        )
    else:
        result = "retry"
        books = books_of(service, row.kind)
        assert books["pending"] == books["accepted"] == EVENTS, books
    if row.state.startswith(HELD):
        assert metric(service, f'bulkhead_credentials_refused_total{{connection="{row.kind}"}}')
        assert metric(
            service, f'bulkhead_connection_credentials_refused{{connection="{row.kind}"}}'
        )
    else:
        counted = f'connection="{row.kind}",result="{result}"'
        assert metric(service, f"bulkhead_attempts_total{{{counted}}}")


def test_healthy_neighbours_see_nothing_of_it(world: World) -> None:
    """All of theirs is delivered, on the first try and by the workers that there were."""
    for name in HEALTHY:
        wait_for_delivered(world.service, name, EVENTS)
        assert books_of(world.service, name)["delivered_first_try"] == EVENTS
        assert world.servers.record(name).requests == EVENTS
    assert exits_of(world.service, "default") == []
    assert world.service.worker_pids() == world.workers


@pytest.mark.parametrize("kind", CARELESS)
def test_careless_success_is_delivered_once(world: World, kind: str) -> None:
    """Its status counts: nothing is sent again, on no attempt, and nothing has failed."""
    wait_for_delivered(world.service, kind, EVENTS)
    books = books_of(world.service, kind)
    deliveries = world.service.admin(f"/events/m{EVENTS - 1}")["deliveries"]
    (last,) = [one for one in deliveries if one["connection"] == kind]
    assert books["delivered_first_try"] == books["accepted"] == EVENTS, f"{books} {last}"
    assert world.servers.record(kind).requests == EVENTS
    assert world.service.queue_of(kind)["state"] == "open"


def test_nobody_is_led_where_the_config_does_not_let_him(world: World) -> None:
    """A redirect to a private address is refused by name; nothing has arrived there."""
    for kind in ("leads-outside", "leads-inside"):
        queue = world.service.queue_of(kind)
        assert queue["egress_refused"] >= 1
        assert "egress refused" in queue["last_egress_refusal"]
    assert world.servers.record("trap").requests == 0


def test_endless_answers_are_not_read(world: World) -> None:
    """Neither a gigabyte nor what unpacks to one fills a worker."""
    for kind in ("sends-a-gigabyte", "sends-a-bomb"):
        record = world.servers.record(kind)
        assert 0 < record.sent_bytes < READ_MOST * record.requests
    for pid in world.workers:
        assert psutil.Process(pid).memory_info().rss < MEMORY_MOST


def test_everything_arrives_once_the_servers_are_well(world: World) -> None:
    """What waited is delivered; what failed stays so; no connection to a server is left hanging."""
    world.servers.be_well(world.refusing)
    for row in ROWS:
        if row.books == "delivered":
            world.service.admin(f"/connections/{row.kind}/resume", "POST")
    for row in ROWS:
        if row.books == "delivered":
            wait_for_delivered(world.service, row.kind, EVENTS)
            books = books_of(world.service, row.kind)
            # Some are held before all of them were attempted, or but for a few.
            assert row.state.startswith(HELD) or books["delivered_on_retry"] > 0, (row, books)
            assert books["delivered_on_retry"] + books["delivered_first_try"] == EVENTS, (
                row,
                books,
            )
        else:
            assert books_of(world.service, row.kind)[row.books] == EVENTS
            world.service.admin(f"/connections/{row.kind}/pause", "POST")
    wait_until(
        lambda: all(world.servers.record(row.kind).open == 0 for row in ROWS),
        PATIENCE_S,
        "all connections to servers that hang are closed",
    )
    assert exits_of(world.service, "default") == []
    assert world.service.worker_pids() == world.workers
