"""What looks at every connection leaves the event loop to others in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import msgspec
import pytest
from aiohttp.test_utils import make_mocked_request

from supervisor.admin import handlers
from supervisor.admin.access import Access
from supervisor.admin.routes import AdminApi
from supervisor.admin.table import Caller, Role, set_caller
from supervisor.app.operator import Operator
from supervisor.config import Address
from supervisor.core.isolation.machine import Isolation
from supervisor.core.scheduling.scheduler import Ready, Scheduler, Terms
from supervisor.delivery.watchdog.leaks import LeakMonitor
from supervisor.queue import Books, DedupeStats, Depth, QueueStats
from supervisor.runtime.clock import ServiceClock
from supervisor.telemetry.metrics import Metrics
from supervisor.telemetry.status import ServiceState, Status
from supervisor.telemetry.steps import STEP, in_steps
from tests.admin.stubs import StubControl, a_status, queue_status

MANY = 1000
TERMS = Terms(batch_events=100, batch_bytes=1 << 20, max_concurrency=8)

T = TypeVar("T")


@dataclass
class Turns:
    """Counts what is done between two turns of everybody else."""

    now: int = 0
    most: int = 0
    taken: int = 0
    names: list[str] = field(default_factory=list)

    def did(self, name: str) -> None:
        """One connection was looked at."""
        self.names.append(name)
        self.now += 1
        self.most = max(self.most, self.now)

    async def beside(self, work: Awaitable[T]) -> T:
        """Have a turn whenever there is one, until the work is done."""
        task = asyncio.ensure_future(work)
        while not task.done():
            await asyncio.sleep(0)
            self.taken += 1
            self.now = 0
        return await task


class Service:
    """As much of a service with many connections as a status is made of."""

    def __init__(self, turns: Turns) -> None:
        names = [f"c{n}" for n in range(MANY)]
        self.turns = turns
        self.config = SimpleNamespace(
            connections={n: SimpleNamespace(source="s") for n in names},
            service=SimpleNamespace(state_dir=Path("state")),
        )
        self.scheduler = Scheduler(lambda name: Ready(0, None))
        for name in names:
            self.scheduler.opened(name, TERMS)
        self.runner = SimpleNamespace(
            scheduler=self.scheduler,
            state=SimpleNamespace(
                connections={n: SimpleNamespace(name=n, destination="d") for n in names}
            ),
            watchdog=SimpleNamespace(leaks=LeakMonitor("default")),
            isolation=Isolation(),
            name="default",
        )
        self.broker = SimpleNamespace(refusals={})
        self.said = SimpleNamespace(layers={}, broken={})
        self.fleet = SimpleNamespace(
            zygote=SimpleNamespace(pid=None),
            unanswered=SimpleNamespace(last=list),
            resources=SimpleNamespace(limits=lambda: ("none", [])),
        )
        self.queue = self
        self.clock = ServiceClock(1000.0 - time.monotonic())
        self.runners: dict[str, Any] = {}  # Any: pools have nothing to do with it
        self.state, self.started = ServiceState.RUNNING, 0.0

    def pool_of(self, connection: str) -> SimpleNamespace | None:
        return self.runner if connection in self.runner.state.connections else None

    def depth(self, connection: str) -> Depth:
        self.turns.did(connection)
        return Depth(0, 0, 0, None, None)

    def books(self) -> Books:
        return Books()

    def stats(self) -> QueueStats:
        return QueueStats("open", 0, 1, 0, 0, 0, DedupeStats(1.0, 0, 0), 0, 0.0)


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def service(turns: Turns) -> Service:
    return Service(turns)


@pytest.fixture
def look(service: Service) -> Callable[[], Awaitable[Status]]:
    """What `/status` and `/metrics` begin with."""
    return Operator(cast(Any, service)).status  # Any: see `Service`


async def test_status_of_many_connections_is_gathered_in_steps(
    turns: Turns, look: Callable[[], Awaitable[Status]]
) -> None:
    """Others have their turn after each hundred connections, and none is left out."""
    status = await turns.beside(look())
    assert [queue.connection for queue in status.queues] == turns.names
    assert len(turns.names) == MANY
    assert turns.most <= STEP
    assert turns.taken >= MANY // STEP


async def test_connection_that_leaves_meanwhile_is_left_out(
    service: Service, look: Callable[[], Awaitable[Status]]
) -> None:
    """A reload between two steps is no error."""
    gathering = asyncio.ensure_future(look())
    await asyncio.sleep(0)
    del service.runner.state.connections[f"c{MANY - 1}"]
    assert len((await gathering).queues) == MANY - 1


async def test_few_connections_are_of_one_moment(
    service: Service, turns: Turns, look: Callable[[], Awaitable[Status]]
) -> None:
    """Up to a hundred are looked at in one step."""
    service.config.connections = {f"c{n}": SimpleNamespace(source="s") for n in range(STEP)}
    await turns.beside(look())
    assert turns.taken == 1


async def test_scrape_looks_at_many_connections_in_steps(
    turns: Turns, look: Callable[[], Awaitable[Status]]
) -> None:
    """`/metrics` gathers as `/status` does, and is written by a thread."""
    metrics = Metrics("1.2.3")
    metrics.follow(look)
    page = await turns.beside(metrics.scrape())
    assert turns.most <= STEP
    assert turns.taken > MANY // STEP
    assert f'bulkhead_queue_depth{{connection="c{MANY - 1}"}} 0.0' in page.decode()


async def test_answer_with_many_connections_is_encoded_in_steps(
    turns: Turns, tmp_path: Path
) -> None:
    """The JSON of `/status` is what it would be in one piece."""
    control = StubControl(tmp_path)
    control.now = a_status(*(queue_status(f"c{n}") for n in range(MANY)))
    api = AdminApi(control, Access(Address(host="127.0.0.1", port=9190)))
    request = make_mocked_request("GET", "/status", app=api.app)
    set_caller(request, Caller(Role.OPERATOR, "somebody"), lambda: True)
    answer = await turns.beside(handlers.status(request))
    assert turns.taken >= MANY // STEP
    body = cast(Any, answer).body  # Any: aiohttp's own type is wider
    assert body == msgspec.json.encode(control.now)
    control.exits.close()


async def test_nothing_is_no_step() -> None:
    """No items, no step."""
    nobody: list[str] = []
    assert [some async for some in in_steps(nobody)] == []
