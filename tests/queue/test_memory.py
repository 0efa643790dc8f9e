"""Memory is bounded by what chunks cost, and a chunk costs what its connections do."""

from __future__ import annotations

import pytest

from supervisor.queue import ConnectionSpec, Delivered, Postpone, Route
from supervisor.queue import memory as module
from supervisor.queue.backlog import TIGHT_WINDOW
from supervisor.queue.sqlite import SqliteQueue
from tests.queue.conftest import OpenQueue
from tests.queue.given import (
    T0,
    SetClock,
    deliver_everything,
    event,
    events,
    ids_in,
    settle_all,
    take,
    taken,
    until,
)

NAMES = [f"c{number}" for number in range(20)]
EVERYWHERE = Route(pending=tuple(NAMES))
#: Shares that may be loaded here.
BOUND = 200


async def test_chunks_of_many_connections_are_kept_by_their_shares(
    open_queue: OpenQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source with twenty connections has a twentieth of the chunks there, and loses nothing."""
    monkeypatch.setattr(module, "LOADED", BOUND)
    queue = await open_queue(connections=dict.fromkeys(NAMES, ConnectionSpec("web")))
    assert isinstance(queue, SqliteQueue)
    for number in range(100):
        await queue.append("web", [event(f"m{number}", EVERYWHERE)], T0)
    memory = queue._memory
    # Whoever has nothing yet may always have two.
    assert memory.shares <= BOUND + TIGHT_WINDOW * len(NAMES)
    assert memory.shares == sum(len(chunk.shares) for chunk in memory.chunks.values())
    delivered: list[str] = []
    for name in NAMES:
        while (lease := await take(queue, name)) is not None:
            delivered += [delivery.body.decode() for delivery in lease.deliveries]
            await settle_all(queue, lease, Delivered())
    assert len(delivered) == 100 * len(NAMES)
    assert not await deliver_everything(queue, NAMES)
    await until(lambda: queue.books().pending == 0 and memory.shares == 0)


async def test_connection_that_only_fails_keeps_few_of_its_retries_in_memory(
    open_queue: OpenQueue, monkeypatch: pytest.MonkeyPatch, clock: SetClock
) -> None:
    """Those that are due late are on disk, where each is found in its time."""
    window = 8
    monkeypatch.setattr(module, "RETRY_WINDOW", window)
    queue = await open_queue()
    assert isinstance(queue, SqliteQueue)
    for number in range(200):
        await queue.append("web", events([number]), T0)
        await settle_all(queue, await taken(queue), Postpone(10.0 + number, "500"))
    (lane,) = [lane for lane in queue._memory.lanes.values() if lane.name == "a"]
    assert len(lane.due) + len(lane.recent) <= 5 * window
    found: list[str] = []
    for _ in range(300):
        clock.now += 1
        while (lease := await take(queue, retries=True)) is not None:
            found += ids_in(lease)
            await settle_all(queue, lease, Delivered())
    assert sorted(found) == sorted(f"m{number}" for number in range(200))
