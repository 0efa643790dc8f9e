"""Getting deliveries for a lease: from memory, and from disk where memory has run out.

Owns what is being read at the moment, so that nothing is read twice at once.
What waited for a read looks again afterwards: the state may have changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from supervisor.core.scheduling.user_order import UserOrder
from supervisor.queue import Delivery, Lease, QueueUnavailable
from supervisor.queue.sqlite.backlog import ConnectionBacklog
from supervisor.queue.sqlite.chunk_progress import Chunk
from supervisor.queue.sqlite.leases import LeaseTable
from supervisor.queue.sqlite.memory import QueueMemory
from supervisor.queue.sqlite.refill import (
    ALONG,
    PAGE,
    read_due,
    read_page,
    read_payloads,
    read_retries,
)
from supervisor.queue.sqlite.retry_heap import RetryEntry
from supervisor.queue.sqlite.store import Store
from supervisor.runtime.clock import Clock


class Acquisition:
    """Leases deliveries of one connection at a time; for the event loop's thread."""

    def __init__(self, memory: QueueMemory, store: Store, leases: LeaseTable, clock: Clock) -> None:
        self._memory = memory
        self._store = store
        self._leases = leases
        self._clock = clock
        # What is being read: ("page" | "due" | "payload", id of connection or chunk).
        self._reading: dict[tuple[str, int], asyncio.Future[None]] = {}

    async def fresh(
        self,
        backlog: ConnectionBacklog,
        *,
        max_events: int,
        max_bytes: int,
        term_s: float,
        exclude_users: frozenset[bytes],
    ) -> Lease | None:
        """The oldest that were never attempted. Raises QueueUnavailable."""
        while backlog.fresh and not backlog.is_locked:
            if not backlog.window.listed:
                if not backlog.window.is_behind:
                    return None
                await self._once(("page", backlog.id), partial(self._load_page, backlog))
                continue
            missing = self._leases.missing(backlog, max_events)
            # Where the first is there, a smaller lease now is better than a larger one later.
            if missing and backlog.window.listed[0].chunk.deliveries is None:
                first = missing[0]
                await self._once(("payload", first.id), partial(self._load_payloads, missing))
                continue
            return self._leases.take_fresh(
                backlog,
                self._clock(),
                max_events=max_events,
                max_bytes=max_bytes,
                term_s=term_s,
                exclude_users=exclude_users,
            )
        return None

    async def ordered(
        self,
        backlog: ConnectionBacklog,
        order: UserOrder,
        *,
        max_events: int,
        max_bytes: int,
        term_s: float,
        exclude_users: frozenset[bytes],
    ) -> Lease | None:
        """The same for a connection that keeps users' events in order."""
        while backlog.fresh and not backlog.is_locked and backlog.order is order:
            found: Lease | Chunk | None = None
            if backlog.window.listed:
                found = self._leases.take_ordered(
                    backlog,
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
            elif backlog.window.is_behind and len(backlog.window.listed) < self._memory.window:
                # Nothing of what is known may go: what comes behind it may.
                await self._once(("page", backlog.id), partial(self._load_page, backlog))
            else:
                return None
        return None

    async def retries(
        self,
        backlog: ConnectionBacklog,
        *,
        max_events: int,
        max_bytes: int,
        term_s: float,
        exclude_users: frozenset[bytes],
    ) -> Lease | None:
        """Those whose next attempt is due. Raises QueueUnavailable."""
        while backlog.has_unread_retries and not backlog.is_locked:
            await self._once(("due", backlog.id), partial(self._load_due, backlog))
        if backlog.is_locked:
            return None
        entries = backlog.lease_retries(self._clock(), max_events)
        taken: list[RetryEntry] = []
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
            taken.clear()  # all of it goes back, also where the caller was cancelled
            raise
        finally:
            chosen = {entry[1] for entry in taken}
            for entry in entries:
                if entry[1] not in chosen:
                    backlog.return_retry(entry)
        if not taken:
            return None
        return self._leases.take_retries(backlog, taken, deliveries, self._clock(), term_s)

    async def _once(self, what: tuple[str, int], read: Callable[[], Awaitable[None]]) -> None:
        """Read it, or wait for the read that is under way."""
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

    async def _load_page(self, backlog: ConnectionBacklog) -> None:
        memory, window = self._memory, backlog.window
        epochs = memory.waiting_with(backlog) | {backlog.id: backlog.epoch}
        with memory.reading():
            page = await self._store.read(
                partial(
                    read_page,
                    source=backlog.source,
                    after=window.cursor,
                    upto=window.newest,
                    wanted=dict.fromkeys(epochs, ALONG) | {backlog.id: min(PAGE, memory.window)},
                    first=backlog.id,
                )
            )
            memory.loaded(page, epochs)

    async def _load_payloads(self, chunks: Sequence[Chunk]) -> None:
        found = await self._store.read(partial(read_payloads, ids=[chunk.id for chunk in chunks]))
        # The one that is wanted first comes last: so it is the last to make room for others.
        for chunk in reversed(chunks):
            if not chunk.is_pinned:
                continue  # it was evicted meanwhile
            if chunk.id not in found:
                raise QueueUnavailable(
                    f"chunk {chunk.id} is pending and not in the store: it is damaged; stop the "
                    "service and keep a copy of service.state_dir"
                )
            self._memory.payloads.put(chunk, found[chunk.id])

    async def _load_due(self, backlog: ConnectionBacklog) -> None:
        memory, epoch, horizon = self._memory, backlog.epoch, backlog.retries.horizon
        if horizon is None:
            return
        memory.forget_beyond(backlog)
        want = memory.retry_budget.window
        with memory.reading():
            rows = await self._store.read(
                partial(read_due, connection=backlog.id, after=horizon, want=want)
            )
            if backlog.epoch == epoch:
                memory.refill_retries(backlog, rows, is_all=len(rows) < want)

    async def _rows(self, entries: Sequence[RetryEntry]) -> dict[int, Delivery]:
        rows: dict[int, Delivery] = {}
        unread: list[int] = []
        for entry in entries:
            row = self._memory.unwritten_retries.get(entry[1])
            if row is None:
                unread.append(entry[1])
            else:
                rows[entry[1]] = row.next_delivery
        if unread:
            rows |= await self._store.read(partial(read_retries, ids=unread))
        return rows
