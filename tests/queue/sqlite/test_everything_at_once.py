"""Everything at once: appends, leases, verdicts, evictions, removals and replays."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from supervisor.config import QueueConfig
from supervisor.queue import (
    Bury,
    ConnectionSpec,
    DeadLetterFilter,
    Delivered,
    LeaseExpired,
    Outcome,
    Postpone,
    QueueFull,
    Release,
    Unsupported,
    Verdict,
)
from supervisor.queue.sqlite import memory, payload_cache, retry_heap
from supervisor.queue.sqlite.engine import SqliteQueue
from tests.queue.given import (
    TO_A,
    TO_B,
    TO_BOTH,
    deliver_everything,
    event,
    id_of,
    sqlite_queue,
    take,
    until,
)

SPECS = {"a": ConnectionSpec("web", 60_000), "b": ConnectionSpec("web")}
VERDICTS: list[Verdict] = [
    *[Delivered()] * 6,
    Unsupported(),
    Postpone(0.0, "now"),
    Postpone(0.01, "soon", alone=True),
    Release(),
    Bury(Outcome.FAILED, "no"),
]


async def produce(queue: SqliteQueue, part: int, chance: random.Random, took: Counter[str]) -> None:
    """Append, also past what the disk may hold."""
    for batch in range(60):
        route = chance.choice((TO_A, TO_B, TO_BOTH))
        sent = [
            event(f"{part}-{batch}-{n}", route, size=chance.choice((10, 500, 3000)))
            for n in range(chance.choice((1, 3, 20)))
        ]
        try:
            await queue.append("web", sent, time.time())
        except QueueFull:
            continue
        for one in sent:
            took.update(f"{connection} {one.message_id}" for connection in one.route.pending)
        assert queue.books().is_balanced


async def consume(
    queue: SqliteQueue, name: str, chance: random.Random, sent: Counter[str], *, stop: asyncio.Event
) -> None:
    """Lease, and decide in parts, out of order, or never."""
    while not stop.is_set():
        lease = await take(
            queue, name, most=chance.randrange(1, 40), retries=chance.random() < 0.4, term_s=0.2
        )
        if lease is None:
            await asyncio.sleep(0)
            continue
        indices = list(range(len(lease.deliveries)))
        chance.shuffle(indices)
        if chance.random() < 0.1:
            continue  # it expires
        for part in (indices[::2], indices[1::2]):
            verdicts = [(index, chance.choice(VERDICTS)) for index in part]
            await asyncio.sleep(0)
            try:
                await queue.settle(lease, verdicts)
            except LeaseExpired:
                break  # its deliveries are pending again
            sent.update(
                f"{name} {id_of(lease.deliveries[index].body)}"
                for index, verdict in verdicts
                if isinstance(verdict, Delivered | Unsupported)
            )


async def disturb(queue: SqliteQueue, chance: random.Random, stop: asyncio.Event) -> None:
    """What operators do."""
    while not stop.is_set():
        await asyncio.sleep(0.01)
        roll = chance.random()
        if roll < 0.3:
            await queue.set_connections({"a": SPECS["a"]})
            await queue.set_connections(SPECS)
        elif roll < 0.6:
            await queue.replay(DeadLetterFilter(), dry_run=False)
        else:
            await queue.find("0-0-0")
            assert (await queue.audit()).is_balanced


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("is_tight", [False, True])
async def test_everything_at_once(
    tmp_path: Path, seed: int, is_tight: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No delivery is lost and none is settled twice, whatever interleaves with whatever."""
    if is_tight:
        monkeypatch.setattr(memory, "WINDOW", 2)
        monkeypatch.setattr(retry_heap, "RETRY_WINDOW", 3)
        monkeypatch.setattr(payload_cache, "CACHE_BYTES", 20_000)
    chance = random.Random(seed)
    queue = sqlite_queue(tmp_path, time.time, QueueConfig(max_pending=300_000))
    await queue.start(SPECS, lambda connection: None)
    took: Counter[str] = Counter()
    sent: Counter[str] = Counter()
    stop = asyncio.Event()
    others = [
        asyncio.create_task(work)
        for work in (
            consume(queue, "a", chance, sent, stop=stop),
            consume(queue, "b", chance, sent, stop=stop),
            consume(queue, "b", chance, sent, stop=stop),
            disturb(queue, chance, stop),
        )
    ]
    async with asyncio.timeout(60):
        await asyncio.gather(*(produce(queue, part, chance, took) for part in range(4)))
        stop.set()
        await asyncio.gather(*others)
        await until(lambda: queue.depth("a").leased + queue.depth("b").leased == 0)
        left = Counter[str]()
        for name in SPECS:
            left.update(f"{name} {one}" for one in await deliver_everything(queue, [name]))
        while True:
            books = queue.books()
            letters = await queue.dead_letters(DeadLetterFilter(), limit=1_000_000, after=None)
            audit = await queue.audit()
            pending = queue.depth("a").pending + queue.depth("b").pending
            if books == queue.books() and books.pending == pending:
                break  # nothing was evicted between two looks
    buried = Counter(f"{letter.connection} {letter.message_id}" for letter in letters)
    assert books == audit
    assert books.is_balanced
    assert books.accepted == took.total()
    ended = sent + left + buried
    assert took.total() == ended.total() + pending
    assert not ended - took
    await queue.close()
