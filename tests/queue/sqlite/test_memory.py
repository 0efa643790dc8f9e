"""Memory is bounded by what chunks cost, and a chunk costs what its connections do."""

from __future__ import annotations

import pytest

from supervisor.queue import ConnectionSpec, Delivered, Postpone, Route
from supervisor.queue.sqlite import memory as module
from supervisor.queue.sqlite import retry_heap
from supervisor.queue.sqlite.backlog import ConnectionBacklog
from supervisor.queue.sqlite.counters import COUNTERS
from supervisor.queue.sqlite.engine import SqliteQueue
from supervisor.queue.sqlite.eviction import Evicted
from supervisor.queue.sqlite.journal import Journal
from supervisor.queue.sqlite.memory import TIGHT_WINDOW, QueueMemory
from supervisor.queue.sqlite.refill import (
    LogPage,
    StoredChunk,
    StoredConnection,
    StoredProgress,
)
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
#: Records of progress that may be loaded here.
BOUND = 200


async def test_chunks_of_many_connections_are_kept_by_their_progress(
    open_queue: OpenQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source with twenty connections has a twentieth of the chunks there, and loses nothing."""
    monkeypatch.setattr(module, "LOADED", BOUND)
    queue = await open_queue(connections=dict.fromkeys(NAMES, ConnectionSpec("web")))
    assert isinstance(queue, SqliteQueue)
    for number in range(100):
        await queue.append("web", [event(f"m{number}", EVERYWHERE)], T0)
    memory = queue._memory
    # A connection that has nothing yet may always have two.
    assert memory.loaded_progress <= BOUND + TIGHT_WINDOW * len(NAMES)
    memory.check(queue._leases.undecided())
    delivered: list[str] = []
    for name in NAMES:
        while (lease := await take(queue, name)) is not None:
            delivered += [delivery.body.decode() for delivery in lease.deliveries]
            await settle_all(queue, lease, Delivered())
    assert len(delivered) == 100 * len(NAMES)
    assert not await deliver_everything(queue, NAMES)
    await until(lambda: queue.books().pending == 0 and memory.loaded_progress == 0)


async def test_connection_that_only_fails_keeps_few_of_its_retries_in_memory(
    open_queue: OpenQueue, monkeypatch: pytest.MonkeyPatch, clock: SetClock
) -> None:
    """Those that are due late are on disk, where each is found in its time."""
    window = 8
    monkeypatch.setattr(retry_heap, "RETRY_WINDOW", window)
    queue = await open_queue()
    assert isinstance(queue, SqliteQueue)
    for number in range(200):
        await queue.append("web", events([number]), T0)
        await settle_all(queue, await taken(queue), Postpone(10.0 + number, "500"))
    backlog = queue._memory.by_name["a"]
    assert backlog.retries.loaded <= 5 * window
    assert queue._memory.retry_budget.loaded <= backlog.retries.loaded
    found: list[str] = []
    for _ in range(300):
        clock.now += 1
        while (lease := await take(queue, retries=True)) is not None:
            found += ids_in(lease)
            await settle_all(queue, lease, Delivered())
    assert sorted(found) == sorted(f"m{number}" for number in range(200))


def a_page(*, done: int) -> LogPage:
    """Chunk 7 as it is on disk: a has two events of it, and so many `done`; b has the first."""
    parts = [StoredProgress(1, 0b11, done, 0, done), StoredProgress(2, 0b01, 0, 0, 0)]
    return LogPage([(StoredChunk(7, 2, T0, 100, parts), {2})], {2: 7})


def a_connection(number: int, name: str, *, fresh: int = 0, newest: int = 0) -> StoredConnection:
    """A connection of source 1 of which the disk has so much."""
    books = [0] * len(COUNTERS)
    return StoredConnection(number, name, 1, books, fresh, 0, 0, 0, newest, None, True)


def a_memory() -> tuple[QueueMemory, ConnectionBacklog, ConnectionBacklog]:
    """Connections a and b, with nothing in memory of what they have on disk."""
    memory = QueueMemory()
    a = memory.load(a_connection(1, "a", fresh=2, newest=7))
    b = memory.load(a_connection(2, "b", fresh=1, newest=7))
    return memory, a, b


def test_page_that_was_read_before_an_eviction_is_read_again() -> None:
    """Else what was evicted of another connection would be pending in memory, and delivered."""
    memory, a, b = a_memory()
    with memory.reading():
        stale, epochs = a_page(done=0), {2: b.epoch}
        memory.evicted(a, Evicted(1, 10, chunks={7: 0b01}), T0)
        memory.loaded(stale, epochs)
        assert (memory.chunks, b.window.listed, b.window.cursor) == ({}, [], 0)
    with memory.reading():
        memory.loaded(a_page(done=0b01), {2: b.epoch})
    assert memory.chunks[7].progress[1].unsettled == 0b10
    assert (len(b.window.listed), b.window.cursor) == (1, 7)
    memory.check({})


def test_page_that_was_read_after_an_eviction_that_is_news_here_counts_it_once() -> None:
    """The disk has it, and the read may be heard of before the write."""
    memory, a, b = a_memory()
    with memory.reading():
        memory.loaded(a_page(done=0b11), {2: b.epoch})
        memory.evicted(a, Evicted(2, 20, chunks={7: 0b11}), T0)
    assert not memory.chunks[7].is_finished, "b has something of it still"
    assert a.fresh == 0
    memory.chunks[7].check()


@pytest.mark.parametrize("came_by", ["replay", "promotion"])
@pytest.mark.parametrize("is_ended", [False, True])
def test_retries_that_were_read_before_the_news_of_them_are_there_once(
    came_by: str, is_ended: bool
) -> None:
    """Else they were leased twice, and settled twice; whatever was done with them meanwhile."""
    memory, a, _ = a_memory()
    came = [(T0, number, False, T0) for number in (8, 9, 10)]
    with memory.reading():
        memory.refill_retries(a, came, is_all=True)
    (first,) = a.lease_retries(T0, 1)
    if is_ended:
        memory.retry_ended(first[1], 10, Journal())
        a.retry_settled(first[1])
    if came_by == "replay":
        memory.replay(a, came)
    else:
        memory.promoted(a, came)
    assert [entry[1] for entry in a.lease_retries(T0, 9)] == [9, 10]
    assert a.retrying == 0
    assert a.leased == (2 if is_ended else 3)


def test_tight_memory_is_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each connection may have its part of as much as there is, and two chunks whatever happens."""
    monkeypatch.setattr(module, "LOADED", 1000)
    memory, _, _ = a_memory()
    with memory.reading():
        parts = [StoredProgress(number, 1, 0, 0, 0) for number in range(1000)]
        memory.loaded(LogPage([(StoredChunk(7, 1, T0, 1, parts), {1})], {1: 7}), {1: 0})
    for number in range(3, 11):
        memory.new_backlog(f"c{number}", 1)
    assert memory.window == 1000 // (10 * 10)
    memory.new_backlog("other", 2)
    assert memory.window == 1000 // (10 * 10 + 1)
    for number in range(11, 100):
        memory.new_backlog(f"c{number}", 1)
    assert memory.window == TIGHT_WINDOW
