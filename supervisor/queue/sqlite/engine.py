"""The SQLite engine behind the `Queue` protocol.

Owns the order of things: what is asked of memory, what of the store, and what
is told of it. The state in memory changes on the event loop's thread only; one
writer thread commits, one reader thread reads. What is on disk is decided in
`journal.py`, what is in memory in `memory.py`, leases in `leases.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from supervisor.config import QueueConfig
from supervisor.queue import (
    Books,
    ConnectionSpec,
    Counted,
    DeadLetter,
    DeadLetterCauses,
    DeadLetterFilter,
    DeadLettersSwept,
    DedupeStats,
    Depth,
    Disposition,
    EventRecord,
    Lease,
    NewEvent,
    OnEvicted,
    QueueFull,
    QueueStats,
    Route,
    Selection,
)
from supervisor.queue.sqlite import dead_letters, mark, refill
from supervisor.queue.sqlite.acquisition import Acquisition
from supervisor.queue.sqlite.alarms import Alarms
from supervisor.queue.sqlite.audit import audited, read_books
from supervisor.queue.sqlite.backlog import ConnectionBacklog
from supervisor.queue.sqlite.backpressure import Backpressure
from supervisor.queue.sqlite.backup import back_up, take_over
from supervisor.queue.sqlite.chunks import EVENT_OVERHEAD, RouteIds
from supervisor.queue.sqlite.counters import COUNTERS, DEAD_LETTER_BYTES, books_of
from supervisor.queue.sqlite.dedupe.index import DedupeIndex
from supervisor.queue.sqlite.delivery_locations import with_locations
from supervisor.queue.sqlite.find import find
from supervisor.queue.sqlite.intake import Committed, PendingAppend
from supervisor.queue.sqlite.journal import Journal
from supervisor.queue.sqlite.leases import LeaseTable
from supervisor.queue.sqlite.maintenance import LOW, Maintenance
from supervisor.queue.sqlite.memory import QueueMemory
from supervisor.queue.sqlite.order_switch import OrderSwitch
from supervisor.queue.sqlite.promotion import Promotion
from supervisor.queue.sqlite.schema import StateDirLock, is_present, last_run, prepare
from supervisor.queue.sqlite.settlement import LeaseSettlement
from supervisor.queue.sqlite.store import Store
from supervisor.runtime.clock import Anchored, Clock

__all__ = ["SqliteQueue", "accept_loss", "back_up", "is_present", "last_run", "read_books"]

#: Seconds that a sender is asked to wait when the disk budget is used.
FULL_RETRY_AFTER_S = 10.0
#: Seconds between two rounds of maintenance.
MAINTENANCE_S = 5.0
#: Routes that are kept with the numbers of their connections.
ROUTES_KEPT = 10_000


def accept_loss(state_dir: Path, commits: int) -> bool:
    """See `engines.accept_loss`."""
    if mark.read(state_dir) is None:
        return False
    lock = StateDirLock(state_dir)
    try:
        return mark.accept_loss(state_dir, commits)
    finally:
        lock.release()


class SqliteQueue:
    """See `Queue`. `max_retry_delay_s` bounds how far a retry may lie ahead after a restart."""

    def __init__(
        self,
        state_dir: Path,
        config: QueueConfig,
        clock: Clock,
        *,
        max_retry_delay_s: float,
        anchored: Anchored,
    ) -> None:
        self._state_dir = state_dir
        self._config = config
        self._clock = clock
        self._max_retry_delay_s = max_retry_delay_s
        self._dedupe = (
            DedupeIndex(config.dedupe_window_s, config.dedupe_budget)
            if config.dedupe_window_s > 0
            else None
        )
        self._memory = QueueMemory()
        self._alarms = Alarms(clock)
        on_work = self._alarms.has_work
        self._store = Store(
            state_dir,
            clock,
            anchored=anchored,
            dedupe=self._dedupe,
            history_bytes=config.history,
            on_commit=self._on_commit,
        )
        self._promotion = Promotion(self._memory, self._store, clock, on_work)
        settlement = LeaseSettlement(
            self._memory,
            self._store.next_row_id,
            on_work,
            self._promotion.soon,
            keeps_history=config.history > 0,
        )
        self._leases = LeaseTable(settlement)
        self._acquisition = Acquisition(self._memory, self._store, self._leases, clock)
        self._order_switch = OrderSwitch(self._store, self._leases, self._promotion, clock, on_work)
        self._maintenance = Maintenance(
            self._memory, self._store, config, clock, on_work, self._promotion
        )
        self._backpressure = Backpressure(self._memory, config.max_pending, clock)
        self._sources: dict[str, int] = {}
        self._route_ids: dict[int, tuple[Route, RouteIds]] = {}
        self._arriving_bytes = 0
        self._maintenance_task: asyncio.Task[None] | None = None
        self._is_urgent = asyncio.Event()
        self._lock: StateDirLock | None = None

    # --- life ---

    async def start(
        self,
        connections: Mapping[str, ConnectionSpec],
        on_work: Callable[[str], None],
        on_evicted: OnEvicted | None = None,
    ) -> None:
        """Open the store, see `Queue`. Raises QueueUnavailable."""
        self._loop = asyncio.get_running_loop()
        self._on_work, self._maintenance.on_evicted = on_work, on_evicted
        self._alarms.start(on_work, self._expire)
        prepare(self._state_dir)
        self._lock = StateDirLock(self._state_dir)
        try:
            take_over(self._state_dir)
            latest = self._clock() + self._max_retry_delay_s
            stored = await self._store.start(partial(refill.load, latest=latest))
        except BaseException:
            self._lock.release()
            self._lock = None
            raise
        self._sources = stored.sources
        self._memory.usage.chunk_came(stored.chunk_bytes)
        self._memory.usage.retry_came(stored.retry_bytes)
        for connection in stored.connections:
            self._memory.load(connection)
        await self.set_connections(connections)
        self._maintenance_task = self._loop.create_task(self._keep_up())
        for backlog in self._memory.backlogs.values():
            if backlog.fresh or backlog.retrying:
                self._alarms.has_work(backlog)
            self._promotion.soon(backlog)

    async def close(self) -> None:
        """Write down what is settled, see `Queue`; once more is no error."""
        if self._lock is None:
            return
        if self._maintenance_task is not None:
            self._maintenance_task.cancel()
            await asyncio.gather(self._maintenance_task, return_exceptions=True)
        await self._promotion.close()
        await self._store.close()
        self._alarms.close()
        self._lock.release()
        self._lock = None

    async def set_connections(self, connections: Mapping[str, ConnectionSpec]) -> Mapping[str, int]:
        """Follow a config change, see `Queue`."""
        self._route_ids.clear()
        for name, spec in connections.items():
            backlog = self._memory.of(name, self._source_id(spec.source))
            if backlog is None:
                backlog = self._new_backlog(name, spec.source)
            self._memory.put_in_force(backlog)
            backlog.spec = spec
            await self._order_switch.set_ordered(backlog, spec.ordered)
        ended: dict[str, int] = {}
        for backlog in list(self._memory.backlogs.values()):
            if backlog.name in connections and self._memory.by_name[backlog.name] is backlog:
                continue
            backlog.spec = None
            if n := await self._maintenance.dead_letter_all(backlog):
                ended[backlog.name] = ended.get(backlog.name, 0) + n
        return ended

    def _new_backlog(self, name: str, source: str) -> ConnectionBacklog:
        backlog = self._memory.new_backlog(name, self._source_id(source))
        self._store.journal.connections.append((backlog.id, name, backlog.source))
        self._store.flush_soon()
        return backlog

    def _source_id(self, name: str) -> int:
        number = self._sources.get(name)
        if number is None:
            number = self._sources[name] = len(self._sources) + 1
            self._store.journal.sources.append((number, name))
        return number

    # --- in ---

    async def append(
        self, source: str, events: Sequence[NewEvent], received_at: float
    ) -> Sequence[bool]:
        """Store events, see `Queue`. Raises QueueFull or QueueUnavailable."""
        store = self._store
        store.require_intake()
        if not events:
            return []
        routes = {id(event.route): event.route for event in events}
        route_ids = {way: self._ids_of(source, route) for way, route in routes.items()}
        size = sum(len(event.body) for event in events) + EVENT_OVERHEAD * len(events)
        await self._require_room(self._source_id(source), size)
        answer: asyncio.Future[Sequence[bool]] = self._loop.create_future()
        store.journal.intake.append(
            PendingAppend(
                self._source_id(source), source, events, received_at, route_ids, size, answer
            )
        )
        self._arriving_bytes += size
        store.flush_soon()
        try:
            return await answer
        finally:
            self._arriving_bytes -= size

    async def _require_room(self, source: int, size: int) -> None:
        while self._is_over_budget(source, size):
            self._require_log()
            # Room may also have been made by others meanwhile.
            if not await self._maintenance.take_back() and self._is_over_budget(source, size):
                raise QueueFull(
                    f"the queue holds {self._memory.usage.total} bytes and may hold "
                    f"{self._config.max_pending} (queue.max_pending; the last of it is for sources "
                    "that use less than their part): wait, or raise it",
                    FULL_RETRY_AFTER_S,
                )
            self._store.require_intake()

    def _require_log(self) -> None:
        """Evicting would only make a log longer that somebody holds. Raises QueueFull."""
        store = self._store
        if store.log_excess and self._memory.usage.total < LOW * self._config.max_pending:
            raise QueueFull(
                f"the disk budget of {self._config.max_pending} bytes (queue.max_pending) is used "
                f"by the queue's own log of {store.log_bytes}: {store.log_held or 'it is emptied'}",
                FULL_RETRY_AFTER_S,
            )

    def _is_over_budget(self, source: int, more: int) -> bool:
        used = self._memory.usage.total + self._store.log_excess + self._arriving_bytes + more
        return used > self._backpressure.limit(source, used)

    def _ids_of(self, source: str, route: Route) -> RouteIds:
        known = self._route_ids.get(id(route))
        if known is not None:
            return known[1]
        ids = RouteIds(
            *(
                tuple(self._number_of(source, name) for name in names)
                for names in (route.pending, route.unsupported, route.filtered)
            )
        )
        if len(self._route_ids) >= ROUTES_KEPT:
            self._route_ids.clear()
        self._route_ids[id(route)] = (route, ids)  # the route too, so that its id stays its own
        return ids

    def _number_of(self, source: str, name: str) -> int:
        # The one of this source, whatever the name means now: what is stored of a source is read
        # by its connections alone.
        backlog = self._memory.of(name, self._source_id(source))
        if backlog is None:
            # A reload gives routes out a moment before it gives the queue the connections.
            backlog = self._new_backlog(name, source)
            backlog.spec = ConnectionSpec(source)
        return backlog.id

    def _on_commit(self, journal: Journal, committed: Committed) -> None:
        memory = self._memory
        memory.count(committed.deltas)
        memory.written(journal)
        for backlog in memory.stored(committed.stored):
            limit = None if backlog.spec is None else backlog.spec.max_backlog
            if limit is not None and backlog.pending_bytes > limit:
                self._is_urgent.set()
            self._on_work(backlog.name)
        if self._maintenance.is_urgent:
            self._is_urgent.set()

    # --- out ---

    async def lease(
        self,
        connection: str,
        *,
        max_events: int,
        max_bytes: int,
        term_s: float,
        retries: bool,
        exclude_users: frozenset[bytes] = frozenset(),
    ) -> Lease | None:
        """Take deliveries, see `Queue`. Raises QueueUnavailable where they cannot be read."""
        backlog = self._memory.by_name.get(connection)
        if backlog is None:
            return None
        self._expire()
        if retries:
            take = partial(self._acquisition.retries, backlog)
        elif backlog.order is not None:
            take = partial(self._acquisition.ordered, backlog, backlog.order)
        else:
            take = partial(self._acquisition.fresh, backlog)
        lease = await take(
            max_events=max_events,
            max_bytes=max_bytes,
            term_s=term_s,
            exclude_users=exclude_users,
        )
        if retries:
            self._alarms.plan_retry(backlog)  # for the one behind those that were taken
        elif lease is not None:
            self._alarms.ring_at(lease.expires_at)
        return lease

    async def extend(self, lease: Lease, term_s: float) -> None:
        """Hold a lease, see `Queue`. Raises LeaseExpired."""
        self._expire()
        until = self._clock() + term_s
        self._leases.extend(lease, until)

    async def settle(self, lease: Lease, dispositions: Sequence[tuple[int, Disposition]]) -> None:
        """Decide deliveries, see `Queue`. Raises LeaseExpired and IndexError."""
        now = self._clock()
        store = self._store
        self._leases.expire(store.journal, now)
        self._leases.settle(lease, dispositions, store.journal, now)
        store.flush_soon()

    # --- in between ---

    def _expire(self) -> float | None:
        """Take back what is overdue; when a lease may expire next."""
        expiry = self._leases.next_expiry
        now = self._clock()
        if expiry is not None and expiry <= now:
            self._leases.expire(self._store.journal, now)
            self._store.flush_soon()
            return self._leases.next_expiry
        return expiry

    async def _keep_up(self) -> None:
        while True:
            await self._maintenance.round()
            self._is_urgent.clear()
            with contextlib.suppress(TimeoutError):  # then it is simply time for the next round
                async with asyncio.timeout(MAINTENANCE_S):
                    await self._is_urgent.wait()

    # --- what is to be seen ---

    def depth(self, connection: str) -> Depth:
        """What a connection has in the queue, see `Queue`."""
        backlog = self._memory.by_name.get(connection)
        if backlog is None:
            return Depth(0, 0, 0, None, None)
        self._expire()
        order = backlog.order
        return Depth(
            backlog.fresh,
            backlog.retrying,
            backlog.leased,
            backlog.oldest_at(self._clock()),
            backlog.next_retry_at,
            backlog.pending_bytes,
            backlog.parked,
            0 if order is None else len(order.barriers),
            None if order is None else order.held_since,
        )

    def books(self) -> Books:
        """The books of all connections, as of the newest commit."""
        return books_of(self._memory.totals)

    def books_by_connection(self) -> Mapping[str, Books]:
        """The books, by connection."""
        return {
            name: books_of([sum(column) for column in zip(*counted, strict=True)])
            for name, counted in self._counted_by_name().items()
        }

    def _counted_by_name(self) -> dict[str, list[Sequence[int]]]:
        counted: dict[str, list[Sequence[int]]] = {}
        for backlog in self._memory.backlogs.values():
            counted.setdefault(backlog.name, []).append(backlog.books)
        return counted

    def counted_connections(self) -> Sequence[str]:
        """Names of all that the books count."""
        return list(self._memory.all_by_name)

    def counted(self, connection: str) -> Counted:
        """The books of one of them."""
        return self._memory.counted(connection)

    def counted_together(self) -> Counted:
        """The books of all."""
        return Counted(self.books(), *self._memory.replayed)

    async def audit(self) -> Books:
        """The books with `pending` counted anew in the store."""
        books = await self._store.read(audited)
        return Books(*(sum(getattr(one, name) for one in books.values()) for name in COUNTERS[:8]))

    async def find(self, message_id: str) -> Sequence[EventRecord]:
        """What became of an event, see `Queue`."""
        records = await self._store.read(
            partial(
                find,
                message_id=message_id,
                sources=dict(self._sources),
                names={backlog.id: backlog.name for backlog in self._memory.backlogs.values()},
            )
        )
        return [with_locations(record, self._memory, self._clock()) for record in records]

    # --- dead letters ---

    async def dead_letters(
        self, where: DeadLetterFilter, *, limit: int, after: str | None
    ) -> Sequence[DeadLetter]:
        """Dead letters, newest first, see `Queue`."""
        return await self._maintenance.listed(where, limit, after)

    async def dead_letter(self, letter_id: str) -> DeadLetter | None:
        """One dead letter with its event."""
        names = {backlog.id: backlog.name for backlog in self._memory.backlogs.values()}
        return await self._store.read(partial(dead_letters.shown, letter_id=letter_id, names=names))

    async def dead_letter_causes(self, where: DeadLetterFilter, *, limit: int) -> DeadLetterCauses:
        """How many there are of each cause, see `Queue`."""
        return await self._maintenance.causes(where, limit)

    def newest_dead_letter(self) -> str:
        """What becomes a dead letter from here on has a later id, see `Queue`."""
        return str(self._maintenance.newest_dead_letter)

    async def replay_some(
        self, where: DeadLetterFilter, *, after: str, upto: str, most: int
    ) -> DeadLettersSwept:
        """A step of `replay`, see `Queue`."""
        return await self._maintenance.replay_some(where, after=after, upto=upto, most=most)

    async def drop_some(
        self, where: DeadLetterFilter, *, after: str, upto: str, most: int
    ) -> DeadLettersSwept:
        """A step of `drop`, see `Queue`."""
        return await self._maintenance.drop_some(where, after=after, upto=upto, most=most)

    async def replay(self, where: DeadLetterFilter, *, dry_run: bool) -> Selection:
        """Dead letters back to pending, see `Queue`."""
        return await self._maintenance.replay(where, dry_run=dry_run)

    async def drop(self, where: DeadLetterFilter, *, dry_run: bool) -> Selection:
        """Forget dead letters, see `Queue`."""
        return await self._maintenance.drop(where, dry_run=dry_run)

    def stats(self) -> QueueStats:
        """Sizes and health, from memory."""
        memory, store = self._memory, self._store
        return QueueStats(
            intake=store.intake,
            live_bytes=memory.usage.total,
            max_bytes=self._config.max_pending,
            dead_letter_bytes=memory.totals[DEAD_LETTER_BYTES],
            dead_letters_dropped=store.meta.letters_dropped,
            evicted=store.meta.evicted,
            dedupe=self._dedupe.stats() if self._dedupe is not None else DedupeStats(0.0, 0, 0),
            commits=store.commits,
            commit_seconds=store.commit_seconds,
            files_missing=store.missing,
            log_bytes=store.log_bytes,
            log_held=store.log_held,
        )
