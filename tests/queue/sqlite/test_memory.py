"""Memory is bounded by what chunks cost, and a chunk costs what its connections do."""

from __future__ import annotations

import pytest

from supervisor.queue import ConnectionSpec, Delivered, Postpone, Route
from supervisor.queue.sqlite import memory as module
from supervisor.queue.sqlite.backlog import TIGHT_WINDOW, Lane
from supervisor.queue.sqlite.engine import SqliteQueue
from supervisor.queue.sqlite.eviction import Evicted
from supervisor.queue.sqlite.memory import LoadedChunk, LoadedShare, Page
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


def a_page(*, done: int) -> Page:
    """Chunk 7 as it is on disk: a has two events of it, and so many `done`; b has the first."""
    shares = [LoadedShare(1, 0b11, done, 0, done), LoadedShare(2, 0b01, 0, 0, 0)]
    return Page([(LoadedChunk(7, 2, T0, 100, shares), {2})], {2: 7})


def a_memory() -> tuple[module.Memory, Lane, Lane]:
    """Connections a and b, with nothing in memory of what they have on disk."""
    memory = module.Memory()
    a, b = Lane(1, "a", 1, None, fresh=2, newest=7), Lane(2, "b", 1, None, fresh=1, newest=7)
    memory.add_lane(a)
    memory.add_lane(b)
    return memory, a, b


def test_page_that_was_read_before_an_eviction_is_read_again() -> None:
    """Else what was evicted of another connection would be pending in memory, and delivered."""
    memory, a, b = a_memory()
    memory.loads += 1
    stale, epochs = a_page(done=0), {2: b.epoch}
    memory.evicted(a, Evicted(1, 10, chunks={7: 0b01}), T0)
    memory.loaded(stale, epochs)
    assert (memory.chunks, b.window, b.cursor) == ({}, [], 0)
    memory.load_ended()
    memory.loads += 1
    memory.loaded(a_page(done=0b01), {2: b.epoch})
    memory.load_ended()
    assert memory.chunks[7].shares[1].left == 0b10
    assert (len(b.window), b.cursor) == (1, 7)


def test_page_that_was_read_after_an_eviction_that_is_news_here_counts_it_once() -> None:
    """The disk has it, and whoever reads may be heard before whoever has written."""
    memory, a, b = a_memory()
    memory.loads += 1
    memory.loaded(a_page(done=0b11), {2: b.epoch})
    memory.evicted(a, Evicted(2, 20, chunks={7: 0b11}), T0)
    memory.load_ended()
    assert memory.chunks[7].open == 1, "b has something of it still"
    assert a.fresh == 0


def test_tight_memory_is_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each connection may have its part of as much as there is, and two chunks whatever happens."""
    monkeypatch.setattr(module, "LOADED", 1000)
    memory = module.Memory(shares=1000)
    for number in range(10):
        memory.add_lane(Lane(number, f"c{number}", 1, None))
    assert memory.window == 1000 // (10 * 10)
    memory.add_lane(Lane(10, "other", 2, None))
    assert memory.window == 1000 // (10 * 10 + 1)
    for number in range(11, 100):
        memory.add_lane(Lane(number, f"c{number}", 1, None))
    assert memory.window == TIGHT_WINDOW
