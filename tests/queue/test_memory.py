"""Memory is bounded by what chunks cost, and a chunk costs what its connections do."""

from __future__ import annotations

import pytest

from supervisor.queue import ConnectionSpec, Delivered, Route
from supervisor.queue import memory as module
from supervisor.queue.backlog import TIGHT_WINDOW
from supervisor.queue.sqlite import SqliteQueue
from tests.queue.conftest import OpenQueue
from tests.queue.given import T0, deliver_everything, event, settle_all, take, until

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
