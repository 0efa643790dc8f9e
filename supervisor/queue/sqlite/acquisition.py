"""Getting deliveries for a lease: from memory, and from disk where memory has run out.

Owns what is being read at the moment, so that nothing is read twice at once.
Whoever waits for a read looks again afterwards: the state may have changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from supervisor.clock import Clock
from supervisor.core.ordering import UserOrder
from supervisor.queue import Delivery, Lease, QueueUnavailable
from supervisor.queue.sqlite.backlog import Chunk, Due, Lane
from supervisor.queue.sqlite.leases import Leases
from supervisor.queue.sqlite.memory import Memory
from supervisor.queue.sqlite.refill import (
    ALONG,
    PAGE,
    read_due,
    read_page,
    read_payloads,
    read_retries,
)
from supervisor.queue.sqlite.store import Store


class Acquisition:
    """Leases deliveries of one lane at a time; for the event loop's thread."""

    def __init__(self, memory: Memory, store: Store, leases: Leases, clock: Clock) -> None:
        self._memory = memory
        self._store = store
        self._leases = leases
        self._clock = clock
        # What is being read: ("page" | "due" | "payload", id of lane or chunk).
        self._reading: dict[tuple[str, int], asyncio.Future[None]] = {}

    async def fresh(
        self,
        lane: Lane,
        *,
        max_events: int,
        max_bytes: int,
        term_s: float,
        exclude_users: frozenset[bytes],
    ) -> Lease | None:
        """The oldest that were never attempted. Raises QueueUnavailable."""
        while lane.fresh and not lane.is_locked:
            if not lane.window:
                if not lane.is_behind:
                    return None
                await self._once(("page", lane.id), partial(self._load_page, lane))
                continue
            missing = self._leases.missing(lane, max_events)
            # Where the first is there, a smaller lease now is better than a larger one later.
            if missing and lane.window[0].chunk.deliveries is None:
                first = missing[0]
                await self._once(("payload", first.id), partial(self._load_payloads, missing))
                continue
            return self._leases.take_fresh(
                lane,
                self._clock(),
                max_events=max_events,
                max_bytes=max_bytes,
                term_s=term_s,
                exclude_users=exclude_users,
            )
        return None

    async def ordered(
        self,
        lane: Lane,
        order: UserOrder,
        *,
        max_events: int,
        max_bytes: int,
        term_s: float,
        exclude_users: frozenset[bytes],
    ) -> Lease | None:
        """The same for a connection that keeps users' events in order."""
        while lane.fresh and not lane.is_locked and lane.order is order:
            found: Lease | Chunk | None = None
            if lane.window:
                found = self._leases.take_ordered(
                    lane,
                    order,
                    self._store.journal,
                    self._clock(),
                    max_events=max_events,
                    max_bytes=max_bytes,
                    term_s=term_s,
                    exclude_users=exclude_users,
                )
                self._store.flush_soon()
            if isinstance(found, Lease):
                return found
            if isinstance(found, Chunk):
                chunk = found
                await self._once(("payload", chunk.id), partial(self._load_payloads, [chunk]))
            elif lane.is_behind and len(lane.window) < self._memory.window:
                # Nothing of what is known may go: what comes behind it may.
                await self._once(("page", lane.id), partial(self._load_page, lane))
            else:
                return None
        return None

    async def retries(
        self,
        lane: Lane,
        *,
        max_events: int,
        max_bytes: int,
        term_s: float,
        exclude_users: frozenset[bytes],
    ) -> Lease | None:
        """Those whose next attempt is due. Raises QueueUnavailable."""
        while lane.has_unseen_retries and not lane.is_locked:
            await self._once(("due", lane.id), partial(self._load_due, lane))
        if lane.is_locked:
            return None
        entries = self._leases.reserve(lane, self._clock(), max_events)
        taken: list[Due] = []
        deliveries: list[Delivery] = []
        try:
            rows = await self._rows(entries)
            size = 0
            for entry in entries:
                delivery = rows.get(entry[1])
                if delivery is None or delivery.user_key in exclude_users:
                    continue
                size += len(delivery.body)
                if size > max_bytes and taken:
                    break
                taken.append(entry)
                deliveries.append(delivery)
        except BaseException:
            taken.clear()  # all of it goes back, also where whoever asked was cancelled
            raise
        finally:
            chosen = {entry[1] for entry in taken}
            self._leases.unreserve(lane, [entry for entry in entries if entry[1] not in chosen])
        if not taken:
            return None
        return self._leases.take_retries(lane, taken, deliveries, self._clock(), term_s)

    async def _once(self, what: tuple[str, int], read: Callable[[], Awaitable[None]]) -> None:
        """Read it, or wait for whoever reads it already."""
        running = self._reading.get(what)
        if running is not None:
            await asyncio.shield(running)
            return
        done = self._reading[what] = asyncio.get_running_loop().create_future()
        try:
            await read()
        finally:
            del self._reading[what]
            done.set_result(None)

    async def _load_page(self, lane: Lane) -> None:
        memory = self._memory
        epochs = memory.waiting_with(lane) | {lane.id: lane.epoch}
        memory.loads += 1
        try:
            page = await self._store.read(
                partial(
                    read_page,
                    source=lane.source,
                    after=lane.cursor,
                    upto=lane.newest,
                    wanted=dict.fromkeys(epochs, ALONG) | {lane.id: min(PAGE, memory.window)},
                    first=lane.id,
                )
            )
            memory.loaded(page, epochs)
        finally:
            memory.load_ended()

    async def _load_payloads(self, chunks: Sequence[Chunk]) -> None:
        found = await self._store.read(partial(read_payloads, ids=[chunk.id for chunk in chunks]))
        # The one that is wanted first comes last: so it is the last to make room for others.
        for chunk in reversed(chunks):
            if not chunk.holders:
                continue  # it was evicted meanwhile
            if chunk.id not in found:
                raise QueueUnavailable(
                    f"chunk {chunk.id} is pending and not in the store: it is damaged; stop the "
                    "service and keep a copy of service.state_dir"
                )
            self._memory.cache(chunk, found[chunk.id])

    async def _load_due(self, lane: Lane) -> None:
        memory, epoch, horizon = self._memory, lane.epoch, lane.horizon
        if horizon is None:
            return
        memory.forget_recent(lane)
        want = memory.retry_window
        memory.loads += 1
        try:
            rows = await self._store.read(
                partial(read_due, connection=lane.id, after=horizon, want=want)
            )
            if lane.epoch == epoch:
                memory.loaded_retries(lane, rows, is_all=len(rows) < want)
        finally:
            memory.load_ended()

    async def _rows(self, entries: Sequence[Due]) -> dict[int, Delivery]:
        rows: dict[int, Delivery] = {}
        unread: list[int] = []
        for entry in entries:
            row = self._memory.unwritten.get(entry[1])
            if row is None:
                unread.append(entry[1])
            else:
                rows[entry[1]] = Delivery(
                    row.delivery.body,
                    row.attempts + 1,
                    row.delivery.received_at,
                    row.delivery.user_key,
                    row.first_at,
                )
        if unread:
            rows |= await self._store.read(partial(read_retries, ids=unread))
        return rows
