"""Fixtures of the queue's tests: a queue of each engine, ready to use and closed afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import msgspec
import pytest

from supervisor.config import QueueConfig
from supervisor.queue import ConnectionSpec, Queue
from supervisor.queue.engines import ENGINES, make_queue
from tests.queue.given import MAX_RETRY_DELAY_S, SPECS, SetClock

#: Opens a queue on the test's state directory: config, connections.
OpenQueue = Callable[..., Awaitable[Queue]]


@pytest.fixture
def clock() -> SetClock:
    """A clock that moves when it is told to."""
    return SetClock()


@pytest.fixture
def work() -> list[str]:
    """Connections that `on_work` was called with."""
    return []


@pytest.fixture
def evicted() -> list[tuple[str, str, int]]:
    """What `on_evicted` was called with."""
    return []


@pytest.fixture(params=sorted(ENGINES))
async def open_queue(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    clock: SetClock,
    work: list[str],
    evicted: list[tuple[str, str, int]],
) -> AsyncIterator[OpenQueue]:
    """Opens queues; one that is open already is closed first, so that this restarts the service."""
    opened: list[Queue] = []

    async def open_it(
        config: QueueConfig | None = None,
        connections: Mapping[str, ConnectionSpec] = SPECS,
    ) -> Queue:
        for queue in opened:
            await queue.close()
        opened.clear()
        chosen = msgspec.structs.replace(config or QueueConfig(), engine=request.param)
        queue = make_queue(tmp_path / "state", chosen, clock, max_retry_delay_s=MAX_RETRY_DELAY_S)
        await queue.start(connections, work.append, lambda *told: evicted.append(told))
        opened.append(queue)
        return queue

    yield open_it
    for queue in opened:
        await queue.close()


@pytest.fixture
async def queue(open_queue: OpenQueue) -> Queue:
    """An empty queue with the connections a and b of the source web."""
    return await open_queue()
