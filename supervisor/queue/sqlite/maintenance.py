"""Work on the store that no single delivery asks for, slice by slice.

Owns budgets: backlogs over their share, dead letters over theirs or past their
age, chunks that are mostly dead; and the orders of operators: replay, drop,
connections that have left the config. A slice is one transaction, after which
memory follows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog

from supervisor.clock import Clock
from supervisor.config import QueueConfig
from supervisor.queue import DeadLetterFilter, QueueUnavailable, Selection
from supervisor.queue.sqlite import dead_letters as dead
from supervisor.queue.sqlite.backlog import Lane
from supervisor.queue.sqlite.eviction import (
    SLICE,
    Compacted,
    Evicted,
    Eviction,
    compact_slice,
    evict_slice,
)
from supervisor.queue.sqlite.leases import Leases
from supervisor.queue.sqlite.memory import Memory
from supervisor.queue.sqlite.promotion import Promotion
from supervisor.queue.sqlite.schema import LETTER_BYTES
from supervisor.queue.sqlite.settlement import GONE
from supervisor.queue.sqlite.store import Store

if TYPE_CHECKING:
    import sqlite3

    from supervisor.queue.sqlite.journal import Meta

T = TypeVar("T")

_log = structlog.get_logger(__name__)

#: Part of `max_pending` at which lent space is taken back, and at which that ends.
HIGH, LOW = 0.9, 0.8


class Maintenance:
    """`on_work` hears of lanes that have something to lease again."""

    def __init__(
        self,
        memory: Memory,
        store: Store,
        leases: Leases,
        config: QueueConfig,
        clock: Clock,
        on_work: Callable[[Lane], None],
        promotion: Promotion,
    ) -> None:
        self._memory = memory
        self._store = store
        self._leases = leases
        self._config = config
        self._clock = clock
        self._on_work = on_work
        self._promotion = promotion
        self._compacted_to = 0

    # --- backlogs ---

    async def bury_all(self, lane: Lane) -> int:
        """Everything pending of a connection that has left the config; how many.

        What is leased is decided by whoever has it. Raises QueueUnavailable.
        """
        buried = 0
        cursor: int | None = 0
        while cursor is not None and (lane.fresh or lane.retrying or lane.aside):
            done = await self._evict(lane, None, GONE, cursor)
            buried += done.n
            cursor = done.cursor
        return buried

    async def _enforce_backlogs(self) -> None:
        """Connections with a limit of their own are brought below it."""
        for lane in list(self._memory.lanes.values()):
            limit = None if lane.spec is None else lane.spec.max_backlog
            if limit is not None and lane.pending_bytes > limit:
                reason = f"evicted: the backlog was over max_backlog ({limit} bytes)"
                await self._shrink(lane, limit, reason)

    async def take_back(self) -> bool:
        """Make room by one slice: lent space first, then dead parts of chunks. Whether it did."""
        lane, share = self._largest_borrower()
        if lane is not None:
            return await self._shrink(lane, share, "evicted: the queue was full", slices=1) > 0
        return await self._compact() > 0

    def _largest_borrower(self) -> tuple[Lane | None, int]:
        """Who is furthest over its share of the disk, and that share in bytes."""
        most, found, share = 0, None, 0
        lanes = [lane for lane in self._memory.by_name.values() if lane.spec is not None]
        equal = self._config.max_pending // 2 // max(1, len(lanes))
        for lane in lanes:
            limit = None if lane.spec is None else lane.spec.max_backlog
            allowed = equal if limit is None else limit
            over = lane.pending_bytes - allowed
            if over > most and not lane.is_locked and (lane.fresh or lane.retrying or lane.aside):
                most, found, share = over, lane, allowed
        return found, share

    async def _shrink(self, lane: Lane, limit: int, reason: str, slices: int | None = None) -> int:
        window = lane.window
        cursor: int | None = window[0].chunk.id - 1 if window else lane.cursor
        evicted = 0
        while cursor is not None and lane.pending_bytes > limit and slices != 0:
            done = await self._evict(lane, lane.pending_bytes - limit, reason, cursor)
            if not done.n and done.cursor == cursor:
                break
            evicted += done.n
            cursor = done.cursor
            slices = None if slices is None else slices - 1
        if evicted:
            _log.warning("backlog_evicted", connection=lane.name, dead_letters=evicted)
        return evicted

    async def _evict(self, lane: Lane, size_bytes: int | None, reason: str, cursor: int) -> Evicted:
        def ready() -> Callable[[sqlite3.Connection, Meta], Evicted]:
            first = self._store.meta.row_id + 1
            self._store.meta.row_id += SLICE
            order = Eviction(
                lane.id,
                lane.source,
                size_bytes,
                reason,
                self._leases.leased_of(lane),
                frozenset(lane.leased_retries),
                self._clock(),
                first,
                self._config.history > 0,
                cursor,
            )
            return partial(_evict_counted, order)

        def apply(done: Evicted) -> None:
            self._memory.count(done.deltas)
            self._store.journal.finished += self._memory.evicted(lane, done, self._clock())
            self._promotion.soon(lane)

        # Nothing may be leased between the look at what is leased and the commit.
        while lane.is_locked:
            await self._store.flushed()
        lane.is_locked = True
        try:
            return await self._store.run(ready, apply)
        finally:
            lane.is_locked = False
            self._on_work(lane)

    async def _compact(self) -> int:
        """Go once around the log, as far as the first slice that freed something; how much."""
        for _ in range(2):
            while True:
                cursor = self._compacted_to
                done = await self._store.run(
                    partial(_prepared, partial(_compact, cursor)), self._memory.compacted
                )
                self._compacted_to = done.cursor or 0
                if done.freed:
                    return done.freed
                if done.cursor is None:
                    break
            if cursor == 0:
                break  # that was all of it
        return 0

    # --- dead letters ---

    async def replay(self, where: DeadLetterFilter, *, dry_run: bool) -> Selection:
        """Dead letters back to pending. Raises QueueUnavailable."""
        if dry_run:
            return await self._match(where)

        def ready(after: int, upto: int) -> Callable[[sqlite3.Connection, Meta], dead.Moved]:
            first = self._store.meta.row_id + 1
            self._store.meta.row_id += dead.SLICE
            return lambda db, meta: dead.replay_slice(
                db,
                where,
                self.ids_by_name(),
                configured=frozenset(
                    lane.id for lane in self._memory.by_name.values() if lane.spec is not None
                ),
                ordered=frozenset(
                    lane.id for lane in self._memory.lanes.values() if lane.order is not None
                ),
                after=after,
                upto=upto,
                now=self._clock(),
                first_row_id=first,
            )

        return await self._through(ready, self._replayed)

    async def drop(self, where: DeadLetterFilter, *, dry_run: bool) -> Selection:
        """Forget dead letters. Raises QueueUnavailable."""
        if dry_run:
            return await self._match(where)
        ids = self.ids_by_name()
        return await self._through(
            lambda after, upto: (
                lambda db, meta: dead.drop_slice(db, where, ids, after=after, upto=upto)
            ),
            lambda moved: self._memory.count(moved.deltas),
        )

    def ids_by_name(self) -> dict[str, list[int]]:
        """Numbers of connections; a name has had several where its source was changed."""
        ids: dict[str, list[int]] = {}
        for lane in self._memory.lanes.values():
            ids.setdefault(lane.name, []).append(lane.id)
        return ids

    async def _match(self, where: DeadLetterFilter) -> Selection:
        count = partial(_matching, where, self.ids_by_name())
        return Selection(await self._store.run(partial(_prepared, count), _ignore), 0)

    async def _through(
        self,
        ready: Callable[[int, int], Callable[[sqlite3.Connection, Meta], dead.Moved]],
        apply: Callable[[dead.Moved], None],
    ) -> Selection:
        matched = done = 0
        # What becomes a dead letter from here on was not meant.
        upto = self._store.meta.row_id
        after: int | None = 0
        while after is not None:
            moved = await self._store.run(partial(ready, after, upto), apply)
            matched += moved.matched
            done += moved.done
            after = moved.last_id
        return Selection(matched, done)

    def _replayed(self, moved: dead.Moved) -> None:
        self._memory.count(moved.deltas)
        self._memory.retry_bytes += moved.retry_bytes
        for number, entries in moved.retries.items():
            lane = self._memory.lanes[number]
            lane.retrying += len(entries)
            for entry in entries:
                self._memory.plan(lane, entry)
            self._on_work(lane)
        for number, user in moved.aside:
            lane = self._memory.lanes[number]
            lane.aside += 1
            if lane.order is not None:
                lane.order.put_aside(user, self._clock())
                self._promotion.soon(lane)

    async def _enforce_letters(self) -> None:
        budget = self._config.dead_letters
        while (excess := self._memory.totals[LETTER_BYTES] - budget) > 0:
            # From the largest, down to the next one: who has less than a fair share loses nothing.
            lanes = sorted(
                (lane for lane in self._memory.lanes.values() if lane.letter_bytes > 0),
                key=lambda lane: lane.letter_bytes,
                reverse=True,
            )
            lead = lanes[0].letter_bytes - (lanes[1].letter_bytes if len(lanes) > 1 else 0)
            await self._trim(lanes[0], min(excess, max(lead, excess // len(lanes), 1)), 0.0)
        oldest_allowed = self._clock() - self._config.dead_letters_age_s
        while True:
            number = await self._store.read(partial(dead.oldest_owner, older_than=oldest_allowed))
            if number is None:
                return
            await self._trim(self._memory.lanes[number], 0, oldest_allowed)

    async def _trim(self, lane: Lane, excess: int, older_than: float) -> None:
        work = partial(_trim_counted, lane.id, excess, older_than)
        await self._store.run(
            partial(_prepared, work), lambda moved: self._memory.count(moved.deltas)
        )

    # --- rounds ---

    @property
    def is_urgent(self) -> bool:
        """A budget of the whole queue is nearly used, or overdrawn."""
        return self._used > HIGH * self._config.max_pending or (
            self._memory.totals[LETTER_BYTES] > self._config.dead_letters
        )

    @property
    def _used(self) -> int:
        return self._memory.live_bytes + self._memory.retry_bytes

    async def round(self) -> None:
        """Everything that is due; what the disk refuses is tried again in the next round."""
        try:
            await self._enforce_backlogs()
            if self._used > HIGH * self._config.max_pending:
                while self._used > LOW * self._config.max_pending and await self.take_back():
                    pass
            await self._enforce_letters()
            self._store.maintain_dedupe()
            self._promotion.again()
        except QueueUnavailable as error:
            _log.warning("queue_upkeep_failed", error=str(error))


def _evict_counted(order: Eviction, db: sqlite3.Connection, meta: Meta) -> Evicted:
    done = evict_slice(db, order)
    meta.history_bytes += done.history_bytes
    if order.reason != GONE:
        meta.evicted += done.n
    return done


def _trim_counted(
    connection: int, excess: int, older_than: float, db: sqlite3.Connection, meta: Meta
) -> dead.Moved:
    moved = dead.trim_slice(db, connection, excess, older_than)
    meta.letters_dropped += moved.done
    return moved


def _compact(cursor: int, db: sqlite3.Connection, meta: Meta) -> Compacted:
    return compact_slice(db, cursor)


def _matching(
    where: DeadLetterFilter, ids: dict[str, list[int]], db: sqlite3.Connection, meta: Meta
) -> int:
    return dead.matching(db, where, ids)


def _prepared(
    work: Callable[[sqlite3.Connection, Meta], T],
) -> Callable[[sqlite3.Connection, Meta], T]:
    """Work that needs nothing from memory when its transaction begins."""
    return work


def _ignore(_: object) -> None:
    """Memory has nothing to learn."""
